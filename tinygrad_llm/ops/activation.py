"""光滑的激活函数里需要手推的几个：softmax、ELU、softplus、Mish。

流入与流出都是数组（或 Tensor）。下一站：``gelu.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import exp, sigmoid, tanh, where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import sum
from tinygrad_llm.ops.scan import accumulator, narrowed


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


def _elu_slope(x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    below = where(x < 0, x, 0.0)  # 正半轴先换成 0：没被选中的一支不上溢；0 处的二阶导与 torch 一样取 0
    return where(x <= 0, exp(below * input_scale) * (alpha * scale * input_scale), scale)


@op(
    "y = x > 0 ? s x : s α (e^{cx} - 1)",
    x=lambda g, x, alpha, scale, input_scale: g * _elu_slope(x, alpha, scale, input_scale),
)
def elu(x: Array, *, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """ELU；SELU 是 ``alpha`` 与 ``scale`` 取特定值，CELU 是 ``input_scale = 1/alpha``。"""
    with np.errstate(over="ignore"):
        below = np.expm1(np.minimum(0, x) * input_scale)  # 次序使 -0 仍是 -0
    return np.where(x < 0, below * (alpha * scale), x * scale)


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
