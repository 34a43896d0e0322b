"""比值的区间：每字节几比特是「总比特 ÷ 总字节」，不是各段之比的平均。

流入：各段的分子与分母；流出：比值，与把各段有放回地重抽得到的区间。下一个文件：``ranking.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.scoring.intervals import Interval

__all__ = ["paired_ratio_difference", "ratio_interval"]

_CELLS = 1 << 22


def ratio_interval(top: NDArray[Any], bottom: NDArray[Any], resamples: int = 2000, seed: int = 0) -> Interval:
    """``Σ top / Σ bottom`` 的区间：分子分母成对地重抽。

    Args:
        top: ``(n,)``，各段的分子。
        bottom: ``(n,)``，各段的分母，和须为正。
        resamples: 重抽几次。
        seed: 抽样的种子。

    Returns:
        比值与区间；只有一段时区间就是它自己。

    Raises:
        UserError: 个数不同，没有一段，或分母之和不为正。
    """
    drawn = _resampled(_columns(top, bottom), resamples, seed)
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return Interval(float(np.sum(top) / np.sum(bottom)), float(low), float(high), len(top))


def paired_ratio_difference(
    first: tuple[NDArray[Any], NDArray[Any]],
    second: tuple[NDArray[Any], NDArray[Any]],
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """同样的几段上，后一个比值减前一个；两边抽同样的段。

    Args:
        first: 前一个的分子与分母，各 ``(n,)``。
        second: 后一个的。
        resamples: 重抽几次。
        seed: 抽样的种子。

    Returns:
        差与区间。

    Raises:
        UserError: 段数不同，没有一段，或分母之和不为正。
    """
    drawn = _resampled(_columns(*first, *second), resamples, seed)
    low, high = np.quantile(drawn[2] / drawn[3] - drawn[0] / drawn[1], [0.025, 0.975])
    value = np.sum(second[0]) / np.sum(second[1]) - np.sum(first[0]) / np.sum(first[1])
    return Interval(float(value), float(low), float(high), len(first[0]))


def _columns(*columns: NDArray[Any]) -> NDArray[np.float64]:
    arrays = [np.asarray(column, np.float64) for column in columns]
    if any(array.shape != (arrays[0].size,) or not array.size for array in arrays):
        raise UserError("a ratio needs equally many numerators and denominators, at least one")
    table = np.stack(arrays)
    if not (np.isfinite(table).all() and (table[1::2] >= 0).all() and (table[1::2].sum(1) > 0).all()):
        raise UserError("the denominators of a ratio must be non-negative with a positive sum")
    return table


def _resampled(table: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """``(列数, resamples)``：每次重抽的各列之和；分母全抽到 0 的那几次重来没有意义，当作原来的和。"""
    draw, n = philox(seed, "ratio bootstrap"), table.shape[1]
    rows = max(1, _CELLS // n)
    sums = np.concatenate(
        [
            table[:, draw.integers(0, n, (min(rows, resamples - start), n))].sum(-1)
            for start in range(0, resamples, rows)
        ],
        axis=1,
    )
    empty = (sums[1::2] <= 0).any(0)
    sums[:, empty] = table.sum(1)[:, None]
    return sums
