"""滑动窗口的参数：整数与元组两种写法、批次轴可有可无、输出有多长。

流入：用户写的 ``kernel_size``、``stride`` 等；流出：与空间轴一一对应的元组。卷积、池化与 ``unfold`` 共用。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.ops.convolution import Shape
from tinygrad_llm.tensor import Tensor


def per_axis(value: Any, axes: int, name: str) -> Shape:
    """整数（或只有一项的列表）用于每根轴；否则必须每根轴一项。

    Raises:
        TypeError: 不是整数。
        RuntimeError: 项数与轴数不符。
    """
    parts = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not all(hasattr(part, "__index__") for part in parts):
        raise TypeError(f"{name} must be an int or a tuple of ints, got {value!r}")
    if len(parts) not in (1, axes):
        raise RuntimeError(f"{name} must be a single int or {axes} ints, got {value!r}")
    whole = tuple(int(part) for part in parts)
    return whole * axes if len(whole) == 1 else whole


def repeated(value: Any, times: int) -> Any:
    """层的构造函数的写法：单个值重复几遍，一列值变成元组。"""
    return tuple(value) if hasattr(value, "__iter__") and not isinstance(value, str) else (value,) * times


def batched(input: Tensor, axes: int, name: str) -> tuple[Tensor, bool]:
    """没有批次轴就补上一根。

    Returns:
        带批次轴的输入，以及它是不是补上的。

    Raises:
        RuntimeError: 轴数不对。
    """
    if input.array.ndim not in (axes + 1, axes + 2):
        raise RuntimeError(f"{name}: expected {axes + 1}D (unbatched) or {axes + 2}D input, got {input.array.shape}")
    return (input.unsqueeze(0), True) if input.array.ndim == axes + 1 else (input, False)


def pooled_length(length: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """一根轴上有几个窗口；``ceil_mode`` 允许最后一个窗口伸出去，但必须从内容或左侧补边开始。"""
    room = length + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-room // stride) + 1 if ceil_mode else room // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= length + padding else count
