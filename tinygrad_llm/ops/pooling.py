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
    """每个窗口的最大值的位置；并列取第一个，遇到 NaN 就是 NaN，与 torch 一致。

    Args:
        x: ``(N, C, *空间)``。
        window: 滑动的方式。
        out: 输出的空间形状。

    Returns:
        ``(N, C, *out)`` 的下标，取自展平的空间。
    """
    size = x.shape[2:]
    places = padded(np.arange(math.prod(size)).reshape(1, 1, *size), window, out, -1)
    first = np.full((1, 1, *out), -1)
    for _, place in taps(window, out):
        np.copyto(first, places[place], where=first < 0)
    found = np.array(np.broadcast_to(first, (*x.shape[:2], *out)))
    best = np.full(found.shape, lowest(x.dtype), x.dtype)
    x = padded(x, window, out, lowest(x.dtype))
    for _, place in taps(window, out):
        value = x[place]
        better = (value > best) | (value != value)
        np.copyto(best, value, where=better)
        np.copyto(found, places[place], where=better)
    return found
