"""校准的舍入：一层一层地走，每层看见的输入来自已经量化了的前几层。

流入：浮点的模型与校准的 token；流出：参数名到 ``Packed``。
舍入的公式在 ``common/quantization`` 的 ``gptq.py`` 与 ``awq.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.quantization import Packed, Scheme, dequantize, matrices, quantize
from tinygrad_llm.common.quantization.awq import channel_scales
from tinygrad_llm.common.quantization.gptq import gptq
from tinygrad_llm.common.quantization.rounding import choose_scheme
from tinygrad_llm.common.quantization.storage import HEADS
from torch_llm.gpt import GPT, attention_mask, rope_table
from torch_llm.loop import build_model

__all__ = ["calibrated", "first_features", "gather_grams"]

Array = NDArray[Any]
Grams = dict[str, Array]
ROWS = 8
"""一次前向几行。"""


def gather_grams(root: nn.Module, run: Callable[[], object]) -> Grams:
    """跑一遍，收集 ``root`` 之下每个线性层的输入的 ``Σ x xᵀ``。

    Args:
        root: 要看的模块。
        run: 跑一遍。

    Returns:
        模块名到 ``(in, in)`` 的 float64 矩阵。
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
        total = sums.setdefault(name, torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64))
        total += (x.T @ x).double().cpu()

    hooks = [module.register_forward_pre_hook(partial(add, name))
             for name, module in root.named_modules() if isinstance(module, nn.Linear)]  # fmt: skip
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total.numpy() for name, total in sums.items()}


def first_features(model: GPT, ids: Tensor) -> Tensor:
    """词嵌入与位置之后、第一层之前的残差流 ``(B, T, C)``。"""
    x: Tensor = model.wte(ids)
    if model.config.position == "learned":
        x = x + model.wpe(torch.arange(ids.shape[1]))
    return x


def _through(block: nn.Module, x: Tensor, config: GPTConfig) -> Tensor:
    """一层，几行几行地过。"""
    length = x.shape[1]
    rope = rope_table(config, 0, length, x) if config.position == "rope" else None
    mask = attention_mask(config, 0, length, None, x.device)
    return torch.cat([block(part, rope, mask, None) for part in x.split(ROWS)])


@torch.no_grad()
def calibrated(
    config: GPTConfig,
    weights: Mapping[str, Array],
    ids: Array,
    scheme_of: Callable[[str], Scheme],
    method: str,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Array | Packed]:
    """看着校准数据量化一个模型。

    Args:
        config: 模型配置。
        weights: 参数名到浮点数组。
        ids: 校准的 token ``(B, T)``。
        scheme_of: 参数名到存法。
        method: ``"gptq"`` 或 ``"awq"``。
        note: 每层做完说一声。

    Returns:
        参数名到量化了的矩阵，或数组（awq 会把放缩并进归一化的权重）。
    """
    found: dict[str, Array | Packed] = {name: array.astype(np.float32) for name, array in weights.items()}
    model = build_model(config, {name: array.astype(np.float32) for name, array in weights.items()}).eval()
    round_block = {"gptq": _gptq_block, "awq": _awq_block}[method]
    x = first_features(model, torch.from_numpy(ids))
    for i, block in enumerate(model.h):
        prefix = f"h.{i}."
        grams = gather_grams(block, partial(_through, block, x, config))
        round_block(found, prefix, grams, scheme_of)
        kept = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        block.load_state_dict({name: torch.from_numpy(dequantize(value) if isinstance(value, Packed) else value)
                               for name, value in kept.items()})  # fmt: skip
        x = _through(block, x, config)
        note(f"layer {i + 1}/{config.n_layer}")
    for name in set(matrices(config)) & set(HEADS):
        w = weights[name]
        found[name] = quantize(w, choose_scheme(w, scheme_of(name)))
    return found


def _gptq_block(found: dict[str, Any], prefix: str, grams: Grams, scheme_of: Callable[[str], Scheme]) -> None:
    for layer, gram in grams.items():
        name = f"{prefix}{layer}.weight"
        found[name] = gptq(found[name], gram, choose_scheme(found[name], scheme_of(name)))


def _awq_block(found: dict[str, Any], prefix: str, grams: Grams, scheme_of: Callable[[str], Scheme]) -> None:
    """先放缩，再就近舍入；每路输入由谁代为缩小，见 ``_sources``。"""
    for sinks, source in _sources(grams):
        names = [f"{prefix}{sink}.weight" for sink in sinks]
        schemes = [choose_scheme(found[name], scheme_of(name)) for name in names]
        scale = channel_scales([found[name] for name in names], grams[sinks[0]], schemes)
        for name in names:
            found[name] = found[name] * scale
        for part in ("weight", "bias"):
            if (name := f"{prefix}{source}.{part}") in found:
                found[name] = found[name] / (scale[:, None] if found[name].ndim == 2 else scale)
    for layer in grams:
        name = f"{prefix}{layer}.weight"
        found[name] = quantize(found[name], choose_scheme(found[name], scheme_of(name)))


def _sources(grams: Grams) -> list[tuple[list[str], str]]:
    """共用一路输入的线性层，与能代为放缩这一路输入的前一层；先后次序从后往前，前一层因此还没有舍入。"""
    has_gate = "mlp.c_gate" in grams
    entry: list[str] = [name for name in ("mlp.c_gate", "mlp.c_fc") if name in grams]
    last = [(["mlp.c_proj"], "mlp.c_fc")] if has_gate else []  # SwiGLU 对 c_fc 是线性的，GELU 不是
    return [(["attn.c_attn"], "ln_1"), *last, (entry, "ln_2")]
