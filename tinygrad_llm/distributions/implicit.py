"""伽马与贝塔样本对形状参数的导数：隐式重参数化 ``dx/dα = -(∂F/∂α) / f``，在样本处求值（Figurnov 等，2018）。

流入：参数与样本的数组；流出：导数的数组。∂F/∂α 没有初等的式子，这里写成样本一侧的积分

    dx/dα = ∫_{t<x} (ψ - ln t) f(t)/f(x) dt = ∫_{t>x} (ln t - ψ) f(t)/f(x) dt，    ψ = E[ln t]，

样本偏小时取左边的一段，否则取右边的，于是几乎没有抵消；换元 ``t = x e^{∓v}`` 之后用双指数求积（Takahasi 与 Mori，
1974），整个数组一起算。
"""

from __future__ import annotations

import numpy as np

from tinygrad_llm.ops.gamma import digamma
from tinygrad_llm.ops.op import Array

_STEPS = np.arange(-84, 67) / 20
_NODES = np.exp(np.pi / 2 * np.sinh(_STEPS))
_WEIGHTS = _NODES * np.cosh(_STEPS) * np.pi / 40
"""``∫₀^∞ h(v) dv ≈ Σ 权 · h(点)``。"""


def _integral(factor: Array, growth: Array, width: Array) -> Array:
    """``∫₀^∞ factor · exp(growth) dv``，两者已在点 ``width · _NODES`` 处算好。"""
    terms = factor * np.exp(growth) * _WEIGHTS
    return np.asarray(np.nan_to_num(terms, nan=0.0).sum(-1) * width[..., 0])


def gamma_gradient(alpha: Array, x: Array) -> Array:
    """标准伽马样本 ``x`` 对形状参数 ``alpha`` 的导数，两者是同形状的 float64 数组。"""
    a, at = alpha[..., None], x[..., None]
    with np.errstate(all="ignore"):
        side = np.where(at < np.maximum(a, 1), -1.0, 1.0)  # 左边的一段，或右边的
        gap = side * (np.log(at) - digamma(a))
        width = 1 / (np.sqrt(a + at) + np.abs(a - at))
        v = width * _NODES
        return x * _integral(gap + v, side * a * v - at * np.expm1(side * v), width)


def dirichlet_gradient(x: Array, alpha: Array, total: Array) -> Array:
    """Dirichlet 样本的一个分量 ``x`` 对它自己的参数 ``alpha`` 的导数，再除以 ``1 - x``。

    分量服从 ``Beta(alpha, total - alpha)``；其余分量按比例缩放，所以一个数就够。

    Args:
        x: 样本，float64。
        alpha: 参数。
        total: 同一个分布的参数之和。
    """
    a, b, at = alpha[..., None], (total - alpha)[..., None], x[..., None]
    with np.errstate(all="ignore"):
        is_left = at * (np.maximum(a, 1) + np.maximum(b, 1)) < np.maximum(a, 1)
        gap = np.where(is_left, -1.0, 1.0) * (np.log(at) - digamma(a) + digamma(a + b))
        odds = np.where(is_left, at / (1 - at), (1 - at) / at)
        decay, other = np.where(is_left, a, b), np.where(is_left, b, a) - 1
        width = 1 / (np.sqrt(a + b) + np.abs(decay - other * odds))
        v = width * _NODES
        shift = np.log1p(-odds * np.expm1(-v))  # 左：ln (1-t)/(1-x)；右：ln t/x
        factor = gap + np.where(is_left, v, shift)
        found = _integral(factor, other * shift - decay * v, width)
        return np.asarray(np.where(is_left[..., 0], odds[..., 0], 1.0) * found)
