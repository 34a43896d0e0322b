"""三角函数、双曲函数与它们的反函数：每个一行公式、一行导数。

流入与流出都是数组（或 Tensor）；定义域之外是 NaN，与 torch 一致。``sin``、``cos``、``tanh`` 在 ``elementwise.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import cos, rsqrt, sin, where
from tinygrad_llm.ops.op import Array, op

_quiet = np.errstate(all="ignore")


@op("y = tan x", x=lambda g, y: g * (y * y + 1))
@_quiet
def tan(x: Array) -> Any:
    """``y = tan x``，导数用输出表示：``1 + y²``。"""
    return np.tan(x)


@op("y = arcsin x", x=lambda g, x: g * rsqrt(1 - x * x))
@_quiet
def asin(x: Array) -> Any:
    """``y = arcsin x``。"""
    return np.arcsin(x)


@op("y = arccos x", x=lambda g, x: -g * rsqrt(1 - x * x))
@_quiet
def acos(x: Array) -> Any:
    """``y = arccos x``。"""
    return np.arccos(x)


@op("y = arctan x", x=lambda g, x: g / (x * x + 1))
@_quiet
def atan(x: Array) -> Any:
    """``y = arctan x``。"""
    return np.arctan(x)


def _inverse_square(a: Any, b: Any) -> Any:
    """``1 / (a² + b²)``；原点的幅角没有导数，与 torch 一样取 0。"""
    size = a * a + b * b
    return where(size == 0, 0.0, 1 / size)


@op(
    "y = arctan(a / b)",
    a=lambda g, a, b: g * b * _inverse_square(a, b),
    b=lambda g, a, b: -g * a * _inverse_square(a, b),
)
def atan2(a: Array, b: Array) -> Any:
    """``y`` 是点 ``(b, a)`` 的幅角，落在 ``[-π, π]``。"""
    return np.arctan2(a, b)


@op("y = √(a² + b²)", a=lambda g, a, y: g * a / y, b=lambda g, b, y: g * b / y)
@_quiet
def hypot(a: Array, b: Array) -> Any:
    """``y = √(a² + b²)``，平方不会溢出。"""
    return np.hypot(a, b)


@op("y = sinh x", x=lambda g, x: g * cosh(x))
@_quiet
def sinh(x: Array) -> Any:
    """``y = (eˣ - e⁻ˣ)/2``。"""
    return np.sinh(x)


@op("y = cosh x", x=lambda g, x: g * sinh(x))
@_quiet
def cosh(x: Array) -> Any:
    """``y = (eˣ + e⁻ˣ)/2``。"""
    return np.cosh(x)


@op("y = arsinh x", x=lambda g, x: g * rsqrt(x * x + 1))
@_quiet
def asinh(x: Array) -> Any:
    """``y = ln(x + √(x² + 1))``。"""
    return np.arcsinh(x)


def _acosh_slope(x: Any) -> Any:
    """``1/√(x² - 1)``；复数的根号不能合并，两个各取主值。"""
    if getattr(x, "array", x).dtype.kind == "c":
        return rsqrt(x + 1) * rsqrt(x - 1)
    return rsqrt(x * x - 1)


@op("y = arcosh x", x=lambda g, x: g * _acosh_slope(x))
@_quiet
def acosh(x: Array) -> Any:
    """``y = ln(x + √(x² - 1))``。"""
    return np.arccosh(x)


@op("y = artanh x", x=lambda g, x: g / (1 - x * x))
@_quiet
def atanh(x: Array) -> Any:
    """``y = ½ ln((1 + x)/(1 - x))``。"""
    return np.arctanh(x)


def _sinc_slope(x: Any) -> Any:
    """0 处写成它的一阶展开：值是 0，再求导得 ``-π²/3``（torch 在那里得 NaN）。"""
    safe = where(x == 0, 1.0, x)
    angle = safe * math.pi
    return where(x == 0, x * (-(math.pi**2) / 3), (angle * cos(angle) - sin(angle)) / (safe * angle))


@op("y = sin πx / πx", x=lambda g, x: g * _sinc_slope(x))
@_quiet
def sinc(x: Array) -> Any:
    """``y = sin πx / πx``；在 0 处为 1，导数为 0。"""
    angle = np.asarray(x) * math.pi
    return np.where(angle == 0, 1, np.sin(angle) / angle)
