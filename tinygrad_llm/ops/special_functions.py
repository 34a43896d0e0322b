"""特殊函数的求导表：误差函数、Γ 函数与变形 Bessel 函数。

流入与流出都是数组（或 Tensor）；数值算法在 ``special.py``、``gamma.py``、``incomplete_gamma.py`` 与 ``bessel.py``。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.ops import bessel, gamma, incomplete_gamma, special
from tinygrad_llm.ops.elementwise import abs, exp, log, minimum, sign, where
from tinygrad_llm.ops.op import Array, op

_SLOPE = 2 / math.sqrt(math.pi)
_SQRT_2PI = math.sqrt(2 * math.pi)
_TINY = 1e-10  # 比它小的 x 上，I₁(x)/x 就是 1/2


@op("y = 1 - erf x", x=lambda g, x: g * (exp(-(x * x)) * -_SLOPE))
def erfc(x: Array) -> Any:
    """``y = 1 - erf x``，尾部有完整的相对精度。"""
    return special.erfc(x)


@op("y = exp(x²) erfc x", x=lambda g, x, y: g * (2 * x * y - _SLOPE))
def erfcx(x: Array) -> Any:
    """``y = exp(x²) erfc x``。"""
    return special.erfcx(x)


@op("y = erf⁻¹ x", x=lambda g, x: g * (exp(erfinv(x) * erfinv(x)) / _SLOPE))
def erfinv(x: Array) -> Any:
    """``erf`` 的反函数；导数 ``√π/2 · exp(y²)``。"""
    return special.erfinv(x)


@op("y = Φ⁻¹(x)", x=lambda g, y: g * (exp(y * y / 2) * _SQRT_2PI))
def ndtri(x: Array) -> Any:
    """标准正态分布函数的反函数；导数是密度的倒数。"""
    return special.ndtri(x)


def _normal_hazard(x: Any, y: Any) -> Any:
    """``φ(x)/Φ(x)``；左尾的 ``y`` 与 ``x²/2`` 几乎抵消，float32 只剩三位，改用缩放的余误差函数。"""
    left = math.sqrt(2 / math.pi) / erfcx(minimum(x, 0.0) * -math.sqrt(0.5))
    return where(x < 0, left, exp(-(y + x * x / 2)) / _SQRT_2PI)


@op("y = ln Φ(x)", x=lambda g, x, y: g * _normal_hazard(x, y))
def log_ndtr(x: Array) -> Any:
    """标准正态分布函数的对数；导数是密度除以分布。"""
    return special.log_ndtr(x)


@op("y = ln |Γ(x)|", x=lambda g, x: g * digamma(x))
def lgamma(x: Array) -> Any:
    """``y = ln |Γ(x)|``。"""
    return gamma.lgamma(x)


@op("y = ψ(x)", x=lambda g, x: g * polygamma(x, n=1))
def digamma(x: Array) -> Any:
    """``y = ψ(x)``，lgamma 的导数。"""
    return gamma.digamma(x)


@op("y = ψ⁽ⁿ⁾(x)", x=lambda g, x, n: g * polygamma(x, n=n + 1))
def polygamma(x: Array, *, n: int) -> Any:
    """digamma 的 ``n`` 阶导数。"""
    return gamma.polygamma(x, n)


@op("y = Σₖ (q + k)⁻ˢ", q=lambda g, s, q: -g * s * zeta(s + 1, q))
def zeta(s: Array, q: Array) -> Any:
    """Hurwitz ζ 函数；只对 ``q`` 可导，与 torch 一致。"""
    return gamma.zeta(s, q)


def _gamma_density(a: Any, x: Any) -> Any:
    return exp((a - 1) * log(x) - x - lgamma(a))


@op("y = P(a, x)", x=lambda g, a, x: g * _gamma_density(a, x))
def igamma(a: Array, x: Array) -> Any:
    """正则化的下不完全 Γ 函数；只对 ``x`` 可导，与 torch 一致。"""
    return incomplete_gamma.gammainc(a, x)


@op("y = Q(a, x)", x=lambda g, a, x: -g * _gamma_density(a, x))
def igammac(a: Array, x: Array) -> Any:
    """正则化的上不完全 Γ 函数；只对 ``x`` 可导，与 torch 一致。"""
    return incomplete_gamma.gammaincc(a, x)


@op("y = I₀(x)", x=lambda g, x: g * i1(x))
def i0(x: Array) -> Any:
    """零阶变形 Bessel 函数。"""
    return bessel.i0(x)


@op("y = e^-|x| I₀(x)", x=lambda g, x, y: g * (i1e(x) - sign(x) * y))
def i0e(x: Array) -> Any:
    """乘过 ``e^-|x|`` 的 ``I₀``，不上溢。"""
    return bessel.i0e(x)


def _i1_slope(x: Any, y: Any) -> Any:
    tiny = abs(x) < _TINY
    safe = where(tiny, 1.0, x)
    return where(tiny, 0.5, i0(safe) - y / safe)


@op("y = I₁(x)", x=lambda g, x, y: g * _i1_slope(x, y))
def i1(x: Array) -> Any:
    """一阶变形 Bessel 函数；导数 ``I₀ - I₁/x``，在 0 处为 1/2。"""
    return bessel.i1(x)


def _i1e_slope(x: Any, y: Any) -> Any:
    tiny = abs(x) < _TINY
    safe = where(tiny, 1.0, x)
    return where(tiny, 0.5, i0e(safe) - y * (sign(safe) + 1 / safe))


@op("y = e^-|x| I₁(x)", x=lambda g, x, y: g * _i1e_slope(x, y))
def i1e(x: Array) -> Any:
    """乘过 ``e^-|x|`` 的 ``I₁``，不上溢。"""
    return bessel.i1e(x)
