"""窗函数在顶层的名字：``hann_window`` 等，缺省是周期的，用于短时傅里叶变换。

流入：点数与窗的参数；流出：一维 Tensor。公式在 ``windows.py``。
"""

from __future__ import annotations

from operator import index
from typing import Any

from tinygrad_llm.creation import finish, float_type
from tinygrad_llm.layouts import strided
from tinygrad_llm.signal.windows import Formula, bessel, cosines, sampled, triangle
from tinygrad_llm.tensor import Tensor


def _window(
    name: str,
    length: int,
    periodic: bool,
    formula: Formula,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    wanted = float_type(dtype)
    if wanted.kind != "f":
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    if index(length) < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    values = sampled(index(length), not periodic, formula)
    return finish(values.astype(wanted), requires_grad, device, layout, pin_memory)


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """Hann 窗。

    Raises:
        RuntimeError: ``window_length`` 为负，或 ``dtype`` 不是浮点类型；下同。
    """
    return _window("hann_window", window_length, periodic, cosines([0.5, 0.5]), **options)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any
) -> Tensor:
    """Hamming 窗 ``α - β cos(2πn/N)``。"""
    return _window("hamming_window", window_length, periodic, cosines([alpha, beta]), **options)


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """Blackman 窗。"""
    return _window("blackman_window", window_length, periodic, cosines([0.42, 0.5, 0.08]), **options)


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """三角窗。"""
    return _window("bartlett_window", window_length, periodic, triangle, **options)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Tensor:
    """Kaiser 窗；``beta`` 越大，主瓣越宽、旁瓣越低。"""
    return _window("kaiser_window", window_length, periodic, bessel(beta), **options)
