"""激活函数里需要手推的几个：softmax、log-softmax、GELU。

流入与流出都是数组（或 Tensor）。下一站：``norm.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.blocks import as_rows, row_blocks
from tinygrad_llm.ops.elementwise import erf, exp, tanh
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import logsumexp, sum
from tinygrad_llm.ops.special import erf as _erf

_K = math.sqrt(2 / math.pi)
_A = 0.044715
_INV_SQRT2 = 1 / math.sqrt(2)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


def _softmax(x: Array, dim: int) -> Array:
    top = np.maximum.reduce(x, axis=dim, keepdims=True)
    top = np.where(np.isneginf(top), 0, top).astype(x.dtype)  # 整行 -inf 时结果是 0/0 = NaN，与 torch 一致
    with np.errstate(invalid="ignore", divide="ignore"):
        y: Array = np.exp(x - top)
        y /= np.add.reduce(y, axis=dim, keepdims=True)
    return y


@op("yᵢ = eˣⁱ / Σⱼ eˣʲ", x=lambda g, y, dim: y * (g - sum(g * y, dim=(dim,), keepdim=True)))
def softmax(x: Array, *, dim: int) -> Any:
    """``y = softmax(x)``。

    ``∂yⱼ/∂xᵢ = yⱼ(δᵢⱼ - yᵢ)``，于是 ``∂L/∂xᵢ = yᵢ(gᵢ - Σⱼ gⱼ yⱼ)``：只需要输出。
    """
    return _softmax(x, dim)


@op("yᵢ = xᵢ - ln Σⱼ eˣʲ", x=lambda g, y, dim: g - exp(y) * sum(g, dim=(dim,), keepdim=True))
def log_softmax(x: Array, *, dim: int) -> Any:
    """``y = log softmax(x)``；``∂L/∂xᵢ = gᵢ - softmax(x)ᵢ Σⱼ gⱼ``。"""
    return x - logsumexp.forward(x, dim=(dim,), keepdim=True)


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
    return x * (0.5 * (1 + _erf(x * _INV_SQRT2)))
