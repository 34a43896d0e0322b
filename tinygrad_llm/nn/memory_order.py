"""图像的内存次序：输入是 ``channels_last`` 的，卷积、池化等的输出也是，与 torch 相同。

流入：一个函数；流出：同一个函数，输出的内存次序随输入。掩码与随机数按内存次序抽，所以次序也是结果的一部分。
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from tinygrad_llm.layouts import channels_last, is_contiguous
from tinygrad_llm.ops.ordering import in_order
from tinygrad_llm.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def like_input(function: F) -> F:
    """装饰器：二维图像的输入是 ``channels_last`` 的，输出也换成 ``channels_last``。"""

    @functools.wraps(function)
    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        found = function(input, *args, **kwargs)
        if not isinstance(input, Tensor) or input.array.ndim != 4 or input.array.flags.c_contiguous:
            return found
        if not is_contiguous(input.array, channels_last):
            return found
        return tuple(map(_laid, found)) if isinstance(found, tuple) else _laid(found)

    return cast(F, call)


def _laid(y: Any) -> Any:
    return y.contiguous(memory_format=channels_last) if y.array.ndim == 4 else y


def channels_inside(y: Tensor, x: Tensor) -> Tensor:
    """一维池化的输入 ``(N, C, L)`` 若通道在最内，输出也是，与 torch 相同。"""
    array = x.array
    if array.ndim != 3 or min(array.shape[1:]) < 2 or array.strides[1] != array.itemsize:
        return y
    if array.strides[0] >= array.strides[2] * array.shape[2]:  # 样本在最外
        y.array = in_order(y.array, (0, 2, 1))
    return y
