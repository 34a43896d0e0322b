"""插值：把空间轴放大或缩小到给定的长度。

流入：``(N, C, *空间)``；流出：空间形状为 ``size`` 的 Tensor。各轴互不相干：每根轴是一个稀疏矩阵，逐轴左乘。
坐标的取法与 torch 相同：像素是小方块，缺省对齐边缘，``align_corners`` 时对齐四角像素的中心。
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.adaptive import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from tinygrad_llm.nn.memory_order import like_input
from tinygrad_llm.ops.interpolation import axis_matrix
from tinygrad_llm.ops.resampling import resample
from tinygrad_llm.tensor import Tensor

_AXES = {"linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,), "lanczos": (2,)}
_PLAIN = ("nearest", "nearest-exact", "area")
_SMOOTH = ("bilinear", "bicubic", "lanczos")


@like_input
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """插值到 ``size``，或放大 ``scale_factor`` 倍。

    Args:
        input: ``(N, C, *空间)``，一到三根空间轴。
        size: 输出的空间形状；一个数表示各轴相同。
        scale_factor: 放大的倍数，与 ``size`` 二选一。
        mode: ``"nearest"``、``"nearest-exact"``、``"area"``、``"linear"``、``"bilinear"``、``"trilinear"``、
            ``"bicubic"`` 或 ``"lanczos"``。
        align_corners: 对齐四角像素的中心。
        recompute_scale_factor: 坐标按实际的长度之比计算，而不是按给的倍数。
        antialias: 缩小时先平滑，只用于 ``"bilinear"``、``"bicubic"`` 与 ``"lanczos"``。

    Returns:
        ``(N, C, *size)``。

    Raises:
        ValueError: 参数互相矛盾。
        NotImplementedError: 轴数与 ``mode`` 不配。
    """
    if mode in _PLAIN and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    lengths = input.array.shape[2:]
    wanted, scales = _targets(lengths, size, scale_factor, bool(recompute_scale_factor) or mode == "area")
    if antialias and not (mode in _SMOOTH and len(lengths) == 2):
        raise ValueError(f"antialias needs mode bilinear, bicubic or lanczos and a 4-D input, got {mode!r}")
    if len(lengths) not in _AXES.get(mode, (1, 2, 3) if mode in _PLAIN else ()):
        raise NotImplementedError(f"interpolate: input {input.array.shape} cannot be resized with mode {mode!r}")
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError("Lanczos mode requires antialias=True and align_corners=False")
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[len(lengths) - 1](input, wanted)
    if min(wanted) < 1 or 0 in lengths:
        raise RuntimeError(f"interpolate: input and output sizes should be greater than 0, got {lengths} and {wanted}")
    if input.array.dtype.kind != "f" and mode not in _PLAIN:
        raise NotImplementedError(f"interpolate: mode {mode!r} is not implemented for {input.dtype}")
    kernel = ("smooth " if antialias else "") + (
        mode if mode in _PLAIN else mode.removeprefix("bi").removeprefix("tri")
    )
    return _resize(input, wanted, scales, kernel, bool(align_corners))


def _resize(x: Tensor, wanted: list[int], factors: list[float | None], mode: str, corners: bool) -> Tensor:
    dtype = np.float64 if x.array.dtype == np.float64 else np.float32  # torch 也在这个精度里算坐标
    for dim, (count, factor) in enumerate(zip(wanted, factors, strict=True), 2):
        length = x.array.shape[dim]
        if length == count and (mode.startswith("smooth") or (mode == "nearest" and len(wanted) == 2)):
            continue  # 长度不变时，torch 的这几种实现不管倍数，原样保留
        matrix = axis_matrix(mode, length, count, factor, corners, dtype)
        x = apply(resample, (x,), {"matrix": matrix, "dim": dim})
    return x


def _targets(lengths: Sequence[int], size: Any, scale: Any, recompute: bool) -> tuple[list[int], list[float | None]]:
    """各轴的输出长度，以及算坐标时用的倍数（``None`` 表示按长度之比）。"""
    if (size is None) == (scale is None):
        raise ValueError("exactly one of size or scale_factor should be defined")
    given = scale if size is None else size
    each = list(given) if isinstance(given, (tuple, list)) else [given] * len(lengths)
    if len(each) != len(lengths):
        raise ValueError(f"interpolate: spatial dimensions {list(lengths)} need as many entries, got {given}")
    if size is None:
        wanted = [int(n * factor) for n, factor in zip(lengths, each, strict=True)]
        return wanted, [None] * len(each) if recompute else each
    if not all(hasattr(n, "__index__") for n in each):
        raise TypeError(f"expected size to be one of int or a tuple of ints, got {size!r}")
    return [int(n) for n in each], [None] * len(each)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """已弃用的旧名，同 ``interpolate``。"""
    return _deprecated("upsample", input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """已弃用：``interpolate(..., mode="nearest")``。"""
    return _deprecated("upsample_nearest", input, size, scale_factor, "nearest", None)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """已弃用：``interpolate(..., mode="bilinear", align_corners=True)``。"""
    return _deprecated("upsample_bilinear", input, size, scale_factor, "bilinear", True)


def _deprecated(name: str, input: Tensor, size: Any, scale_factor: Any, mode: str, corners: bool | None) -> Tensor:
    message = f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead."
    warnings.warn(message, stacklevel=3)
    return interpolate(input, size, scale_factor, mode, corners)
