"""分段的激活函数：在几个拐点之间各用一条直线（或抛物线）。

流入与流出都是数组（或 Tensor）。要紧的是拐点处取哪一边的导数：一律与 torch 相同。下一站：``norm.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import masked_fill, where
from tinygrad_llm.ops.op import Array, op


@op(
    "y = x > 0 ? x : w x",
    x=lambda g, x, w: where(x > 0, g, g * w),
    w=lambda g, x: where(x > 0, 0.0, g * x),
)
def prelu(x: Array, w: Array) -> Any:
    """负半轴的斜率是 ``w``；``w`` 是 Python 数时就是 leaky ReLU。"""
    with np.errstate(invalid="ignore"):
        return np.where(x > 0, x, x * w)


@op("y = min(max(x, lo), hi)", x=lambda g, x, lo, hi: masked_fill(g, (x <= lo) | (x >= hi), value=0.0))
def hardtanh(x: Array, *, lo: float, hi: float) -> Any:
    """截断到 ``[lo, hi]``；与 ``clamp`` 不同，端点上的导数取 0。"""
    return np.clip(x, lo, hi)


_SIXTH = float(np.float32(1 / 6))
"""torch 在 hardsigmoid 的反向里用的是单精度的 1/6，float64 也不例外。"""


@op("y = min(max(x + 3, 0), 6) / 6", x=lambda g, x: where((x > -3) & (x < 3), g * _SIXTH, 0.0))
def hardsigmoid(x: Array) -> Any:
    """sigmoid 的折线近似。"""
    return np.clip(x + 3, 0, 6) / 6


@op(
    "y = x · min(max(x + 3, 0), 6) / 6",
    x=lambda g, x: where(x <= -3, 0.0, where(x < 3, g * (x / 3 + 0.5), g)),
)
def hardswish(x: Array) -> Any:
    """SiLU 的折线近似：两侧是 0 与 ``x``，中间是抛物线。"""
    with np.errstate(invalid="ignore"):
        return x * (np.clip(x + 3, 0, 6) / 6)


@op("y = |x| ≤ λ ? 0 : x", x=lambda g, x, lambd: masked_fill(g, (x >= -lambd) & (x <= lambd), value=0.0))
def hardshrink(x: Array, *, lambd: float) -> Any:
    """``[-λ, λ]`` 之内置 0，之外不变。"""
    return np.where((x >= -lambd) & (x <= lambd), np.zeros((), x.dtype), x)


@op("y = |x| ≤ λ ? 0 : x ∓ λ", x=lambda g, x, lambd: masked_fill(g, (x >= -lambd) & (x <= lambd), value=0.0))
def softshrink(x: Array, *, lambd: float) -> Any:
    """``[-λ, λ]`` 之内置 0，之外向 0 挪 ``λ``。"""
    return np.copysign(x - np.clip(x, -lambd, lambd), x)  # 0 也带着 x 的符号


@op("y = x ≤ θ ? c : x", x=lambda g, x, threshold: masked_fill(g, x <= threshold, value=0.0))
def threshold(x: Array, *, threshold: float, value: float) -> Any:
    """不大于 ``threshold`` 的换成常数 ``value``。"""
    return np.where(x <= threshold, np.asarray(value).astype(x.dtype), x)
