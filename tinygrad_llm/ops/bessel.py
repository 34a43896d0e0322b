"""第一类变形 Bessel 函数：``I₀``、``I₁`` 以及乘过 ``e^(-|x|)`` 的 ``I₀ₑ``、``I₁ₑ``。

流入与流出都是数组，以 float64 计算。|x| < 25 用幂级数（各项同号，没有相消），此外用渐近展开。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.special import in_double

_SPLIT = 25.0
_TERMS = 54  # x = 25 时再多一项已小于和的 1e-17


def _series(x: Array, order: int) -> Array:
    """``Iₙ(x) = (x/2)ⁿ Σₖ (x²/4)ᵏ / (k! (k+n)!)``，从最小的项往前加。"""
    y, total = x * x / 4, np.ones_like(x)
    for k in range(_TERMS, 0, -1):
        total = 1 + total * y / (k * (k + order))
    return total * x / 2 if order else total


def _asymptotic(x: Array, order: int) -> Array:
    """``e⁻ˣ Iₙ(x) ≈ 1/√(2πx) · Σₖ Πⱼ ((2j-1)² - 4n²) / (8x j)``。"""
    total = np.ones_like(x)
    for k in range(26, 0, -1):
        total = 1 + total * (((2 * k - 1) ** 2 - 4 * order * order) / (8 * k)) / x
    return total / np.sqrt(2 * math.pi * x)


def _scaled(x: Array, order: int) -> Array:
    """``e⁻ˣ Iₙ(x)``，``x ≥ 0``。"""
    near = np.exp(-x) * _series(np.minimum(x, _SPLIT), order)
    return np.where(x < _SPLIT, near, _asymptotic(np.maximum(x, _SPLIT), order))


def _plain(x: Array, order: int) -> Array:
    """``Iₙ(x)``，``x ≥ 0``；指数分两次乘，真正的结果溢出之前不溢出。"""
    half = np.exp(x / 2)
    far = half * _asymptotic(np.maximum(x, _SPLIT), order) * half
    return np.where(x < _SPLIT, _series(np.minimum(x, _SPLIT), order), far)


@in_double
def i0(x: Array) -> Any:
    """``I₀(x)``。"""
    return _plain(np.abs(x), 0)


@in_double
def i0e(x: Array) -> Any:
    """``e^(-|x|) I₀(x)``。"""
    return _scaled(np.abs(x), 0)


@in_double
def i1(x: Array) -> Any:
    """``I₁(x)``，奇函数。"""
    return np.copysign(_plain(np.abs(x), 1), x)


@in_double
def i1e(x: Array) -> Any:
    """``e^(-|x|) I₁(x)``，奇函数。"""
    return np.copysign(_scaled(np.abs(x), 1), x)
