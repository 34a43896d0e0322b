"""内存次序：运算的结果，各轴在内存里谁在外、谁在内；规则与 torch 相同。

流入：操作数的步长；流出：由外到内的轴号，或按它排布的数组。次序错了，``reshape`` 得到的是视图还是拷贝就会不同，
写进去的数便落在别处。下一站：``shape.py``。
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array


@functools.lru_cache(maxsize=1024)
def order_among(shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """几个操作数合起来，结果的各轴由外到内的次序。

    两根轴谁在外，先听第一个操作数的，它不分高下再问下一个；都不分高下就保持原来的次序。
    从内到外逐根比较，该换的两根互换位置（不是插入），与 torch 的 TensorIterator 相同。

    Args:
        shape: 结果的形状。
        strides: 各操作数的步长，广播来的轴为 0。
    """
    order = list(range(len(shape)))[::-1]  # 由内到外
    for i in range(1, len(order)):
        here = i
        for j in range(i - 1, -1, -1):
            verdict = _compared(order[j], order[here], shape, strides)
            if verdict < 0:
                break
            if verdict > 0:
                order[j], order[here] = order[here], order[j]
                here = j
    return tuple(order[::-1])


def _compared(inner: int, outer: int, shape: Sequence[int], strides: Sequence[Sequence[int]]) -> int:
    """正数：里面的一根该在外面；负数：就该如此；0：不分高下。"""
    for steps in strides:
        a, b = steps[inner], steps[outer]
        if not (a and b):
            continue
        if a != b:
            return 1 if a > b else -1
        if shape[inner] > shape[outer]:
            return 1
    return 0


def empty_in_order(shape: tuple[int, ...], dtype: Any, order: tuple[int, ...] | None) -> Array:
    """未初始化的数组，各轴按 ``order`` 由外到内排布。"""
    if order is None:
        return np.empty(shape, dtype)
    return np.empty([shape[i] for i in order], dtype).transpose(np.argsort(order))


def in_order(y: Array, order: tuple[int, ...]) -> Array:
    """``y`` 的拷贝，各轴按 ``order`` 由外到内排布。"""
    laid = empty_in_order(y.shape, y.dtype, order)
    laid[...] = y
    return laid


def like_operands(y: Array, *operands: Array) -> Array:
    """逐元素运算的结果，换成 torch 会给它的内存次序：丢弃的掩码、随机数按内存次序抽，错了就抽得不同。"""
    if operands[0].strides == y.strides and operands[0].shape == y.shape:
        return y  # 最常见的：第一个操作数没有空隙，结果已照它排
    order = order_among(y.shape, tuple([_spread_strides(x, y.shape) for x in operands]))
    return y if order == order_among(y.shape, (y.strides,)) else in_order(y, order)


def _spread_strides(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``x`` 广播成 ``shape`` 之后的步长。"""
    lead = len(shape) - x.ndim
    kept = [s if n == m else 0 for s, n, m in zip(x.strides, x.shape, shape[lead:], strict=True)]
    return (0,) * lead + tuple(kept)


def spreads_to(shape: tuple[int, ...], operands: Sequence[Any]) -> bool:
    """几个操作数是不是都能广播成 ``shape``：逐元素的运算才如此。"""
    shapes = [x.shape for x in operands if isinstance(x, np.ndarray)]
    return all(
        len(have) <= len(shape) and all(n in (1, m) for n, m in zip(have[::-1], shape[::-1], strict=False))
        for have in shapes
    )


def copy_with_strides(x: Array) -> Array:
    """``x`` 的拷贝，步长也相同，中间的空隙照留；元素彼此重叠的按行连续。"""
    inner = sorted((step, n) for step, n in zip(x.strides, x.shape, strict=True) if n > 1)
    span = x.itemsize
    for step, n in inner:
        if step < span:  # 重叠
            return np.array(x, order="C")
        span += step * (n - 1)
    if x.flags.c_contiguous or math.prod(x.shape) * x.itemsize == span or not x.size:
        return np.array(x, order="K")
    y: Array = np.ndarray(x.shape, x.dtype, np.empty(span // x.itemsize, x.dtype), 0, x.strides)
    y[...] = x
    return y
