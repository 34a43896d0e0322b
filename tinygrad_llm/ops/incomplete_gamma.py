"""正则化的不完全 Γ 函数：``P(a, x) = γ(a, x)/Γ(a)`` 与 ``Q(a, x) = 1 - P(a, x)``。

流入与流出都是数组，以 float64 计算。四种算法各管一块：``x`` 比 ``a`` 小用级数，大用连分数，两者都大而且接近用 Temme 的
一致展开，``a`` 与 ``x`` 都小时 ``Q`` 另有级数，不做 ``1 - P``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.ops.gamma import lgamma
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.special import erfc, in_double

_EPS = float(np.finfo(np.float64).eps)
_LARGE = 1000.0  # 从这里起，接近对角线处级数要上千项，改用一致展开
_NEAR = 0.3
_STIRLING = [1, 1 / 12, 1 / 288, -139 / 51840, -571 / 2488320, 163879 / 209018880]
"""``Γ(a) / (√(2π/a) (a/e)ᵃ)`` 按 1/a 展开的系数。"""


def _temme_table(rows: int, columns: int) -> list[list[float]]:
    """一致展开的系数 ``d[k][n]``（DiDonato–Morris 的递推）。"""
    alpha = [0.0, 1.0]
    for n in range(2, columns + 2 * rows + 2):
        mixed = sum(j * alpha[j] * alpha[n - j + 1] for j in range(2, n))
        alpha.append((alpha[n - 1] - mixed) / (n + 1))
    table = [[(n + 2) * alpha[n + 2] if n else -1 / 3 for n in range(columns + 2 * rows - 1)]]
    for k in range(1, rows):
        above = table[-1]
        table.append([(-1) ** k * _STIRLING[k] * table[0][n] + (n + 2) * above[n + 2] for n in range(len(above) - 2)])
    return [row[:columns] for row in table]


_TEMME = _temme_table(len(_STIRLING), 20)


def _front(a: Array, x: Array) -> Array:
    """``xᵃ e⁻ˣ / Γ(a + 1)``；``a`` 大时改写成不含大数相减的形式。"""
    mu = (x - a) / a
    stirling = np.exp(a * (np.log1p(mu) - mu)) / np.sqrt(2 * math.pi * a)
    total = np.zeros_like(a)
    for c in reversed(_STIRLING):
        total = total / a + c
    small = np.exp(a * np.log(x) - x - lgamma(a + 1))
    return np.where(a > 200, stirling / total, small)


def _iterate(step: Callable[[int], Array], most: int) -> None:
    """反复执行 ``step``，直到它说处处都收敛。"""
    for n in range(1, most):
        if np.all(step(n)):
            return


def _p_series(a: Array, x: Array) -> Array:
    """``P = xᵃ e⁻ˣ / Γ(a+1) · Σₙ xⁿ / ((a+1)…(a+n))``。"""
    term, total = np.ones_like(a), np.ones_like(a)

    def step(n: int) -> Array:
        term[...] *= x / (a + n)
        total[...] += term
        return term <= _EPS / 8 * total

    _iterate(step, 2000)
    return _front(a, x) * total


def _q_fraction(a: Array, x: Array) -> Array:
    """``Q`` 的 Legendre 连分数，用改进的 Lentz 方法自前往后算。"""
    b = x + 1 - a
    c, d = np.full_like(a, 1e300), 1 / b
    total = d.copy()

    def step(n: int) -> Array:
        top, bottom = -n * (n - a), b + 2 * n
        d[...] = 1 / (bottom + top * d)
        c[...] = bottom + top / c
        total[...] *= c * d
        return ~(np.abs(c * d - 1) > _EPS)

    _iterate(step, 2000)
    return _front(a, x) * a * total


def _q_series(a: Array, x: Array) -> Any:
    """``a`` 与 ``x`` 都小时的 ``Q``：``1 - xᵃ/Γ(1+a)`` 用 ``expm1`` 算，其余是收敛很快的交错级数。"""
    log_power = a * np.log(x)
    factor, total = np.ones_like(a), np.zeros_like(a)

    def step(n: int) -> Array:
        factor[...] *= -x / n
        total[...] += factor / (a + n)
        return np.abs(factor) <= _EPS * np.abs(total)

    _iterate(step, 100)
    return -np.expm1(log_power - lgamma(a + 1)) - total * a * np.exp(log_power - lgamma(a + 1))


def _temme(a: Array, x: Array, sign: int) -> Any:
    """一致展开：``sign`` 为 1 给出 ``Q``，为 -1 给出 ``P``。"""
    mu = (x - a) / a
    eta = np.copysign(np.sqrt(np.maximum(2 * (mu - np.log1p(mu)), 0)), mu)
    total = np.zeros_like(a)
    for row in reversed(_TEMME):
        inner = np.zeros_like(a)
        for c in reversed(row):
            inner = inner * eta + c
        total = total / a + inner
    rest = np.exp(-0.5 * a * eta * eta) / np.sqrt(2 * math.pi * a) * total
    return 0.5 * erfc(sign * eta * np.sqrt(a / 2)) + sign * rest


def _choose(a: Array, x: Array, upper: bool) -> Array:
    """按 ``(a, x)`` 落在哪一块选算法；各块只算自己的元素。"""
    result = np.full_like(a, np.nan)
    good = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    uniform = good & (a > _LARGE) & (np.abs(x - a) < _NEAR * a)
    rest = good & ~uniform
    tiny = rest & (x <= 1.1) & np.where(x <= 0.5, -0.4 / np.log(np.minimum(x, 0.5)) >= a, x * 1.1 >= a)
    series = rest & ~tiny & (x < np.maximum(a, 1.1))
    fraction = rest & ~tiny & ~series
    result[uniform] = _temme(a[uniform], x[uniform], 1 if upper else -1)
    blocks = ((series, _p_series, False), (fraction, _q_fraction, True), (tiny, _q_series, True))
    for where, function, gives_q in blocks:
        found = function(a[where], x[where])
        result[where] = found if gives_q == upper else 1 - found
    if not upper:  # 小的 x 上级数给出 P 的相对精度，不必做 1 - Q
        result[tiny] = _p_series(a[tiny], x[tiny])
    return result


def _edges(a: Array, x: Array) -> Array:
    """边界上的 ``P``：``x = 0`` 为 0，``a = 0`` 或 ``x = inf`` 为 1，``a = inf`` 为 0；没有定义处为 NaN。"""
    zero = (x == 0) | np.isinf(a)
    one = (a == 0) | np.isinf(x)
    bad = (a < 0) | (x < 0) | np.isnan(a) | np.isnan(x) | (zero & one)
    return np.where(bad, np.nan, np.where(zero, 0.0, np.where(one, 1.0, np.nan)))


@in_double
def gammainc(a: Array, x: Array) -> Any:
    """正则化的下不完全 Γ 函数 ``P(a, x)``。"""
    a, x = np.broadcast_arrays(a, x)
    edge, inner = _edges(a, x), _choose(a, x, False)
    return np.where(np.isnan(edge), inner, edge)


@in_double
def gammaincc(a: Array, x: Array) -> Any:
    """正则化的上不完全 Γ 函数 ``Q(a, x)``。"""
    a, x = np.broadcast_arrays(a, x)
    edge, inner = _edges(a, x), _choose(a, x, True)
    return np.where(np.isnan(edge), inner, 1 - edge)
