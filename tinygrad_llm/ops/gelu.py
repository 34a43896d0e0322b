"""光滑的门控激活：GELU（两种写法）与 SiLU，连同各自的斜率一起算好。

流入与流出都是数组（或 Tensor）。下一站：``attention.py``。

前向时 ``tanh`` 或 ``exp`` 已经在手，顺便把斜率 ``y'`` 也算出来留着，反向便只剩一次乘法；
输入 ``x`` 不必再留，所以内存与只留输入一样。不记图时走 ``plain``，只算 ``y``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.ops.blocks import as_rows, for_rows
from tinygrad_llm.ops.elementwise import erf, sigmoid, tanh
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.special import erf as _erf

_K = math.sqrt(2 / math.pi)
_A = 0.044715
_INV_SQRT2 = 1 / math.sqrt(2)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)

_ERF_AS_TANH = (
    7.97884941e-01, 3.63330844e-02, -3.25947446e-05, -5.53063167e-05, 3.96477313e-06, -1.32266276e-07, 1.75627733e-09,
)  # fmt: skip
"""``erf(x/√2) ≈ tanh(x · q(x²))``，``q`` 是六次多项式：最小最大拟合，误差不超过 6e-8，即 float32 的半个 ulp。

NumPy 没有 ``erf``，而 ``tanh`` 用上了向量指令：这样算比查表快二十多倍。float64 仍走查表，准到最后一两位。
"""


def _by_rows(x: Array, kernel: Callable[..., None], count: int) -> tuple[Array, ...]:
    """逐块调用 ``kernel(x 的一块, 各输出的对应一块)``；输出各轴的内存次序随 ``x``。"""
    if not x.flags.c_contiguous:
        order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
        if order != list(range(x.ndim)):
            return tuple(y.transpose(np.argsort(order)) for y in _by_rows(x.transpose(order), kernel, count))
    outputs = tuple(np.empty(x.shape, x.dtype) for _ in range(count))
    rows_of = [as_rows(a) for a in (x, *outputs)]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for_rows(rows_of[0].shape, lambda rows: kernel(*[a[rows] for a in rows_of]))
    return outputs


def _gelu_tanh_kernel(x: Array, y: Array, slope: Array | None = None) -> None:
    """``y = xΦ``，``Φ = (1 + tanh u)/2``，``u = k(x + a x³)``；``y' = Φ (1 + x (1 - tanh u) u')``。"""
    square = x * x
    t = square * (_K * _A)
    t += _K
    t *= x
    np.tanh(t, out=t)
    np.multiply(t, 0.5, out=y)
    y += 0.5
    if slope is not None:
        square *= 3 * _K * _A
        square += _K  # u' = k(1 + 3a x²)
        np.subtract(1, t, out=t)
        t *= square
        t *= x
        t += 1
        np.multiply(t, y, out=slope)
    y *= x


def _gelu_kernel(x: Array, y: Array, slope: Array | None = None) -> None:
    """``y = xΦ(x)``，``y' = Φ(x) + xφ(x)``；``Φ`` 与 ``φ`` 是标准正态分布的分布函数与密度。"""
    square = x * x
    if x.dtype == np.float32:
        q = square * _ERF_AS_TANH[-1]
        for coefficient in _ERF_AS_TANH[-2:0:-1]:
            q += coefficient
            q *= square
        q += _ERF_AS_TANH[0]
        q *= x
        np.tanh(q, out=q)
    else:
        q = _erf(x * _INV_SQRT2)
    q += 1
    q *= 0.5
    np.multiply(q, x, out=y)
    if slope is not None:
        square *= -0.5
        np.exp(square, out=square)
        square *= _INV_SQRT_2PI
        square *= x
        np.add(q, square, out=slope)


def _silu_kernel(x: Array, y: Array, slope: Array | None = None) -> None:
    """``y = xσ(x)``，``y' = σ + y(1 - σ)``。"""
    s = np.negative(x)
    np.exp(s, out=s)
    s += 1
    np.divide(1, s, out=s)
    np.multiply(x, s, out=y)
    if slope is not None:
        np.subtract(1, s, out=slope)
        slope *= y
        slope += s


def _gelu_tanh_composed(x: Any) -> Any:
    return 0.5 * x * (1 + tanh(_K * (x + _A * x * x * x)))


def _gelu_composed(x: Any) -> Any:
    return x * (0.5 * (1 + erf(x * _INV_SQRT2)))


def _silu_composed(x: Any) -> Any:
    return x * sigmoid(x)


def _slope_vjp(g: Any, slope: Any) -> tuple[Any]:
    """``∂L/∂x = g ⊙ y'``。"""
    dx = np.empty(slope.shape, slope.dtype)
    gs, ss, ds = as_rows(g), as_rows(slope), as_rows(dx)
    for_rows(ss.shape, lambda rows: np.multiply(gs[rows], ss[rows], out=ds[rows]))
    return (dx,)


@op(
    "y = x/2 · (1 + tanh(√(2/π)(x + 0.044715x³)))",
    keeps="slope",
    joint=_slope_vjp,
    wrt="x",
    composed=_gelu_tanh_composed,
    plain=lambda x: _by_rows(x, _gelu_tanh_kernel, 1)[0],
)
def gelu_tanh(x: Array) -> Any:
    """GELU 的 tanh 近似（GPT-2 用它）；返回 ``y`` 与斜率。"""
    return _by_rows(x, _gelu_tanh_kernel, 2)


@op(
    "y = x · Φ(x)",
    keeps="slope",
    joint=_slope_vjp,
    wrt="x",
    composed=_gelu_composed,
    plain=lambda x: _by_rows(x, _gelu_kernel, 1)[0],
)
def gelu(x: Array) -> Any:
    """``y = x Φ(x)``，``Φ`` 是标准正态分布函数；返回 ``y`` 与斜率。"""
    return _by_rows(x, _gelu_kernel, 2)


@op(
    "y = x · σ(x)",
    keeps="slope",
    joint=_slope_vjp,
    wrt="x",
    composed=_silu_composed,
    plain=lambda x: _by_rows(x, _silu_kernel, 1)[0],
)
def silu(x: Array) -> Any:
    """``y = x σ(x)``（SiLU / Swish）；返回 ``y`` 与斜率。"""
    return _by_rows(x, _silu_kernel, 2)
