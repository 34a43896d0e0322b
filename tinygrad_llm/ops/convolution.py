"""卷积：滑动窗口展开成矩阵，再做一次矩阵乘法。

流入：``(N, C, *空间)`` 与 ``(O, C/groups, *核)``，空间可以是任意几维；流出：``(N, O, *空间)``。
卷积、转置卷积与「对权重的梯度」三者互为导数，所以任意阶导数都只用这三个算子。下一站：``pooling.py``。
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.ops.blocks import row_blocks
from tinygrad_llm.ops.op import Array, op

Shape = tuple[int, ...]


class Window(NamedTuple):
    """窗口怎样在各空间轴上滑动；四项都与空间轴一一对应。

    Attributes:
        kernel: 窗口的长度。
        stride: 步长。
        padding: 左侧补的零；右侧补多少由输出的长度决定。
        dilation: 窗口内相邻两格的间隔。
    """

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape

    def reach(self, out: Shape) -> Shape:
        """``out`` 个窗口一共跨过的长度，从左侧的补零算起。"""
        return tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(out, *self[:2], self.dilation, strict=True))


def padded(x: Array, window: Window, out: Shape, value: float = 0) -> Array:
    """在空间轴的两侧补 ``value``，使 ``out`` 个窗口都落在数组里；本来就够则原样返回。"""
    size = x.shape[2:]
    ends = [max(0, r - p - n) for r, p, n in zip(window.reach(out), window.padding, size, strict=True)]
    if not any(window.padding) and not any(ends):
        return x
    bounds = [p + n + e for p, n, e in zip(window.padding, size, ends, strict=True)]
    result = np.full((*x.shape[:2], *bounds), value, x.dtype)
    result[_inside(window, size)] = x
    return result


def _inside(window: Window, size: Shape) -> tuple[Any, ...]:
    """补零之后，原来的内容在哪里。"""
    return (..., *(slice(p, p + n) for p, n in zip(window.padding, size, strict=True)))


def taps(window: Window, out: Shape) -> Iterator[tuple[Any, Any]]:
    """逐个给出窗口内的一格：它在 ``(N, C, *核, …)`` 里的下标，以及随窗口滑动时它在补零后的数组上经过的位置。"""
    for offset in itertools.product(*(range(k) for k in window.kernel)):
        starts = [o * d for o, d in zip(offset, window.dilation, strict=True)]
        ends = [a + s * (n - 1) + 1 for a, s, n in zip(starts, window.stride, out, strict=True)]
        place = (..., *(slice(a, e, s) for a, e, s in zip(starts, ends, window.stride, strict=True)))
        yield (slice(None), slice(None), *offset), place


def _views(x: Array, window: Window, out: Shape) -> Array:
    """全部窗口 ``(N, C, *核, *out)``，是 ``x``（补零后）的视图。"""
    x = padded(x, window, out)
    steps = x.strides[2:]
    inner = [s * d for s, d in zip(steps, window.dilation, strict=True)]
    outer = [s * d for s, d in zip(steps, window.stride, strict=True)]
    shape = (*x.shape[:2], *window.kernel, *out)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:2], *inner, *outer), writeable=False)


def _scattered(columns: Array, window: Window, size: Shape) -> Array:
    """``_views`` 的转置：把每个窗口加回原位，再裁去补零。"""
    out = columns.shape[2 + len(size) :]
    ends = [max(r, p + n) for r, p, n in zip(window.reach(out), window.padding, size, strict=True)]
    y: Array = np.zeros((*columns.shape[:2], *ends), columns.dtype)
    if columns.size:
        for cell, place in taps(window, out):
            y[place] += columns[cell]
    y = y[_inside(window, size)]
    return y


@op("y = x 的全部窗口", x=lambda g, shapes, window: col2im(g, window=window, size=shapes[0][2:]))
def im2col(x: Array, *, window: Window, out: Shape) -> Any:
    """``(N, C, *空间) → (N, C, *核, *out)``：取出全部窗口。"""
    return np.array(_views(x, window, out))


@op("y[窗口] += x", x=lambda g, shapes, window: im2col(g, window=window, out=shapes[0][2 + len(window.kernel) :]))
def col2im(x: Array, *, window: Window, size: Shape) -> Any:
    """``(N, C, *核, *out) → (N, C, *size)``：把窗口加回原位，重叠处相加。"""
    return _scattered(x, window, size)


def _grouped(weight: Array, groups: int) -> Array:
    """``(O, C/G, *核) → (G, O/G, C/G·核)``。"""
    return weight.reshape(groups, weight.shape[0] // groups, math.prod(weight.shape[1:]))


def _columns(x: Array, window: Window, out: Shape, groups: int) -> Iterator[tuple[slice, Array]]:
    """一批批地给出窗口矩阵 ``(n, G, C/G·核, L)``：一批正好放进缓存。"""
    width = x.shape[1] * math.prod(window.kernel)
    for rows in row_blocks(len(x), width * math.prod(out)):
        views = _views(x[rows], window, out)
        yield rows, views.reshape(len(views), groups, width // groups, math.prod(out))


@op(
    "y = x ⋆ w",
    x=lambda g, weight, shapes, window, groups: conv_transpose(
        g, weight, window=window, groups=groups, size=shapes[0][2:]
    ),
    weight=lambda g, x, window, groups: conv_weight(x, g, window=window, groups=groups),
)
def convolution(x: Array, weight: Array, *, window: Window, groups: int, out: Shape) -> Any:
    """卷积（严格说是互相关）：``yₙₒ = Σ 窗口 · 核``。

    Args:
        x: ``(N, C, *空间)``。
        weight: ``(O, C/groups, *核)``。
        window: 滑动的方式。
        groups: 通道分成几组。
        out: 输出的空间形状。

    Returns:
        ``(N, O, *out)``。
    """
    y = np.empty((len(x), groups, weight.shape[0] // groups, math.prod(out)), np.result_type(x, weight))
    matrix = _grouped(weight, groups)
    for rows, columns in _columns(x, window, out, groups):
        np.matmul(matrix, columns, out=y[rows])
    return y.reshape(len(x), weight.shape[0], *out)


@op(
    "y = xᵀ ⋆ w",
    x=lambda g, weight, shapes, window, groups: convolution(g, weight, window=window, groups=groups, out=shapes[0][2:]),
    weight=lambda g, x, window, groups: conv_weight(g, x, window=window, groups=groups),
)
def conv_transpose(x: Array, weight: Array, *, window: Window, groups: int, size: Shape) -> Any:
    """转置卷积，也就是卷积对输入的梯度：每一点把核乘上自己，加到它的窗口里。

    Args:
        x: ``(N, O, *out)``。
        weight: ``(O, C/groups, *核)``。
        window: 滑动的方式。
        groups: 通道分成几组。
        size: 输出的空间形状。

    Returns:
        ``(N, C, *size)``。
    """
    out, channels = x.shape[2:], weight.shape[1] * groups
    y = np.empty((len(x), channels, *size), np.result_type(x, weight))
    matrix = _grouped(weight, groups).mT
    grouped = x.reshape(len(x), groups, weight.shape[0] // groups, math.prod(out))
    for rows in row_blocks(len(x), channels * math.prod((*window.kernel, *out))):
        columns = np.matmul(matrix, grouped[rows])
        y[rows] = _scattered(columns.reshape(len(columns), channels, *window.kernel, *out), window, size)
    return y


@op(
    "w = Σₙ x 的窗口 · g",
    x=lambda g, g_in, shapes, window, groups: conv_transpose(g_in, g, window=window, groups=groups, size=shapes[0][2:]),
    g_in=lambda g, x, shapes, window, groups: convolution(x, g, window=window, groups=groups, out=shapes[1][2:]),
)
def conv_weight(x: Array, g_in: Array, *, window: Window, groups: int) -> Any:
    """卷积对权重的梯度：每个窗口乘上它的输出的梯度，对批次与位置求和。

    Args:
        x: ``(N, C, *空间)``。
        g_in: ``(N, O, *out)``。
        window: 滑动的方式。
        groups: 通道分成几组。

    Returns:
        ``(O, C/groups, *核)``。
    """
    channels, out = g_in.shape[1], g_in.shape[2:]
    dtype = np.result_type(x, g_in)
    total = np.zeros((groups, channels // groups, x.shape[1] // groups * math.prod(window.kernel)), dtype)
    grouped = g_in.reshape(len(g_in), groups, channels // groups, math.prod(out))
    for rows, columns in _columns(x, window, out, groups):
        total += np.matmul(grouped[rows], columns.mT).sum(0)
    return total.reshape(channels, x.shape[1] // groups, *window.kernel)
