"""torch 没有现成的小函数，与 ``tinygrad_llm.nn.functional`` 里的同名函数同义。"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tinygrad_llm.common.batches import IGNORE_INDEX

_CHUNK = (1 << 25, 1 << 27)
"""一块 logits 大约几个元素（CPU、GPU）：每块都要把权重的梯度读写一遍，块太小便都花在这上面。"""


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """旋转位置编码（前半与后半配对）。

    Args:
        x: ``(..., T, D)``。
        cos: ``(T, D/2)`` 或可广播。
        sin: 同 ``cos``。

    Returns:
        与 ``x`` 同形状。
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def sliding_attention(query: Tensor, key: Tensor, value: Tensor, window: int, dropout_p: float = 0.0) -> Tensor:
    """滑动窗口的因果注意力：每个位置只看最近 ``window`` 个位置，含自己。

    Args:
        query: ``(..., H, T, D)``。
        key: ``(..., Hkv, T, D)``；头数是 H 的约数。
        value: ``(..., Hkv, T, D)``。
        window: 看得见几个位置。
        dropout_p: 注意力权重的 dropout 概率。

    Returns:
        ``(..., H, T, D)``。
    """
    length = query.shape[-2]
    band = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return F.scaled_dot_product_attention(query, key, value, band, dropout_p, enable_gqa=True)


def token_loss(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """输出层与损失：各位置交叉熵之和；按行分块，从不物化整张 logits。

    Args:
        x: ``(B, T, D)``。
        weight: ``(V, D)``。
        target: ``(B, T)``，-100 表示不计。

    Returns:
        标量；autocast 里矩阵乘法用低精度，指数与求和总是至少 float32。
    """
    if not torch.is_grad_enabled():  # 评估：前向不必连梯度一起算
        x, weight = x.detach(), weight.detach()
    loss: Tensor = _TokenLoss.apply(x.flatten(0, -2), weight, target.flatten())  # type: ignore[no-untyped-call]
    return loss


class _TokenLoss(torch.autograd.Function):
    """前向时就把梯度算好：``∂L/∂z = softmax(z) - onehot`` 只用到这一块的 logits，算完这块便可丢掉。

    与「整张 logits 再 cross_entropy」乘法次数相同，省下 ``N × V`` 的 logits 与它的梯度。
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        kind = x.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        features, matrix = x.to(low), weight.to(low)
        exact = torch.promote_types(low, torch.float32)
        needs_x, needs_weight, _ = ctx.needs_input_grad
        dx = torch.empty_like(x) if needs_x else None
        dw = torch.zeros_like(weight) if needs_weight else None
        total = torch.zeros((), dtype=exact, device=x.device)
        rows = max(1, _CHUNK[kind == "cuda"] // len(weight))
        with torch.autocast(kind, enabled=False):
            for part in (slice(i, i + rows) for i in range(0, len(x), rows)):
                z = (features[part] @ matrix.t()).to(exact)
                valid = target[part] != IGNORE_INDEX
                index = target[part].where(valid, 0)[:, None]
                chosen, top = z.gather(1, index), z.amax(1, keepdim=True)
                sums = z.sub_(top).exp_().sum(1, keepdim=True)  # 就地：不再多一份 logits
                total += ((sums.log() + top - chosen)[:, 0] * valid).sum()
                if not (needs_x or needs_weight):
                    continue
                share = valid[:, None].to(exact)
                dz = z.mul_(share / sums).scatter_add_(1, index, -share).to(low)
                if dx is not None:
                    dx[part] = dz @ matrix
                if dw is not None and dw.dtype == dz.dtype:
                    dw.addmm_(dz.t(), features[part])
                elif dw is not None:
                    dw += dz.t() @ features[part]
        ctx.save_for_backward(dx, dw)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        dx, dw = ctx.saved_tensors
        return (None if dx is None else dx * g), (None if dw is None else dw * g), None
