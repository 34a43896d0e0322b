"""次序：两种评分（例如一个模型当裁判，与按规则判）排出来的高低一致吗。

流入：同一批对象的两列分数；流出：在 -1 与 1 之间的相关系数。
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError

__all__ = ["kendall_tau", "ranks", "spearman_rho"]


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """从 1 起的名次；一样的取平均名次。"""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    average: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return average


def spearman_rho(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman 的 ρ：名次的相关系数（Spearman，1904）。

    Args:
        first: ``(n,)``。
        second: ``(n,)``。

    Returns:
        ρ；有一列全都一样时为 0：它没有说出任何次序。

    Raises:
        UserError: 个数不同，或不足两个。
    """
    a, b = (ranks(column) - (len(column) + 1) / 2 for column in _paired(first, second))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def kendall_tau(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Kendall 的 τ-b：一致的对减去相反的对，除以「各自分得出高下的对数」的几何平均（Kendall，1945）。

    Args:
        first: ``(n,)``。
        second: ``(n,)``。

    Returns:
        τ；有一列全都一样时为 0。

    Raises:
        UserError: 个数不同，或不足两个。
    """
    a, b = (np.sign(column[:, None] - column) for column in _paired(first, second))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def _paired(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size < 2 or np.isnan(a).any() or np.isnan(b).any():
        raise UserError(f"scores {a.shape} and {b.shape} must be two equally long rows without NaN")
    return a, b
