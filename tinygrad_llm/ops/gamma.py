"""Γ 函数一族：lgamma、digamma、polygamma 与 Hurwitz ζ。

流入与流出都是数组，以 float64 计算。做法：小的自变量用递推移到级数收敛得快的地方，大的用 Stirling 一类的渐近展开，
负的用反射公式。
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.special import in_double

_EULER = 0.5772156649015329  # Euler 常数 γ
_BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330,
    854513 / 138, -236364091 / 2730]  # fmt: skip
"""Bernoulli 数 B₂、B₄、……、B₂₄。"""
_SHIFT = 10
"""渐近展开的起点：自变量不小于 10 时，上面十二项的余项小于 float64 的舍入误差。"""


def _series(x: Array, coefficients: list[float]) -> Array:
    """``Σₖ cₖ x^(-2k)``，``k`` 从 0 数起。"""
    y = 1 / (x * x)
    total = np.zeros_like(x)
    for c in reversed(coefficients):
        total = total * y + c
    return total


def _sum_zeta(s: Array, q: Array) -> Array:
    """``q > 0`` 时的 ``ζ(s, q)``：前十项直接相加，其余用 Euler–Maclaurin 公式。"""
    total = sum((q + k) ** -s for k in range(_SHIFT))
    x = q + _SHIFT
    power = x**-s
    factor, tail = s * power / x, power * x / (s - 1) + power / 2
    for k, b in enumerate(_BERNOULLI):
        tail = tail + factor * (b / math.factorial(2 * k + 2))
        factor = factor * (s + 2 * k + 1) * (s + 2 * k + 2) / (x * x)
    result: Array = np.where(np.isinf(q), 0, total + tail)
    return result


@in_double
def zeta(s: Array, q: Array) -> Any:
    """Hurwitz ζ 函数 ``Σₖ (q + k)^(-s)``，``k`` 从 0 数起。

    ``s = 1`` 与 ``q = 0、-1、……`` 是极点；``s < 1``，以及 ``q < 0`` 而 ``s`` 不是整数时没有定义，结果为 NaN。
    """
    s, q = np.broadcast_arrays(s, q)
    rest = q - np.floor(q)
    # q < 0：负的那些项是 (-1)ˢ (|q| - k)^(-s)，又是两个 ζ 之差
    front = _sum_zeta(s, 1 - rest) - _sum_zeta(s, 1 - np.minimum(q, 0))
    result = np.where(q < 0, np.where(s % 2 == 0, front, -front) + _sum_zeta(s, rest), _sum_zeta(s, np.abs(q)))
    result = np.where((q < 0) & (s != np.floor(s)), np.nan, result)
    result = np.where((q <= 0) & (rest == 0), np.inf, result)
    return np.where(s == 1, np.inf, np.where(s < 1, np.nan, result))


@functools.cache
def _zeta_tails() -> list[float]:
    """``(-1)ᵏ (ζ(k) - 1) / k``，k = 2 … 33。"""
    return [(-1) ** k / k * float(zeta(np.array(float(k)), np.array(2.0))) for k in range(2, 34)]


def _near_lgamma(x: Array) -> Array:
    """``0 ≤ x < 8.5``：移到 ``[1.5, 2.5)``，在 2 附近做泰勒展开，再加上移动时乘除过的因子的对数。"""
    steps = np.floor(x - 1.5)
    z = (x - steps) - 2
    z = np.where(steps == -1, x - 1, np.where(steps == -2, x, z))  # 移动本身不许有舍入误差
    total = np.zeros_like(x)
    for c in reversed(_zeta_tails()):
        total = (total + c) * z
    up = np.where(steps < 0, x, 1.0) * np.where(steps < -1, x + 1, 1.0)
    down = np.ones_like(x)
    for k in range(1, 7):
        down = down * np.where(steps >= k, x - k, 1.0)
    result: Array = (total + (1 - _EULER)) * z + np.log(down) - np.log(up)
    return result


def _far_lgamma(x: Array) -> Array:
    coefficients = [b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(_BERNOULLI)]
    result: Array = (x - 0.5) * np.log(x) - x + 0.5 * math.log(2 * math.pi) + _series(x, coefficients) / x
    return np.where(np.isinf(x), np.inf, result)


def _positive_lgamma(x: Array) -> Array:
    return np.piecewise(x, [x < 8.5], [_near_lgamma, _far_lgamma])


@in_double
def lgamma(x: Array) -> Any:
    """``ln |Γ(x)|``；``x < 0`` 时用 ``Γ(x) Γ(1 - x) = π / sin πx``。"""
    size = np.abs(x)
    sine = np.abs(np.sin(math.pi * (x - np.rint(x))))
    reflected = math.log(math.pi) - np.log(size * sine) - _positive_lgamma(size)
    return np.where(x < 0, np.where(np.isinf(x), np.inf, reflected), _positive_lgamma(size))


def _positive_digamma(x: Array) -> Array:
    shifted, result = x, np.zeros_like(x)
    for _ in range(_SHIFT):
        small = shifted < _SHIFT
        result = result - np.where(small, 1 / shifted, 0.0)
        shifted = np.where(small, shifted + 1, shifted)
    coefficients = [b / (2 * k + 2) for k, b in enumerate(_BERNOULLI)]
    result = result + np.log(shifted) - 0.5 / shifted
    return np.where(np.isinf(x), x, result - _series(shifted, coefficients) / (shifted * shifted))


@in_double
def digamma(x: Array) -> Any:
    """``ln Γ(x)`` 的导数；负整数处为 NaN，``±0`` 处为 ``∓inf``。"""
    rest = x - np.rint(x)
    reflected = _positive_digamma(1 - np.minimum(x, 0)) - math.pi / np.tan(math.pi * rest)
    reflected = np.where(rest == 0, np.nan, reflected)
    return np.where(x < 0, reflected, np.where(x == 0, np.copysign(np.inf, -x), _positive_digamma(np.abs(x))))


@in_double
def polygamma(x: Array, n: Array) -> Any:
    """digamma 的 ``n`` 阶导数：``(-1)ⁿ⁺¹ n! ζ(n + 1, x)``。"""
    if n == 0:
        return digamma(x)
    return (-1) ** (int(n) + 1) * np.exp(lgamma(n + 1)) * zeta(n + 1, x)
