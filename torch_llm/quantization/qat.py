"""量化感知训练：前向用舍入过的权重，梯度当作没有舍入（straight-through，Bengio 等，2013）。

流入：模型与存法；流出：训练时各线性层看见的都是量化之后的权重。孪生：``tinygrad_llm/quantizing.py``；
一步训练见 ``loop.py``。

舍入是阶梯函数，导数处处是 0：照实求导就学不动。直通估计把 ``∂ŵ/∂w`` 当作 1，于是权重照损失在舍入之后的点上的梯度走，
慢慢停在舍入之后损失也小的地方。
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinygrad_llm.common.quantization import Scheme
from tinygrad_llm.common.quantization.packing import MIDDLE
from tinygrad_llm.common.quantization.rounding import MAX_INT8, TINY
from torch_llm.gpt import GPT

__all__ = ["fake_quantize", "train_aware"]


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, scheme: Scheme) -> Tensor:
        return rounded(w, scheme)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


def fake_quantize(w: Tensor, scheme: Scheme) -> Tensor:
    """舍入到网格上再还原；梯度原样通过。

    Args:
        w: ``(out, in)``。
        scheme: 存法。

    Returns:
        与 ``w`` 同形状、同类型。
    """
    found: Tensor = _FakeQuantize.apply(w, scheme)  # type: ignore[no-untyped-call]
    return found


def rounded(w: Tensor, scheme: Scheme) -> Tensor:
    """``common/quantization/rounding.py`` 里不收窄范围的网格，写在张量上：训练的设备上每步都要算一遍，结果逐位相同。"""
    x = w.detach().float()
    if scheme.format == "int8":
        scale = _usable(x.abs().amax(1, keepdim=True) / MAX_INT8)
        return (torch.round(x / scale).clamp(-MAX_INT8, MAX_INT8) * scale).to(w.dtype)
    rows, columns = x.shape
    spare = -columns % scheme.group
    high, low = (F.pad(x, (0, spare), value=edge).view(rows, -1, scheme.group) for edge in (-torch.inf, torch.inf))
    top, bottom = high.amax(2, keepdim=True), low.amin(2, keepdim=True)
    zero = ((top + bottom) / 2 + (top - bottom) / 30).bfloat16().float() if scheme.has_zero else torch.zeros_like(top)
    scale = _usable(torch.maximum((top - zero) / (15 - MIDDLE), (zero - bottom) / MIDDLE))
    grouped = F.pad(x, (0, spare)).view(rows, -1, scheme.group)
    q = (torch.round((grouped - zero) / scale) + MIDDLE).clamp(0, 15)
    values = (q - MIDDLE) * scale
    values = values + zero if scheme.has_zero else values
    return values.flatten(1)[:, :columns].to(w.dtype)


def _usable(scale: Tensor) -> Tensor:
    """向上取成 bfloat16；全是 0 时取 1。"""
    bits = (scale.clamp_min(0).contiguous().view(torch.int32) + 0xFFFF) & -0x10000
    return torch.where(scale > 0, bits.view(torch.float32).clamp_min(float(TINY)), torch.ones_like(scale))


def train_aware(model: GPT, scheme: Scheme) -> None:
    """让各线性层前向时用舍入过的权重；参数本身仍是浮点数，名字与检查点都不变。词嵌入与输出层不动：它们另存成 int8。"""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            module.forward = partial(_forward, module, scheme)  # type: ignore[method-assign]


def _forward(module: nn.Linear, scheme: Scheme, x: Tensor) -> Tensor:
    return F.linear(x, fake_quantize(module.weight, scheme), module.bias)
