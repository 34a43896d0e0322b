"""区间：一次评测只看了有限的题，换一批题会差多少。

流入：对错、分数或几个种子的成绩；流出：置信区间与 p 值。只用 NumPy；抽样由种子决定。下一站：``scores.py``。
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox

__all__ = [
    "Interval",
    "bootstrap_interval",
    "paired_difference",
    "paired_p_value",
    "seed_interval",
    "student_t",
    "wilson_interval",
]

Z95 = 1.959963984540054
"""标准正态分布的 97.5 % 分位数。"""
# t 分布的 97.5 % 分位数，自由度 1–30；更多时用展开式
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """一个数与它的 95 % 置信区间。

    Attributes:
        value: 估计值。
        low: 下限。
        high: 上限。
        n: 由几个样本得来。
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] (n = {self.n})"


def wilson_interval(correct: int, n: int, z: float = Z95) -> Interval:
    """一个比例的区间（Wilson，1927）。

    解 ``|p̂ - p| ≤ z·√(p(1-p)/n)`` 得到 p 的范围。题少、或接近全对全错时，常用的 ``p̂ ± z·√(p̂(1-p̂)/n)`` 会越出 [0, 1]、
    甚至缩成一点，它不会。

    Args:
        correct: 对了几题。
        n: 共几题。
        z: 正态分布的分位数；缺省是 95 %。

    Returns:
        比例与区间。

    Raises:
        UserError: 没有题，或对的比题还多。
    """
    if not (n > 0 and 0 <= correct <= n):
        raise UserError(f"{correct} correct out of {n} is no proportion", fix="score at least one item")
    p, spread = correct / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(p * (1 - p) / n + spread / (4 * n))
    low = centre - half if correct else 0.0  # 两端的解恰是 0 与 1，不让舍入误差碰它们
    high = centre + half if correct < n else 1.0
    return Interval(p, max(0.0, low), min(1.0, high), n)


def bootstrap_interval(values: NDArray[Any], resamples: int = 2000, seed: int = 0) -> Interval:
    """均值的区间：从手里的样本有放回地重抽许多次，取均值的 2.5 % 与 97.5 % 分位（Efron，1979）。

    Args:
        values: ``(n,)``，一题一个分数。
        resamples: 重抽几次。
        seed: 抽样的种子。

    Returns:
        均值与区间。

    Raises:
        UserError: 一个样本也没有。
    """
    values = _checked(values)
    means = _resampled(values, resamples, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), values.size)


def paired_difference(first: NDArray[Any], second: NDArray[Any], resamples: int = 2000, seed: int = 0) -> Interval:
    """同一批题上两个模型之差 ``second - first`` 的区间：逐题相减再重抽，题目的难易因此抵消。

    Args:
        first: ``(n,)``，前一个模型每题的分数。
        second: 后一个模型的。
        resamples: 重抽几次。
        seed: 抽样的种子。

    Returns:
        平均差与区间。

    Raises:
        UserError: 两边的题数不同。
    """
    return bootstrap_interval(_differences(first, second), resamples, seed)


def paired_p_value(first: NDArray[Any], second: NDArray[Any], resamples: int = 10_000, seed: int = 0) -> float:
    """两个模型不分高下的话，差到这个地步的概率（双侧符号置换检验）。

    不分高下时，每题的差取正取负同样可能；随机翻转正负号许多次，看有几成的平均差不小于眼前这一个。题数不多于 13 时
    把全部 ``2^n`` 种翻法数遍。

    Args:
        first: ``(n,)``，前一个模型每题的分数。
        second: 后一个模型的。
        resamples: 翻转几次。
        seed: 抽样的种子。

    Returns:
        p 值，在 (0, 1] 内。

    Raises:
        UserError: 两边的题数不同。
    """
    gaps = _differences(first, second)
    observed = abs(gaps.sum()) - 1e-12 * (1 + abs(gaps).sum())  # 相等的也算，不受求和次序影响
    if gaps.size <= 13:
        signs = 1 - 2 * ((np.arange(1 << gaps.size)[:, None] >> np.arange(gaps.size)) & 1)
        return float((np.abs(signs @ gaps) >= observed).mean())
    draw = philox(seed, "paired test")
    extreme = sum(
        int((np.abs((1 - 2 * draw.integers(0, 2, (rows, gaps.size))) @ gaps) >= observed).sum())
        for rows in _chunks(resamples, gaps.size)
    )
    return (extreme + 1) / (resamples + 1)


def seed_interval(values: NDArray[Any]) -> Interval:
    """几个种子的成绩：均值与 t 分布的区间 ``x̄ ± t·s/√n``；种子少，正态分布会显得过于有把握。

    Args:
        values: ``(n,)``，一个种子一个成绩，至少两个。

    Returns:
        均值与区间。

    Raises:
        UserError: 不足两个种子。
    """
    values = _checked(values)
    if values.size < 2:
        raise UserError("one seed says nothing about the variance over seeds", fix="run at least two, better five")
    half = student_t(values.size - 1) * float(values.std(ddof=1)) / math.sqrt(values.size)
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half, values.size)


def student_t(free: int) -> float:
    """学生 t 分布的 97.5 % 分位数，即双侧 95 % 的。

    Args:
        free: 自由度，至少为 1；30 以内查表，更大用正态分位数的展开式。
    """
    return _T95[free - 1] if free <= len(_T95) else Z95 + (Z95**3 + Z95) / (4 * free)


def _checked(values: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise UserError(f"scores of shape {values.shape} must be a non-empty row of finite numbers")
    return values


def _differences(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    first, second = _checked(first), _checked(second)
    if first.size != second.size:
        raise UserError(f"{first.size} and {second.size} scores are not paired", fix="score both on the same items")
    return second - first


def _resampled(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    draw = philox(seed, "bootstrap")
    parts = [
        values[draw.integers(0, values.size, (rows, values.size))].mean(1) for rows in _chunks(resamples, values.size)
    ]
    return np.concatenate(parts)


def _chunks(rows: int, width: int) -> list[int]:
    """把许多行分成几批，每批至多约四百万个数：内存不随重抽的次数增长。"""
    size = max(1, (1 << 22) // width)
    return [min(size, rows - start) for start in range(0, rows, size)]
