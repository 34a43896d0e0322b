"""输出长度给定的池化：窗口的起止由输入与输出的长度算出（adaptive），或由随机数决定（fractional）。

流入：``(N, C, *空间)`` 或没有批次轴的 ``(C, *空间)``；流出：空间形状为 ``output_size`` 的 Tensor。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.nn.memory_order import like_input
from tinygrad_llm.nn.pooling import picked, summed
from tinygrad_llm.nn.windows import batched, per_axis
from tinygrad_llm.ops.convolution import Shape
from tinygrad_llm.ops.op import Array
from tinygrad_llm.random import default_generator
from tinygrad_llm.tensor import Tensor


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """一维平均池化，输出长度为 ``output_size``。"""
    return _average("adaptive_avg_pool1d", 1, input, output_size)


@like_input
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """二维平均池化，输出空间为 ``output_size``；``None`` 表示该轴不变。"""
    return _average("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """三维平均池化，输出空间为 ``output_size``；``None`` 表示该轴不变。"""
    return _average("adaptive_avg_pool3d", 3, input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """一维最大池化，输出长度为 ``output_size``。"""
    return _maximum("adaptive_max_pool1d", 1, input, output_size, return_indices)


@like_input
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """二维最大池化，输出空间为 ``output_size``；``None`` 表示该轴不变。"""
    return _maximum("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """三维最大池化，输出空间为 ``output_size``；``None`` 表示该轴不变。"""
    return _maximum("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _wanted(name: str, output_size: Any, size: Shape) -> Shape:
    """``None`` 换成原来的长度。"""
    parts = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * len(size)
    if len(parts) != len(size):
        raise RuntimeError(f"{name}: output_size must be an int or {len(size)} ints, got {output_size!r}")
    found = per_axis([n if part is None else part for part, n in zip(parts, size, strict=True)], len(size), name)
    if min(found) < 0 or 0 in size:
        raise RuntimeError(f"{name}: cannot pool spatial size {size} to {found}")
    return found


def _edges(length: int, count: int) -> tuple[Array, Array]:
    """``count`` 个窗口的起止：尽量等长，可以重叠一格。"""
    places = np.arange(count)
    return places * length // max(count, 1), -(-(places + 1) * length // max(count, 1))


def _average(name: str, axes: int, input: Tensor, output_size: Any) -> Tensor:
    x, single = batched(input, axes, name)
    counts = np.ones((), x.array.dtype)
    for i, (length, count) in enumerate(
        zip(x.array.shape[2:], _wanted(name, output_size, x.array.shape[2:]), strict=True)
    ):
        starts, ends = _edges(length, count)
        x = summed(x, i + 2, starts, ends)
        counts = counts[..., None] * (ends - starts).astype(counts.dtype)
    y = x / Tensor.wrap(counts)
    return y.squeeze(0) if single else y  # type: ignore[no-any-return]


def _maximum(name: str, axes: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    x, single = batched(input, axes, name)
    size = x.array.shape[2:]
    windows = []
    for length, count in zip(size, _wanted(name, output_size, size), strict=True):
        starts, ends = _edges(length, count)
        widest = np.arange(int((ends - starts).max(initial=1)))
        windows.append(np.minimum(starts[:, None] + widest, ends[:, None] - 1)[None, None])
    return _largest(x, windows, single, return_indices)


def _largest(x: Tensor, windows: list[Array], single: bool, return_indices: bool) -> Any:
    """每个窗口的最大值。

    Args:
        x: ``(N, C, *空间)``。
        windows: 每根空间轴一个，``(N 或 1, C 或 1, 输出长度, 窗口长度)``：窗口里各点的位置。
        single: 去掉补上的批次轴。
        return_indices: 是否连下标一起返回。
    """
    size, axes = x.array.shape[2:], len(windows)
    places: Any = 0
    for i, window in enumerate(windows):
        shape = [*window.shape[:2], *(1,) * (2 * axes)]
        shape[2 + i], shape[2 + axes + i] = window.shape[2:]
        places = places * size[i] + window.reshape(shape)
    places = places.reshape(*places.shape[: 2 + axes], math.prod(places.shape[2 + axes :]))
    rows = np.ogrid[tuple(slice(n) for n in x.array.shape[:2])]
    n, c = (row.reshape(*row.shape, *(1,) * (axes + 1)) for row in rows)
    values = x.array.reshape(*x.array.shape[:2], math.prod(size))[n, c, places]
    best = values.argmax(-1)[..., None]
    found = np.take_along_axis(np.broadcast_to(places, values.shape), best, -1)[..., 0]
    y, indices = picked(x, found)
    if single:
        y, indices = y.squeeze(0), indices.squeeze(0)
    return (y, indices) if return_indices else y


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """二维分数最大池化：窗口的起点由每个通道的随机数决定。

    Raises:
        ValueError: ``output_size`` 与 ``output_ratio`` 都没给。
        RuntimeError: 窗口与输出的长度之和放不进输入。
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """三维分数最大池化：窗口的起点由每个通道的随机数决定。

    Raises:
        ValueError: ``output_size`` 与 ``output_ratio`` 都没给。
        RuntimeError: 窗口与输出的长度之和放不进输入。
    """
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def _fractional(
    axes: int,
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Tensor | None,
) -> Any:
    name = f"fractional_max_pool{axes}d"
    x, single = batched(input, axes, name)
    size, kernel = x.array.shape[2:], per_axis(kernel_size, axes, "kernel_size")
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * axes
        output_size = [int(n * ratio) for n, ratio in zip(size, ratios, strict=True)]
    out = per_axis(output_size, axes, "output_size")
    if any(o + k - 1 > n for o, k, n in zip(out, kernel, size, strict=True)):
        raise RuntimeError(f"{name}: pool size {kernel} and output size {out} are too large for spatial size {size}")
    lead = x.array.shape[:2]
    random = default_generator.uniform((*lead, axes), x.array.dtype) if samples is None else samples.array
    order = (1, 0) if axes == 2 else (0, 1, 2)  # torch 的二维版本先抽宽、再抽高
    windows = [_steps(random[..., order[i]], size[i], out[i], kernel[i]) for i in range(axes)]
    return _largest(x, windows, single, return_indices)


def _steps(sample: Array, length: int, count: int, kernel: int) -> Array:
    """分数步长的窗口 ``(N, C, count, kernel)``；最后一个总是贴着末尾。"""
    slope = sample.dtype.type((length - kernel) / (count - 1) if count > 1 else 0)
    sample = sample[..., None]
    starts = ((np.arange(count) + sample) * slope).astype(np.int64) - (sample * slope).astype(np.int64)
    starts[..., -1] = length - kernel
    return np.asarray(starts[..., None] + np.arange(kernel))
