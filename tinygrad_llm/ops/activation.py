"""光滑的激活函数里需要手推的几个：softmax、GELU、ELU、softplus、Mish。

流入与流出都是数组（或 Tensor）。下一站：``piecewise.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.blocks import as_rows, row_blocks
from tinygrad_llm.ops.elementwise import erf, exp, sigmoid, tanh, where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import sum
from tinygrad_llm.ops.scan import accumulator, narrowed
from tinygrad_llm.ops.special import erf as _erf

_K = math.sqrt(2 / math.pi)
_A = 0.044715
_INV_SQRT2 = 1 / math.sqrt(2)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


def _shifted(x: Array, dim: int) -> Any:
    """减去最大值，防止上溢；整行 -inf 时得到 NaN，与 torch 一致。半精度换成单精度来算。"""
    wide = x.astype(accumulator(x), copy=False)
    return wide - np.maximum.reduce(wide, axis=dim, keepdims=True, initial=-np.inf)


@op("yᵢ = eˣⁱ / Σⱼ eˣʲ", x=lambda g, y, dim: y * (g - sum(g * y, dim=(dim,), keepdim=True)))
def softmax(x: Array, *, dim: int) -> Any:
    """``y = softmax(x)``。

    ``∂yⱼ/∂xᵢ = yⱼ(δᵢⱼ - yᵢ)``，于是 ``∂L/∂xᵢ = yᵢ(gᵢ - Σⱼ gⱼ yⱼ)``：只需要输出。
    """
    with np.errstate(all="ignore"):
        y = _shifted(x, dim)
        np.exp(y, out=y)
        y /= np.add.reduce(y, axis=dim, keepdims=True)
        return narrowed(y, x)


@op("yᵢ = xᵢ - ln Σⱼ eˣʲ", x=lambda g, y, dim: g - exp(y) * sum(g, dim=(dim,), keepdim=True))
def log_softmax(x: Array, *, dim: int) -> Any:
    """``y = log softmax(x)``；``∂L/∂xᵢ = gᵢ - softmax(x)ᵢ Σⱼ gⱼ``。"""
    with np.errstate(all="ignore"):
        y = _shifted(x, dim)
        y -= np.log(np.add.reduce(np.exp(y), axis=dim, keepdims=True))
        return narrowed(y, x)


def _gelu_tanh_vjp(g: Any, x: Any) -> tuple[Any]:
    """``y = x/2 (1 + t)``，``t = tanh(u)``，``u = k(x + a x³)``。

    ``y' = (1 + t)/2 + x/2 (1 - t²) u'``，``u' = k(1 + 3a x²)``。
    """
    dx = np.empty(x.shape, x.dtype)
    gs, xs, ds = as_rows(g), as_rows(x), as_rows(dx)
    for rows in row_blocks(*xs.shape):
        h, out = xs[rows], ds[rows]
        square = h * h
        t = square * (_K * _A)
        t += _K
        t *= h
        np.tanh(t, out=t)
        square *= 3 * _K * _A
        square += _K  # u'
        square *= h
        np.multiply(t, t, out=out)
        np.subtract(1, out, out=out)
        out *= square
        out += t
        out += 1
        out *= 0.5
        out *= gs[rows]
    return (dx,)


def _gelu_tanh_composed(x: Any) -> Any:
    return 0.5 * x * (1 + tanh(_K * (x + _A * x * x * x)))


@op("y = x/2 · (1 + tanh(√(2/π)(x + 0.044715x³)))", joint=_gelu_tanh_vjp, wrt="x", composed=_gelu_tanh_composed)
def gelu_tanh(x: Array) -> Any:
    """GELU 的 tanh 近似（GPT-2 用它）。"""
    y = np.empty(x.shape, dtype=x.dtype)
    xs, ys = as_rows(x), as_rows(y)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_blocks(*xs.shape):
            h, out = xs[rows], ys[rows]
            np.multiply(h, h, out=out)
            out *= _K * _A
            out += _K
            out *= h
            np.tanh(out, out=out)
            out += 1
            out *= h
            out *= 0.5
    return y


def _gelu_slope(x: Any) -> Any:
    return 0.5 * (1 + erf(x * _INV_SQRT2)) + x * (exp(-0.5 * (x * x)) * _INV_SQRT_2PI)


@op("y = x · Φ(x)", x=lambda g, x: g * _gelu_slope(x))
def gelu(x: Array) -> Any:
    """``y = x Φ(x)``，``Φ`` 是标准正态分布函数；``y' = Φ(x) + x φ(x)``。"""
    with np.errstate(invalid="ignore"):  # -inf · 0 是 NaN，与 torch 一致
        return x * (0.5 * (1 + _erf(x * _INV_SQRT2)))


def _elu_slope(x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    below = where(x <= 0, x, 0.0)  # 正半轴先换成 0：没被选中的一支不上溢
    return where(x <= 0, exp(below * input_scale) * (alpha * scale * input_scale), scale)


@op(
    "y = x > 0 ? s x : s α (e^{cx} - 1)",
    x=lambda g, x, alpha, scale, input_scale: g * _elu_slope(x, alpha, scale, input_scale),
)
def elu(x: Array, *, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """ELU；SELU 是 ``alpha`` 与 ``scale`` 取特定值，CELU 是 ``input_scale = 1/alpha``。"""
    with np.errstate(over="ignore"):
        below = np.expm1(np.minimum(x, 0) * input_scale)
    return np.where(x <= 0, below * (alpha * scale), x * scale)


@op(
    "y = ln(1 + e^{βx}) / β",
    x=lambda g, x, beta, threshold: where(x * beta > threshold, g, g * sigmoid(x * beta)),
)
def softplus(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """光滑的 ReLU；``βx`` 超过 ``threshold`` 时就取 ``x``。"""
    z = x * beta
    with np.errstate(over="ignore"):
        return np.where(z > threshold, x, np.log1p(np.exp(z)) / beta)


@op("y = ln σ(x)", x=lambda g, x: g * sigmoid(-x))
def logsigmoid(x: Array) -> Any:
    """``ln σ(x) = min(x, 0) - ln(1 + e^{-|x|})``：``exp`` 的参数恒不为正。"""
    return np.asarray(np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))), order="C")


def _mish_slope(x: Any) -> Any:
    t = tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


@op("y = x · tanh(ln(1 + eˣ))", x=lambda g, x: g * _mish_slope(x))
def mish(x: Array) -> Any:
    """``y = x t``，``t = tanh(softplus(x))``；``y' = t + x (1 - t²) σ(x)``。"""
    with np.errstate(invalid="ignore"):
        return x * np.tanh(softplus.forward(x))
