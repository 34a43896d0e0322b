"""最大池化里唯一要查找的东西：每个窗口的最大值在哪里。

流入：``(N, C, *空间)``；流出：最大值在展平的空间上的下标。取值与求导交给 ``gather``。下一站：``linear.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.convolution import Shape, Window, padded, taps
from tinygrad_llm.ops.op import Array


def lowest(dtype: Any) -> float:
    """这种类型里最小的数：补边处永远不会被选中。"""
    return -math.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)


def largest(x: Array, window: Window, out: Shape) -> Array:
    """每个窗口的最大值的位置；并列取第一个，有 NaN 则取最后一个 NaN，与 torch 一致。

    Args:
        x: ``(N, C, *空间)``。
        window: 滑动的方式。
        out: 输出的空间形状。

    Returns:
        ``(N, C, *out)`` 的下标，取自展平的空间。
    """
    size = x.shape[2:]
    inside = padded(np.ones((1, 1, *size), bool), window, out, False)
    steps = np.cumprod([1, *size[:0:-1]])[::-1]  # 各轴走一格，展平的下标走多远
    origin = np.zeros((), np.int64)
    for count, stride, padding, step in zip(out, window.stride, window.padding, steps, strict=True):
        origin = origin[..., None] + (np.arange(count) * stride - padding) * step
    cells = [(int(np.dot(np.multiply(cell[2:], window.dilation), steps)), place) for cell, place in taps(window, out)]
    offset = np.array(np.broadcast_to(_first_inside(inside, cells, out), (*x.shape[:2], *out)))
    x = padded(x, window, out, lowest(x.dtype))
    best = np.full(offset.shape, lowest(x.dtype), x.dtype)
    for step, place in cells:
        np.copyto(offset, step, where=x[place] > best)
        np.maximum(best, x[place], out=best)
    if x.dtype.kind == "f" and np.isnan(best).any():
        for step, place in cells:
            np.copyto(offset, step, where=np.isnan(x[place]))
    offset += origin
    return offset


def _first_inside(inside: Array, cells: list[tuple[int, Any]], out: Shape) -> Array:
    """每个窗口里第一个不是补出来的格子；全是 -inf 的窗口选它。"""
    first = np.zeros((1, 1, *out), np.int64)
    for step, place in reversed(cells):
        np.copyto(first, step, where=inside[place])
    return first
