"""平均、Lp 与最大池化，以及最大池化的逆。

流入：``(N, C, *空间)`` 或没有批次轴的 ``(C, *空间)``；流出：同样排列的 Tensor。输出长度由别处决定的在 ``adaptive.py``。
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.operands import refuse
from tinygrad_llm.methods.shaping import shaped
from tinygrad_llm.nn.memory_order import channels_inside, like_input
from tinygrad_llm.nn.windows import batched, per_axis, pooled_length
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.convolution import Shape, Window
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.pooling import largest
from tinygrad_llm.ops.resampling import Sparse, resample
from tinygrad_llm.tensor import Tensor


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """一维平均池化；``count_include_pad`` 决定补的零算不算个数。"""
    y = _average("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)
    return channels_inside(y, input)


@like_input
def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """二维平均池化；``divisor_override`` 代替窗口里的个数作除数。"""
    return _average(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """三维平均池化；``divisor_override`` 代替窗口里的个数作除数。"""
    return _average(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """一维最大池化；``return_indices`` 时返回（值，在展平的空间上的下标）。"""
    found = _maximum("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    if return_indices or not input.requires_grad:
        return found
    return channels_inside(found, input)


@like_input
def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """二维最大池化；``return_indices`` 时返回（值，在展平的空间上的下标）。"""
    return _maximum("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """三维最大池化；``return_indices`` 时返回（值，在展平的空间上的下标）。"""
    return _maximum("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """一维 Lp 池化：窗口里 ``(Σ xᵖ)^(1/p)``。"""
    return _power(1, input, norm_type, kernel_size, avg_pool1d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode))


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """二维 Lp 池化：窗口里 ``(Σ xᵖ)^(1/p)``。"""
    return _power(2, input, norm_type, kernel_size, avg_pool2d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode))


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """三维 Lp 池化：窗口里 ``(Σ xᵖ)^(1/p)``。"""
    return _power(3, input, norm_type, kernel_size, avg_pool3d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode))


def _power(axes: int, input: Tensor, norm_type: float, kernel_size: Any, average: Tensor) -> Tensor:
    cells = math.prod(per_axis(kernel_size, axes, "kernel_size"))
    return ((average.sign() * average.abs().relu()) * cells).pow(1.0 / norm_type)  # type: ignore[no-any-return]


def _geometry(
    name: str, size: Shape, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Window, Shape]:
    """窗口与输出的空间形状。"""
    axes = len(size)
    kernel = per_axis(kernel_size, axes, "kernel_size")
    steps = kernel if stride is None or stride == () or stride == [] else per_axis(stride, axes, "stride")
    around, spread = per_axis(padding, axes, "padding"), per_axis(dilation, axes, "dilation")
    if min((*kernel, *steps, *spread)) < 1:
        raise RuntimeError(
            f"{name}: kernel size, stride and dilation should be greater than zero, got {kernel}, {steps} and {spread}"
        )
    if any(not 0 <= p <= k // 2 for p, k in zip(around, kernel, strict=True)):
        raise RuntimeError(f"{name}: padding {around} should be between 0 and half of the kernel size {kernel}")
    settings = zip(size, kernel, steps, around, spread, strict=True)
    out = tuple(pooled_length(*one, ceil_mode) for one in settings)
    if min(out) < 1:
        raise RuntimeError(f"{name}: output size is too small: spatial size {size}, kernel {kernel} give {out}")
    return Window(kernel, steps, around, spread), out


def _average(
    name: str,
    axes: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    if divisor == 0:
        raise RuntimeError(f"{name}: divisor must be not zero")
    x, single = batched(input, axes, name)
    size = x.array.shape[2:]
    window, out = _geometry(name, size, kernel_size, stride, padding, 1, ceil_mode)
    counts = np.ones((), x.array.dtype)
    for i in range(axes):
        starts = np.arange(out[i]) * window.stride[i] - window.padding[i]
        ends = np.minimum(starts + window.kernel[i], size[i] + window.padding[i])
        left, right = np.maximum(starts, 0), np.minimum(ends, size[i])
        x = summed(x, i + 2, left, right)
        length = ends - starts if count_include_pad else right - left
        counts = counts[..., None] * length.astype(counts.dtype)
    y = _divided(x, counts if divisor is None else np.asarray(divisor))
    return y.squeeze(0) if single else y


def _divided(x: Tensor, counts: Array) -> Tensor:
    """除以个数；整数向零取整。"""
    if x.array.dtype.kind == "f":
        return x / Tensor.wrap(counts.astype(x.array.dtype))  # type: ignore[no-any-return]
    return Tensor.wrap(np.trunc(x.array / counts).astype(x.array.dtype))


def summed(x: Tensor, dim: int, starts: Array, ends: Array) -> Tensor:
    """沿 ``dim`` 把每一段 ``[start, end)`` 加起来。"""
    lengths = ends - starts
    rows = np.repeat(np.arange(len(starts)), lengths)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(starts, lengths)
    matrix = Sparse(rows, columns, np.ones(len(rows)), (len(starts), x.array.shape[dim]))
    return apply(resample, (x,), {"matrix": matrix, "dim": dim})  # type: ignore[no-any-return]


def _maximum(
    name: str,
    axes: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    refuse(name, input, "c")
    x, single = batched(input, axes, name)
    window, out = _geometry(name, x.array.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    values, indices = picked(x, largest(x.array, window, out))
    if single:
        values, indices = shaped(values, values.array.shape[1:]), indices.squeeze(0)
    return (values, indices) if return_indices else values


def picked(x: Tensor, places: Array) -> tuple[Tensor, Tensor]:
    """按展平的空间上（最大者）的下标取值；返回值与下标。"""
    refuse("max_pool", x, "c")
    lead, total = x.array.shape[:2], math.prod(x.array.shape[2:])
    chosen = apply(sh.gather, (x.reshape(x.array.size), _everywhere(places, lead, total)), {"dim": 0})
    return shaped(chosen, places.shape), Tensor.wrap(places)


def _everywhere(places: Array, lead: tuple[int, ...], total: int) -> Array:
    """展平的空间上的下标 → 整个张量展平之后的下标：一维的收发比多维的快几倍。"""
    starts = np.arange(math.prod(lead)) * total
    return (places.reshape(len(starts), math.prod(places.shape[2:])) + starts[:, None]).reshape(-1)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """一维最大池化的逆：值放回下标处，其余为 0。"""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """二维最大池化的逆：值放回下标处，其余为 0。"""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """三维最大池化的逆：值放回下标处，其余为 0。"""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _unpool(
    axes: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Sequence[int] | None,
) -> Tensor:
    name = f"max_unpool{axes}d"
    if indices.array.shape != input.array.shape or indices.array.dtype.kind != "i":
        raise RuntimeError(f"{name}: indices must be integers of shape {input.array.shape}, got {indices.array.shape}")
    x, single = batched(input, axes, name)
    kernel = per_axis(kernel_size, axes, "kernel_size")
    steps = kernel if stride is None else per_axis(stride, axes, "stride")
    size = _unpooled_size(name, x.array.shape[2:], kernel, steps, per_axis(padding, axes, "padding"), output_size)
    lead, total = x.array.shape[:2], math.prod(size)
    places = indices.array
    if places.size and not 0 <= int(places.min()) <= int(places.max()) < total:
        raise RuntimeError(f"{name}: found an index outside of output size {size}: {places.min()} … {places.max()}")
    empty = Tensor.wrap(np.zeros(math.prod(lead) * total, x.array.dtype))
    key = (_everywhere(places.reshape(x.array.shape), lead, total),)
    y = apply(sh.index_put, (empty, x.reshape(x.array.size)), {"key": key}).reshape(*lead, *size)
    return y.squeeze(0) if single else y  # type: ignore[no-any-return]


def _unpooled_size(name: str, size: Shape, kernel: Shape, stride: Shape, padding: Shape, wanted: Any) -> Shape:
    usual = tuple((n - 1) * s + k - 2 * p for n, s, k, p in zip(size, stride, kernel, padding, strict=True))
    if wanted is None:
        return usual
    found = tuple(wanted)[2:] if len(wanted) == len(kernel) + 2 else tuple(wanted)
    if len(found) != len(kernel):
        raise ValueError(f"{name}: output_size should have {len(kernel)} or {len(kernel) + 2} elements, got {wanted}")
    if any(not u - s < n < u + s for n, u, s in zip(found, usual, stride, strict=True)):
        raise ValueError(f"{name}: invalid output_size {wanted}: each must be within the stride {stride} of {usual}")
    return found
