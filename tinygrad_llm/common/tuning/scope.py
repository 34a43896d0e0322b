"""学哪些参数：全部、末几层，或 LoRA 的支路；检查点里只存学了的。

流入：设置与模型配置；流出：参数名到形状，与写进检查点的自述。怎样添到模型上，见两边的 ``scoped.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tinygrad_llm.common.adapter import LoRAConfig
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import UserError

__all__ = ["Scope"]


@dataclass(frozen=True)
class Scope:
    """学哪些参数。

    Attributes:
        lora: LoRA 的设置；``None`` 表示不添支路。
        last_layers: 只学末几层与最后的归一化；``None`` 表示全部。与 ``lora`` 不能都给。
    """

    lora: LoRAConfig | None = None
    last_layers: int | None = None

    @property
    def is_partial(self) -> bool:
        """是不是只学一部分。"""
        return self.lora is not None or self.last_layers is not None

    def shapes(self, config: GPTConfig) -> dict[str, tuple[int, ...]] | None:
        """要学的参数的名字与形状；学全部时为 ``None``。

        Raises:
            UserError: 模型没有这么多层，或没有 LoRA 要添支路的层。
        """
        every = parameter_shapes(config)
        if self.lora is not None:
            return _branches(every, self.lora)
        if self.last_layers is None:
            return None
        if not 0 <= self.last_layers <= config.n_layer:
            raise UserError(f"the model has {config.n_layer} layers", where=f"--last-layers {self.last_layers}")
        heads = tuple(f"h.{i}." for i in range(config.n_layer - self.last_layers, config.n_layer))
        return {name: shape for name, shape in every.items() if name.startswith((*heads, "ln_f.", "lm_head."))}

    def describe(self) -> dict[str, Any]:
        """写进检查点的自述；``adapter`` 一项由 ``partial.py`` 用来并入支路。"""
        if self.lora is not None:
            return {"adapter": {**asdict(self.lora), "targets": list(self.lora.targets)}}
        return {} if self.last_layers is None else {"last_layers": self.last_layers}


def _branches(every: Mapping[str, tuple[int, ...]], lora: LoRAConfig) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in every.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and layer.rpartition(".")[2] in lora.targets:
            found |= {f"{layer}.lora_A": (lora.rank, shape[1]), f"{layer}.lora_B": (shape[0], lora.rank)}
    kinds = {name.rsplit(".", 2)[-2] for name in found}
    if missing := set(lora.targets) - kinds:
        raise UserError(f"the model has no layers named {', '.join(sorted(missing))}", where="--lora-targets")
    return found
