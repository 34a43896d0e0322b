"""卷积与转置卷积，一到三维；以及把窗口展开成列（``unfold``）与加回去（``fold``）。

流入：``(N, C, *空间)`` 或没有批次轴的 ``(C, *空间)``；流出：同样排列的 Tensor。公式在 ``ops/convolution.py``。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.memory_order import like_input
from tinygrad_llm.nn.windows import batched, per_axis
from tinygrad_llm.ops import convolution as ops
from tinygrad_llm.ops.convolution import Shape, Window
from tinygrad_llm.tensor import Tensor


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """一维卷积：``(N, C, L)`` 与 ``(O, C/groups, k)`` → ``(N, O, L')``。"""
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@like_input
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """二维卷积：``(N, C, H, W)`` 与 ``(O, C/groups, kH, kW)`` → ``(N, O, H', W')``。"""
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """三维卷积：``(N, C, D, H, W)`` 与 ``(O, C/groups, kD, kH, kW)`` → ``(N, O, D', H', W')``。"""
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """一维转置卷积：``(N, C, L)`` 与 ``(C, O/groups, k)`` → ``(N, O, L')``。"""
    return _transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@like_input
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """二维转置卷积：``(N, C, H, W)`` 与 ``(C, O/groups, kH, kW)`` → ``(N, O, H', W')``。"""
    return _transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """三维转置卷积：``(N, C, D, H, W)`` 与 ``(C, O/groups, kD, kH, kW)`` → ``(N, O, D', H', W')``。"""
    return _transpose("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolve(
    name: str,
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    _check_operands(name, axes, input, weight, bias, groups)
    x, single = batched(input, axes, name)
    kernel, size = weight.array.shape[2:], x.array.shape[2:]
    steps, spread = per_axis(stride, axes, "stride"), per_axis(dilation, axes, "dilation")
    _check_window(name, kernel, steps, spread)
    left, right = _sides(name, padding, kernel, steps, spread)
    _check_channels(name, x.array.shape[1], weight.array.shape[1] * groups, input, weight)
    if weight.array.shape[0] % groups:
        raise RuntimeError(f"{name}: {weight.array.shape[0]} output channels cannot be divided into {groups} groups")
    room = [n + a + b - d * (k - 1) - 1 for n, a, b, d, k in zip(size, left, right, spread, kernel, strict=True)]
    if min(room) < 0:
        raise RuntimeError(f"{name}: kernel {kernel} (dilation {spread}) is larger than the padded input {size}")
    out = tuple(r // s + 1 for r, s in zip(room, steps, strict=True))
    window = Window(kernel, steps, left, spread)
    return _finish(apply(ops.convolution, (x, weight), {"window": window, "groups": groups, "out": out}), bias, single)


def _transpose(
    name: str,
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    _check_operands(name, axes, input, weight, bias, groups)
    x, single = batched(input, axes, name)
    kernel, out = weight.array.shape[2:], x.array.shape[2:]
    steps, spread = per_axis(stride, axes, "stride"), per_axis(dilation, axes, "dilation")
    _check_window(name, kernel, steps, spread)
    around, extra = per_axis(padding, axes, "padding"), per_axis(output_padding, axes, "output_padding")
    if min((*around, *extra)) < 0:
        raise RuntimeError(f"{name}: negative padding is not supported, got {around} and output_padding {extra}")
    if any(e >= max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
        raise RuntimeError(f"{name}: output padding {extra} must be smaller than either stride or dilation")
    _check_channels(name, x.array.shape[1], weight.array.shape[0], input, weight)
    window = Window(kernel, steps, around, spread)
    size = tuple(r - 2 * p + e for r, p, e in zip(window.reach(out), around, extra, strict=True))
    if min(size) < 1:
        raise RuntimeError(f"{name}: input {input.array.shape} gives an output of size {size}, which is too small")
    return _finish(
        apply(ops.conv_transpose, (x, weight), {"window": window, "groups": groups, "size": size}), bias, single
    )


def _finish(y: Any, bias: Tensor | None, single: bool) -> Tensor:
    """加偏置，去掉补上的批次轴。"""
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * (y.array.ndim - 2))
    return y.squeeze(0) if single else y  # type: ignore[no-any-return]


def _check_operands(name: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    if not hasattr(groups, "__index__"):
        raise TypeError(f"{name}: groups must be an int, got {groups!r}")
    if groups <= 0:
        raise RuntimeError(f"{name}: non-positive groups is not supported, got {groups}")
    if weight.array.ndim != axes + 2:
        raise RuntimeError(f"{name}: expected a weight with {axes + 2} dimensions, got {weight.array.shape}")
    if not weight.array.shape[0]:
        raise RuntimeError(f"{name}: expected weight to be at least 1 at dimension 0, got {weight.array.shape}")
    for other in (weight, bias):
        if other is not None and other.array.dtype != input.array.dtype:
            raise RuntimeError(f"{name}: input is {input.dtype}, weight or bias is {other.dtype}; they must be equal")
    outputs = weight.array.shape[1] * groups if "transpose" in name else weight.array.shape[0]
    if bias is not None and bias.array.shape != (outputs,):
        raise RuntimeError(
            f"{name}: expected bias of shape ({outputs},) for {weight.array.shape}, got {bias.array.shape}"
        )


def _check_window(name: str, kernel: Shape, stride: Shape, dilation: Shape) -> None:
    if min(stride) < 1:
        raise RuntimeError(f"{name}: non-positive stride is not supported, got {stride}")
    if min(dilation) < 1:
        raise RuntimeError(f"{name}: dilation should be greater than zero, got {dilation}")
    if min(kernel) < 1:
        raise RuntimeError(f"{name}: kernel size should be greater than zero, got {kernel}")


def _check_channels(name: str, have: int, wanted: int, input: Tensor, weight: Tensor) -> None:
    if have != wanted:
        raise RuntimeError(
            f"{name}: weight {weight.array.shape} expects input with {wanted} channels, "
            f"but input {input.array.shape} has {have}"
        )


def _sides(name: str, padding: Any, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, Shape]:
    """各轴左右各补多少；``"same"`` 补得不对称时多补在右边。"""
    if not isinstance(padding, str):
        around = per_axis(padding, len(kernel), "padding")
        if min(around) < 0:
            raise RuntimeError(f"{name}: negative padding is not supported, got {around}")
        return around, around
    if padding not in ("same", "valid"):
        raise RuntimeError(f"{name}: invalid padding string {padding!r}, it must be 'same' or 'valid'")
    total = tuple(d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True))
    if padding == "same" and max(stride) > 1:
        raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions")
    left = tuple(t // 2 for t in total)
    return left, tuple(t - a for t, a in zip(total, left, strict=True))


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """取出全部二维窗口：``(N, C, H, W) → (N, C·kH·kW, L)``。

    Raises:
        RuntimeError: 轴数不对，或一个窗口也放不下。
    """
    x, single = batched(input, 2, "unfold")
    window = _window("unfold", kernel_size, dilation, padding, stride)
    out = _blocks("unfold", window, x.array.shape[2:])
    columns = apply(ops.im2col, (x,), {"window": window, "out": out})
    y = columns.reshape(*x.array.shape[:1], x.array.shape[1] * math.prod(window.kernel), math.prod(out))
    return y.squeeze(0) if single else y  # type: ignore[no-any-return]


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """把窗口加回原位：``(N, C·kH·kW, L) → (N, C, H, W)``，重叠处相加。

    Raises:
        RuntimeError: 输入的形状与窗口不符。
    """
    if input.array.ndim not in (2, 3):
        raise RuntimeError(f"fold: expected 2D (unbatched) or 3D input, got {input.array.shape}")
    x, single = (input.unsqueeze(0), True) if input.array.ndim == 2 else (input, False)
    size = per_axis(output_size, 2, "output_size")
    window = _window("fold", kernel_size, dilation, padding, stride)
    out, cells = _blocks("fold", window, size), math.prod(window.kernel)
    batch, rows, count = x.array.shape
    if rows % cells or count != math.prod(out):
        raise RuntimeError(
            f"fold: input {input.array.shape} needs a second-last dimension divisible by {cells} "
            f"and {math.prod(out)} blocks for output_size={size}"
        )
    columns = x.reshape(batch, rows // cells, *window.kernel, *out)
    y = apply(ops.col2im, (columns,), {"window": window, "size": size})
    return y.squeeze(0) if single else y  # type: ignore[no-any-return]


def _window(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Window:
    kernel, spread = per_axis(kernel_size, 2, "kernel_size"), per_axis(dilation, 2, "dilation")
    around, steps = per_axis(padding, 2, "padding"), per_axis(stride, 2, "stride")
    _check_window(name, kernel, steps, spread)
    if min(around) < 0:
        raise RuntimeError(f"{name}: padding should be non-negative, got {around}")
    return Window(kernel, steps, around, spread)


def _blocks(name: str, window: Window, size: Shape) -> Shape:
    room = [n + 2 * p - d * (k - 1) - 1 for n, k, p, d in zip(size, window[0], *window[2:], strict=True)]
    out = tuple(r // s + 1 for r, s in zip(room, window.stride, strict=True))
    if min(out) < 1:
        raise RuntimeError(f"{name}: {window} does not fit into spatial size {size}: it gives {out} blocks")
    return out
