"""取一块视图的算子：对角线、滑动的窗、任意步长；它们的反向把梯度加回原来的位置。

流入与流出都是数组（或 Tensor）。窗与任意步长可能让同一个元素出现几次，反向就累加几次。
下一站：``scattering.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import Path, Shape, replay, strided_view

Layout = tuple[Shape, Shape, int]
"""形状、步长与起点，都以元素计。"""


@op("y = 0，y[视图] += g", g_in=lambda g, path: replay(g, path))
def scatter_view(g_in: Array, *, shape: Shape, path: Path) -> Any:
    """视图的反向：零数组上，视图取到的位置加上梯度。"""
    g_in = np.asarray(g_in)
    y = np.zeros(math.prod(shape), dtype=g_in.dtype)
    np.add.at(y, replay(np.arange(y.size).reshape(shape), path), g_in)
    return y.reshape(shape)


@op(
    "y = x 的对角线",
    is_view=True,
    x=lambda g, shapes, offset, dim1, dim2: scatter_view(
        g, shape=shapes[0], path=((diagonal, {"offset": offset, "dim1": dim1, "dim2": dim2}),)
    ),
)
def diagonal(x: Array, *, offset: int, dim1: int, dim2: int) -> Any:
    """``dim1``、``dim2`` 两轴上的对角线，排成最后一轴。"""
    y = x.diagonal(offset, dim1, dim2)
    y.setflags(write=x.flags.writeable)  # NumPy 给的是只读视图
    return y


@op(
    "y = x 上滑动的窗",
    is_view=True,
    x=lambda g, shapes, dim, size, step: scatter_view(
        g, shape=shapes[0], path=((unfold, {"dim": dim, "size": size, "step": step}),)
    ),
)
def unfold(x: Array, *, dim: int, size: int, step: int) -> Any:
    """沿 ``dim`` 每隔 ``step`` 取长为 ``size`` 的一段；段内的位置是最后一根新轴。"""
    if x.ndim == 0:
        return x.reshape(1)[:size]
    shape, strides = list(x.shape), list(x.strides)
    shape[dim], strides[dim] = (x.shape[dim] - size) // step + 1, x.strides[dim] * step
    return strided_view(x, (*shape, size), (*strides, x.strides[dim]))


def _positions(layout: Layout) -> Array:
    """各元素在内存里的位置。"""
    shape, strides, start = layout
    found = np.full((), start)
    for n, step in zip(shape, strides, strict=True):
        found = found[..., None] + np.arange(n) * step
    return found


def _through_memory(x: Array, source: Layout, target: Layout, shared: Layout) -> Array:
    """把 ``x`` 按 ``source`` 加到一块内存里，除以 ``shared`` 的重叠次数，再按 ``target`` 读出来。"""
    put, get, counted = _positions(source), _positions(target), _positions(shared)
    size = max((int(p.max()) + 1 for p in (put, get, counted) if p.size), default=0)
    memory = np.zeros(size, dtype=x.dtype)
    np.add.at(memory, put, x)
    times = np.bincount(counted.reshape(-1), minlength=size)
    if times.max(initial=0) > 1:
        memory = (memory / np.maximum(times, 1)).astype(x.dtype)
    return memory[get]


@op(
    "内存[source] += x，y = 内存[target]",
    x=lambda g, source, target, shared: through_memory(g, source=target, target=source, shared=shared),
)
def through_memory(x: Array, *, source: Layout, target: Layout, shared: Layout) -> Any:
    """两种排布之间的搬运；``shared`` 里重叠的位置取平均。它的反向就是倒过来搬。"""
    return _through_memory(np.asarray(x), source, target, shared)


def reaches_beyond(target: Layout, source: Layout) -> bool:
    """``target`` 是否读到了 ``source`` 没有的位置。"""
    return not bool(np.isin(_positions(target), _positions(source)).all())


@op(
    "y = x 的内存按新的形状与步长读",
    is_view=True,
    x=lambda g, target, source: through_memory(g, source=target, target=source, shared=source),
)
def as_strided(x: Array, *, target: Layout, source: Layout) -> Any:
    """``x`` 所在的内存按 ``target`` 读；``target`` 的起点以 ``x`` 的第一个元素为 0。

    ``source`` 是 ``x`` 自己的排布；重放到排布不同的数组上时，先按它排进内存再读，那时得到的是拷贝。
    """
    if x.size and tuple([step // x.itemsize for step in x.strides]) != source[1]:
        return _through_memory(x, source, target, source)
    return memory_view(x, target)


def memory_view(x: Array, target: Layout) -> Array:
    """``x`` 所在的内存按 ``target`` 看。"""
    shape, strides, start = target
    return strided_view(x, shape, [step * x.itemsize for step in strides], start * x.itemsize)
