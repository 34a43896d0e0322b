"""GPT 各层的前向，照公式写成 float64 的 NumPy：给「这个设备算得对不对」作标准答案。

流入：数组；流出：数组。不求快，不分块，与两个引擎的实现毫无共用；``torch_llm/doctor.py`` 拿它核对设备，
导数由它的中心差分得到。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def embedding(weight: Array, ids: NDArray[np.int64]) -> Array:
    """按下标取行 ``(V, C), (N,) → (N, C)``。"""
    return weight[ids]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``y = x Wᵀ + b``：``(N, C), (M, C) → (N, M)``。"""
    y: Array = x @ weight.T
    return y if bias is None else y + bias


def layer_norm(x: Array, weight: Array, bias: Array | None = None, *, eps: float) -> Array:
    """``y = (x - μ)/√(σ² + ε) ⊙ w + b``，沿最后一轴。"""
    centred: Array = x - x.mean(-1, keepdims=True)
    y: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight
    return y if bias is None else y + bias


def rms_norm(x: Array, weight: Array, *, eps: float) -> Array:
    """``y = x/√(mean(x²) + ε) ⊙ w``，沿最后一轴。"""
    y: Array = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight
    return y


def gelu(x: Array) -> Array:
    """``y = x Φ(x)``。"""
    y: Array = x * 0.5 * (1 + _erf(x / math.sqrt(2)))
    return y


def gelu_tanh(x: Array) -> Array:
    """GELU 的 tanh 近似：``x/2 · (1 + tanh(√(2/π)(x + 0.044715x³)))``。"""
    y: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return y


def swiglu(gate: Array, x: Array) -> Array:
    """``y = gate·σ(gate) ⊙ x``。"""
    y: Array = gate / (1 + np.exp(-gate)) * x
    return y


def rotary(x: Array, *, theta: float) -> Array:
    """``(..., T, D)`` 里位置 t 的第 i 对分量（前半与后半配对）旋转 ``t·θ^(-2i/D)``。"""
    half = x.shape[-1] // 2
    angle = np.outer(np.arange(x.shape[-2]), theta ** (-np.arange(half) / half))
    first, second = x[..., :half], x[..., half:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attention(q: Array, k: Array, v: Array, *, window: int | None = None) -> Array:
    """因果注意力 ``(H, T, D), (Hkv, T, D) → (H, T, D)``；``window`` 为看得见几个位置（含自己）。"""
    group, length = len(q) // len(k), q.shape[1]
    k, v = np.repeat(k, group, axis=0), np.repeat(v, group, axis=0)
    scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
    age = np.arange(length)[:, None] - np.arange(length)
    scores[:, (age < 0) | (age >= (window or length))] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y: Array = weights / weights.sum(-1, keepdims=True) @ v
    return y


def token_loss(x: Array, weight: Array, target: NDArray[np.int64]) -> Array:
    """输出层与交叉熵之和 ``(N, C), (V, C), (N,) → ()``；目标为负数的位置不计。"""
    z = x @ weight.T
    top = z.max(1)
    lse = top + np.log(np.exp(z - top[:, None]).sum(1))
    losses = lse - z[np.arange(len(z)), np.maximum(target, 0)]
    return np.asarray(losses[target >= 0].sum())


def directional(function: Any, inputs: dict[str, Array], name: str, direction: Array, step: float = 1e-5) -> Array:
    """``function`` 沿一个方向的导数，用中心差分。

    Args:
        function: 以 ``inputs`` 为关键字参数的函数。
        inputs: 各输入。
        name: 动哪一个输入。
        direction: 朝哪个方向，与该输入同形状。
        step: 步长。

    Returns:
        与 ``function`` 的输出同形状；误差约为 ``step²``。
    """
    ahead, back = ({**inputs, name: inputs[name] + sign * step * direction} for sign in (1, -1))
    slope: Array = (function(**ahead) - function(**back)) / (2 * step)
    return slope
