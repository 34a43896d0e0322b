"""只学一部分参数的方法：LoRA 的支路、末几层，包在任何一种方法外面。

流入：一种方法与 ``Scope``；流出：损失不变、要学的参数少了的方法。
分界线以下与 ``torch_llm/scoped.py`` 逐字相同，有测试逐行比较。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.common.config import parameter_shapes
from tinygrad_llm.common.engine import Batch
from tinygrad_llm.common.tuning.scope import Scope
from tinygrad_llm.lora import LoRA

# ---- 以下两份文件逐字相同 ----


class Scoped:
    """一种方法，只学一部分参数；损失与单位照旧。

    Args:
        inner: 原来的方法；它添上的头总是要学的。
        scope: 学哪些参数。
        seed: LoRA 的种子。

    Attributes:
        adapter: 添上的支路；没有用 LoRA 时为 ``None``。
    """

    def __init__(self, inner: Any, scope: Scope, seed: int = 0) -> None:
        self.inner, self.scope, self.seed = inner, scope, seed
        self.adapter: LoRA | None = None

    def attach(self, model: Any) -> dict[str, Any]:
        """添上支路或冻结别的层；返回要学的参数。"""
        every = dict(self.inner.attach(model))
        own = set(parameter_shapes(model.config))
        heads = {name: p for name, p in every.items() if name not in own}
        if self.scope.lora is not None:
            self.adapter = LoRA(model, self.scope.lora, self.seed)
            layers = self.adapter.layers.items()
            chosen = {f"{name}.{half}": getattr(layer, half) for name, layer in layers for half in ("lora_A", "lora_B")}
        else:
            shapes = self.scope.shapes(model.config)
            chosen = {name: p for name, p in every.items() if name in own and (shapes is None or name in shapes)}
        found = {**chosen, **heads}
        for p in model.parameters():
            p.requires_grad_(False)
        for p in found.values():
            p.requires_grad_(True)
        return found

    def units(self, batch: Batch) -> float:
        """原来的方法说了算。"""
        count: float = self.inner.units(batch)
        return count

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """原来的方法说了算。"""
        found: tuple[Any, dict[str, Any]] = self.inner.loss(model, *batch)
        return found
