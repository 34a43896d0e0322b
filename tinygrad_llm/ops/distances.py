"""距离：两组点两两之间的欧氏距离，与各坐标之差的最大值。

流入与流出都是数组（或 Tensor）。不可导处（重合的点、并列的最大值）的约定与 ``torch.cdist`` 相同。下一站：``linalg/``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import abs as absolute
from tinygrad_llm.ops.elementwise import sign, where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import sum as total


@op("y = max |x|", x=lambda g, x, y: sign(x) * where(absolute(x) == y[..., None], g[..., None], 0.0))
def chebyshev(x: Array) -> Any:
    """最后一轴上绝对值的最大值；并列者各得全部梯度，空轴的最大值是 0。"""
    return np.abs(x).max(-1, initial=0)


def _slope(g: Any, y: Any) -> Any:
    """``g / y``；两点重合处取 0。"""
    return where(y == 0, 0.0, g / where(y == 0, 1.0, y))


def _euclidean_vjp(g: Any, a: Any, b: Any, y: Any) -> tuple[Any, Any]:
    """``∂yᵢⱼ/∂aᵢ = (aᵢ - bⱼ)/yᵢⱼ``，对 ``j`` 求和就是 ``aᵢ Σⱼ wᵢⱼ - Σⱼ wᵢⱼ bⱼ``，``w = g/y``。"""
    w, last = _slope(g, y), len(y.shape) - 1
    rows, columns = total(w, dim=(last,), keepdim=True), total(w, dim=(last - 1,), keepdim=True)
    return a * rows - w @ b, b * columns.mT - w.mT @ a


@op("yᵢⱼ = ‖aᵢ - bⱼ‖", joint=_euclidean_vjp, wrt="a b")
def euclidean(a: Array, b: Array) -> Any:
    """两组点两两的欧氏距离，由 ``‖a‖² + ‖b‖² - 2 a·b`` 求得：一次矩阵乘法，不必摊开所有的差。

    Args:
        a: ``(..., P, M)``。
        b: ``(..., R, M)``。

    Returns:
        ``(..., P, R)``。
    """
    squares = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :] - 2 * (a @ b.mT)
    return np.sqrt(np.maximum(squares, 0))
