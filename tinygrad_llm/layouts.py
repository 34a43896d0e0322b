"""内存布局：张量的步长，拷贝时各轴在内存里谁在外、谁在内，以及 torch 的 ``memory_format`` 与 ``layout`` 常量。

流入：NumPy 数组；流出：以元素计的步长，或「由外到内」的轴号。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.ordering import order_among
from tinygrad_llm.ops.shape import address, storage_of


class memory_format:  # noqa: N801  与 torch 同名
    """各轴在内存里的次序；只有下面四个实例。

    Attributes:
        name: 名字，如 ``"channels_last"``。
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class layout:  # noqa: N801  与 torch 同名
    """存放方式；只有 ``strided`` 一种。

    Attributes:
        name: 名字。
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
strided = layout("strided")

_CHANNELS_LAST = {channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}


def require_strided(wanted: layout | None) -> None:
    """布局只能是 ``strided``（或没写）。

    Raises:
        TypeError: 不是 ``layout``。
    """
    if wanted is not None and wanted is not strided:
        raise TypeError(f"argument 'layout' must be torch.layout, not {type(wanted).__name__}")


def strides_of(array: Array) -> tuple[int, ...]:
    """以元素计的步长；没有元素时按行连续计算，与 torch 相同。"""
    if array.size:
        return tuple([step // array.itemsize for step in array.strides])
    return tuple(math.prod(max(n, 1) for n in array.shape[i + 1 :]) for i in range(array.ndim))


def storage_start(array: Array) -> int:
    """从整块内存的开头到数组第一个元素，隔着几个元素。"""
    return (address(array) - address(storage_of(array))) // array.itemsize


def is_contiguous(array: Array, wanted: memory_format = contiguous_format) -> bool:
    """内存次序是不是 ``wanted``；``preserve_format`` 等同按行连续。

    Raises:
        TypeError: ``wanted`` 不是 ``memory_format``。
    """
    if wanted is contiguous_format or wanted is preserve_format:
        return bool(array.flags.c_contiguous)
    order = _CHANNELS_LAST[_checked(wanted)]
    return array.ndim == len(order) and bool(array.transpose(order).flags.c_contiguous)


def copy_order(array: Array, wanted: memory_format | None) -> tuple[int, ...] | None:
    """拷贝时各轴由外到内的次序；``None`` 表示按行连续。

    Args:
        array: 要拷贝的数组。
        wanted: 目标布局；``None`` 等同 ``preserve_format``。

    Raises:
        RuntimeError: 轴数与 ``channels_last`` 不符。
        TypeError: ``wanted`` 不是 ``memory_format``。
    """
    if wanted is contiguous_format:
        return None
    if wanted is None or wanted is preserve_format:
        return None if array.flags.c_contiguous else _outermost_first(array)
    order = _CHANNELS_LAST[_checked(wanted)]
    if array.ndim != len(order):
        raise RuntimeError(f"required rank {len(order)} tensor to use {wanted.name} format, got shape {array.shape}")
    return order


def _checked(wanted: Any) -> Any:
    if not isinstance(wanted, memory_format):
        raise TypeError(f"argument 'memory_format' must be torch.memory_format, not {type(wanted).__name__}")
    return wanted


def _outermost_first(array: Array) -> tuple[int, ...]:
    """步长大的在外；步长为 0 的轴（广播来的）不参与比较，留在原来的次序上。"""
    return order_among(array.shape, (array.strides,))
