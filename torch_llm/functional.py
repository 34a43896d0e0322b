"""torch 没有现成的小函数，与 ``tinygrad_llm.nn.functional`` 里的同名函数同义。"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
    """输出层与损失：各位置交叉熵之和。

    Args:
        x: ``(B, T, D)``。
        weight: ``(V, D)``。
        target: ``(B, T)``，-100 表示不计。

    Returns:
        标量。
    """
    return F.cross_entropy(F.linear(x, weight).flatten(0, -2), target.flatten(), reduction="sum")
