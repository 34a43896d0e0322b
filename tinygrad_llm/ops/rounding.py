"""取整、余数与拆开浮点数的算子：分段常数处导数为 0，余数对被除数的导数为 1。

流入与流出都是数组（或 Tensor）；整数照整数的规则算，除以 0 报错而不是得出一个数。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import masked_fill, zeros
from tinygrad_llm.ops.exponential import exp2
from tinygrad_llm.ops.op import Array, op

_quiet = np.errstate(all="ignore")


@op("y = ⌊x⌋", x=lambda g: zeros(g))
def floor(x: Array) -> Any:
    """``y`` 是不大于 ``x`` 的最大整数。"""
    return np.floor(x)


@op("y = ⌈x⌉", x=lambda g: zeros(g))
def ceil(x: Array) -> Any:
    """``y`` 是不小于 ``x`` 的最小整数。"""
    return np.ceil(x)


@op("y = trunc x", x=lambda g: zeros(g))
def trunc(x: Array) -> Any:
    """去掉小数部分。"""
    return np.trunc(x)


@op("y = round x", x=lambda g: zeros(g))
@_quiet
def round(x: Array, *, decimals: int = 0) -> Any:
    """舍入到 ``decimals`` 位小数；正中间取偶数。"""
    return np.round(x, decimals)


@op("y = arg x", x=lambda g: zeros(g))
def angle(x: Array) -> Any:
    """实数的幅角：负数为 π，其余为 0，NaN 仍是 NaN。"""
    return np.where(np.isnan(x), x, np.where(np.asarray(x) < 0, np.pi, 0)).astype(np.asarray(x).dtype)


def _refuse_zero(a: Array, b: Array) -> None:
    if np.asarray(b).dtype.kind in "iu" and not np.all(b) and np.broadcast(a, b).size:
        raise RuntimeError("ZeroDivisionError: integer division or modulo by zero")


@op("y = ⌊a / b⌋", a=lambda g: zeros(g), b=lambda g: zeros(g))
@_quiet
def div_floor(a: Array, b: Array) -> Any:
    """商向下取整。"""
    _refuse_zero(a, b)
    return np.floor_divide(a, b)


@op("y = trunc(a / b)", a=lambda g: zeros(g), b=lambda g: zeros(g))
@_quiet
def div_trunc(a: Array, b: Array) -> Any:
    """商向 0 取整；整数不经过浮点，多大都准。"""
    _refuse_zero(a, b)
    if np.asarray(b).dtype.kind in "iu":
        return np.floor_divide(a - np.fmod(a, b), b)
    return np.trunc(np.true_divide(a, b))


@op("y = a - b ⌊a/b⌋", a=lambda g: g, b=lambda g, a, b: -g * div_floor(a, b))
@_quiet
def remainder(a: Array, b: Array) -> Any:
    """余数，符号随除数（与 Python 的 ``%`` 相同）；恰好除尽时 0 的符号随被除数，与 torch 一致。"""
    _refuse_zero(a, b)
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((np.asarray(b) < 0) != (rest < 0)), rest + b, rest)


@op("y = a - b trunc(a/b)", a=lambda g: g, b=lambda g, a, b: -g * div_trunc(a, b))
@_quiet
def fmod(a: Array, b: Array) -> Any:
    """余数，符号随被除数（与 C 的 ``fmod`` 相同）。"""
    _refuse_zero(a, b)
    return np.fmod(a, b)


@op("x = y · 2ᵉ", keeps="exponent", x=lambda g, exponent: g / exp2(exponent))
def mantissa(x: Array) -> Any:
    """``frexp`` 的尾数：绝对值落在 ``[½, 1)``；指数留给反向。"""
    y, exponent = np.frexp(x)
    return y, exponent.astype(y.dtype)


@op("y = |a| · sign b", a=lambda g, a, y: g * masked_fill(y / a, a == 0, value=0.0), b=lambda g: zeros(g))
def copysign(a: Array, b: Array) -> Any:
    """``a`` 的大小、``b`` 的符号；``a = 0`` 处导数取 0。"""
    return np.copysign(a, b)


@op("y = a 朝 b 的下一个浮点数", a=lambda g, a, b: masked_fill(g, a == b, value=0.0), b=lambda g: zeros(g))
@_quiet
def nextafter(a: Array, b: Array) -> Any:
    """``a`` 朝 ``b`` 方向的下一个可表示的数。"""
    return np.nextafter(a, b)


@op("y = x（换掉 NaN 与无穷大）", x=lambda g, x: masked_fill(g, (x - x) != 0, value=0.0))
@_quiet
def nan_to_num(x: Array, *, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN 换成 ``nan``（缺省 0），正负无穷大换成 ``posinf``、``neginf``（缺省为该类型的最大、最小值）。"""
    return np.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)
