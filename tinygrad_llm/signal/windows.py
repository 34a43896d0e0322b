"""窗函数，与 ``torch.signal.windows`` 同名同义。

流入：点数与窗的参数；流出：一维 Tensor。都先在 float64 里算好再换类型；``sym=False`` 是周期的窗：
多算一点再去掉最后一点。下一站：``tinygrad_llm/signal/window_functions.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import finish, float_type
from tinygrad_llm.layouts import strided
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor

Formula = Callable[[Array, float], Array]
"""点的序号 ``0 … M-1`` 与末点的序号 → 窗的值。"""


def _window(
    name: str,
    M: int,
    sym: bool,
    formula: Formula,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """照公式算一个窗，并核对各个窗共有的参数。"""
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    wanted = float_type(dtype)
    if wanted not in (np.float32, np.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype or dtypes.get_default_dtype()}")
    return finish(sampled(M, sym, formula).astype(wanted), requires_grad, device)


def sampled(M: int, sym: bool, formula: Formula) -> Array:
    """公式在 ``M`` 个点上的值，float64；只有一点时是 1。"""
    return formula(np.arange(M, dtype=np.float64), M - 1 if sym else M) if M > 1 else np.ones(M)


def cosines(weights: Iterable[float]) -> Formula:
    """几项余弦之和 ``Σᵢ (-1)ⁱ aᵢ cos(2πin/L)``。"""
    signed = [(-1) ** i * weight for i, weight in enumerate(weights)]
    return lambda n, last: np.asarray(sum(a * np.cos(2 * math.pi * i * n / last) for i, a in enumerate(signed)))


def triangle(n: Array, last: float) -> Array:
    """三角形，两端为 0。"""
    return 1 - np.abs(2 * n / last - 1)


def bessel(beta: float) -> Formula:
    """``I₀(β√(1 - t²)) / I₀(β)``，``t`` 从 -1 到 1。"""
    return lambda n, last: np.i0(beta * np.sqrt(np.clip(1 - (2 * n / last - 1) ** 2, 0, None))) / np.i0(beta)


def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, **options: Any) -> Tensor:
    """几项余弦之和，系数是 ``a``，符号正负相间。

    Raises:
        TypeError: ``a`` 不是一列数。
        ValueError: ``a`` 是空的，或 ``M`` 为负。
    """
    if not isinstance(a, Iterable):
        raise TypeError("general_cosine: coefficients must be a list or tuple")
    weights = list(a)
    if not weights:
        raise ValueError("general_cosine: coefficients cannot be empty")
    return _window("general_cosine", M, sym, cosines(weights), **options)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """``α - (1-α) cos(2πn/L)``。"""
    return general_cosine(M, a=[alpha, 1 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Hamming 窗。"""
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Hann 窗，两端为 0。"""
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Blackman 窗：三项余弦。"""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Nuttall 窗：四项余弦，旁瓣最低的一种。"""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)


def bartlett(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """三角窗。"""
    return _window("bartlett", M, sym, triangle, **options)


def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """半个周期的正弦 ``sin(π(n + ½)/(L + 1))``。"""
    return _window("cosine", M, sym, lambda n, last: np.sin(math.pi * (n + 0.5) / (last + 1)), **options)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """Kaiser 窗；``beta`` 越大，主瓣越宽、旁瓣越低。

    Raises:
        ValueError: ``beta`` 或 ``M`` 为负。
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _window("kaiser", M, sym, bessel(beta), **options)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """以正中为心的高斯。

    Raises:
        ValueError: ``std`` 不是正数，或 ``M`` 为负。
    """
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _window("gaussian", M, sym, lambda n, last: np.exp(-0.5 * ((n - last / 2) / std) ** 2), **options)


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """从 ``center``（缺省是正中）向两边指数衰减，``tau`` 点减到 1/e。

    Raises:
        ValueError: ``tau`` 不是正数，对称的窗给了 ``center``，或 ``M`` 为负。
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")

    def formula(n: Array, last: float) -> Array:
        return np.exp(-np.abs(n - (last / 2 if center is None else center)) / tau)

    return _window("exponential", M, sym, formula, **options)


__getattr__ = attributes(__name__)

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
    "kaiser", "nuttall",
]  # fmt: skip
