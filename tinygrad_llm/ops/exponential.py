"""指数与对数的各种写法：以 2、10 为底，和的对数，``x ln y``，logit 与熵。

流入与流出都是数组（或 Tensor）；极点处的约定（如 ``0 · ln 0 = 0``）与 torch 一致。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import abs, exp, log, masked_fill, where
from tinygrad_llm.ops.op import Array, op

_quiet = np.errstate(all="ignore")
_LN2 = math.log(2)
_LN10 = math.log(10)


@op("y = 2ˣ", x=lambda g, y: g * y * _LN2)
@_quiet
def exp2(x: Array) -> Any:
    """``y = 2ˣ``。"""
    return np.exp2(x)


@op("y = eˣ - 1", x=lambda g, y: g * (y + 1))
@_quiet
def expm1(x: Array) -> Any:
    """``y = eˣ - 1``，在 0 附近保持精度。"""
    return np.expm1(x)


@op("y = log₂ x", x=lambda g, x: g / (x * _LN2))
@_quiet
def log2(x: Array) -> Any:
    """``y = log₂ x``。"""
    return np.log2(x)


@op("y = log₁₀ x", x=lambda g, x: g / (x * _LN10))
@_quiet
def log10(x: Array) -> Any:
    """``y = log₁₀ x``。"""
    return np.log10(x)


@op("y = a · 2ᵇ", a=lambda g, b: ldexp(g, b))
@_quiet
def ldexp(a: Array, b: Array) -> Any:
    """``y = a · 2ᵇ``，``b`` 是整数；中途不会溢出。"""
    return np.ldexp(a, np.clip(b, -5000, 5000).astype(np.int32))


@op(
    "y = ln(eᵃ + eᵇ)",
    a=lambda g, a, b: g / (exp(b - a) + 1),
    b=lambda g, a, b: g / (exp(a - b) + 1),
)
@_quiet
def logaddexp(a: Array, b: Array) -> Any:
    """``y = ln(eᵃ + eᵇ)``，不上溢。"""
    return np.logaddexp(a, b)


@op(
    "y = log₂(2ᵃ + 2ᵇ)",
    a=lambda g, a, b: g / (exp2(b - a) + 1),
    b=lambda g, a, b: g / (exp2(a - b) + 1),
)
@_quiet
def logaddexp2(a: Array, b: Array) -> Any:
    """``y = log₂(2ᵃ + 2ᵇ)``，不上溢。"""
    return np.logaddexp2(a, b)


@op(
    "y = a ln b",
    a=lambda g, a, b: masked_fill(xlogy(g, b), (a == 0) & (b <= 0), value=0.0),
    b=lambda g, a, b: g * a / b,
)
@_quiet
def xlogy(a: Array, b: Array) -> Any:
    """``y = a ln b``；``a = 0`` 时为 0，除非 ``b`` 是 NaN。"""
    return np.where((np.asarray(a) == 0) & ~np.isnan(b), 0, a * np.log(b))


@op(
    "y = a ln(1 + b)",
    a=lambda g, a, b: masked_fill(xlog1py(g, b), (a == 0) & (b <= -1), value=0.0),
    b=lambda g, a, b: g * a / (b + 1),
)
@_quiet
def xlog1py(a: Array, b: Array) -> Any:
    """``y = a ln(1 + b)``；``a = 0`` 时为 0，除非 ``b`` 是 NaN。"""
    return np.where((np.asarray(a) == 0) & ~np.isnan(b), 0, a * np.log1p(b))


def _logit_slope(x: Any, eps: float | None) -> Any:
    """``1/(x(1 - x))``；被截断的地方为 0，没有截断（负的 ``eps`` 也算）而越出 ``[0, 1]`` 的地方为 NaN。"""
    edge = -1.0 if eps is None else eps
    low = max(edge, 0.0)
    outside = (x < low) | (x > 1 - low)
    return where(outside, math.nan if edge < 0 else 0.0, 1 / abs(x * (1 - x)))


@op("y = ln(x / (1 - x))", x=lambda g, x, eps: g * _logit_slope(x, eps))
@_quiet
def logit(x: Array, *, eps: float | None = None) -> Any:
    """``y = ln(x / (1 - x))``，σ 的反函数；给了 ``eps`` 就先截断到 ``[eps, 1 - eps]``。"""
    x = np.asarray(x) if eps is None else np.clip(x, eps, 1 - eps)
    return np.log(x / (1 - x))


@op("y = -x ln x", x=lambda g, x: -g * (log(x) + 1))
@_quiet
def entr(x: Array) -> Any:
    """``y = -x ln x``；在 0 处为 0，负数处为 ``-inf``。"""
    x = np.asarray(x)
    return np.where(x == 0, 0, np.where(x < 0, -np.inf, -x * np.log(x)))
