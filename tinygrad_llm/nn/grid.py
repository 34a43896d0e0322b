"""按坐标采样：``grid_sample`` 与生成坐标的 ``affine_grid``。

流入：``(N, C, *空间)`` 与落在 ``[-1, 1]`` 里的坐标；流出：各坐标处的插值。取样点的下标是常数，权重是坐标的函数，
所以对图像与对坐标的各阶导数都由普通算子得到。
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor

_CORNERS = "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0."


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """按坐标取样。

    Args:
        input: ``(N, C, H, W)`` 或 ``(N, C, D, H, W)``。
        grid: ``(N, H', W', 2)`` 或 ``(N, D', H', W', 3)``，末轴依次是 x、y（、z），-1 与 1 是两端。
        mode: ``"bilinear"``、``"nearest"`` 或（只有二维）``"bicubic"``。
        padding_mode: 落在外面的坐标：``"zeros"`` 取 0，``"border"`` 取边上，``"reflection"`` 折回来。
        align_corners: ±1 是两端像素的中心，还是它们的外缘。

    Returns:
        ``(N, C, *grid 的空间)``。

    Raises:
        ValueError: 未知的 ``mode`` 或 ``padding_mode``。
        RuntimeError: 形状不合。
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"grid_sample: expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: {mode!r}")
    if padding_mode not in _PADDINGS:
        raise ValueError(
            f"grid_sample: expected padding_mode to be one of {tuple(_PADDINGS)}, but got: {padding_mode!r}"
        )
    if align_corners is None:
        warnings.warn(_CORNERS, stacklevel=2)
    shape, axes = input.array.shape, input.array.ndim - 2
    if axes not in (2, 3) or grid.array.ndim != axes + 2 or grid.array.shape[-1] != axes or len(grid) != len(input):
        raise RuntimeError(f"grid_sample: input {shape} and grid {grid.array.shape} do not fit together")
    if 0 in shape[2:] or (mode == "bicubic" and axes == 3) or grid.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"grid_sample: cannot sample {input.dtype} {shape} at {grid.dtype} positions with mode {mode!r}"
        )
    with np.errstate(invalid="ignore"):  # 坐标可以是无穷或 NaN
        return _sample(input, grid, mode, _PADDINGS[padding_mode], bool(align_corners))


def _sample(input: Tensor, grid: Tensor, mode: str, fold: Fold, corners: bool) -> Tensor:
    """各轴取样点的所有组合：像素乘以各轴的权重，加起来。"""
    size = input.array.shape[2:]
    places = [_pixels(grid[..., len(size) - 1 - i], n, corners) for i, n in enumerate(size)]
    taps = [_TAPS[mode](x, n, fold, corners) for x, n in zip(places, size, strict=True)]
    total: Any = None
    for chosen in itertools.product(*taps):
        part = _fetch(input, [index for index, _ in chosen])
        for _, weight in chosen:
            part = part if weight is None else part * weight.unsqueeze(1)
        total = part if total is None else total + part
    return total  # type: ignore[no-any-return]


def _pixels(x: Tensor, length: int, corners: bool) -> Tensor:
    """``[-1, 1]`` → 像素坐标。"""
    return (x + 1) * ((length - 1) / 2) if corners else ((x + 1) * length - 1) / 2  # type: ignore[no-any-return]


def _fetch(input: Tensor, indices: list[Array]) -> Tensor:
    """取出各点的像素；落在外面的取 0。"""
    (batch, channels), size = input.array.shape[:2], input.array.shape[2:]
    inside = np.logical_and.reduce([(i >= 0) & (i < n) for i, n in zip(indices, size, strict=True)])
    flat: Any = 0
    for i, n in zip(indices, size, strict=True):
        flat = flat * n + np.clip(i, 0, n - 1)
    count = math.prod(flat.shape[1:])
    places = np.broadcast_to(flat.reshape(batch, 1, count), (batch, channels, count))
    pixels = apply(sh.gather, (input.reshape(batch, channels, math.prod(size)), places), {"dim": 2})
    pixels = pixels.reshape(batch, channels, *flat.shape[1:])
    return pixels if inside.all() else pixels * Tensor.wrap(inside[:, None].astype(input.array.dtype))  # type: ignore[no-any-return]


Fold = Callable[[Array, int, bool], tuple[Array, Array]]
"""``(坐标, 长度, 是否对齐中心)`` → 折回之后的坐标，与它对原坐标的导数。"""


def _outside(x: Array, length: int, corners: bool) -> tuple[Array, Array]:
    return x, np.ones_like(x)


def _border(x: Array, length: int, corners: bool) -> tuple[Array, Array]:
    inside = (x > 0) & (x < length - 1)
    return np.clip(np.nan_to_num(x, nan=0.0), 0, length - 1), inside.astype(x.dtype)


def _reflection(x: Array, length: int, corners: bool) -> tuple[Array, Array]:
    """在 ``[0, n-1]``（或像素的外缘 ``[-1/2, n-1/2]``）之间来回折。"""
    low, span = (0.0, length - 1.0) if corners else (-0.5, float(length))
    if span == 0:
        return np.zeros_like(x), np.zeros_like(x)
    shifted = np.abs(x - low)
    slope = np.where(x < low, -1.0, 1.0)
    odd = np.floor(shifted / span) % 2 == 1
    extra = np.fmod(shifted, span)
    found, again = _border(np.where(odd, span - extra, extra) + low, length, corners)
    return found.astype(x.dtype), (np.where(odd, -slope, slope) * again).astype(x.dtype)


_PADDINGS: dict[str, Fold] = {"zeros": _outside, "border": _border, "reflection": _reflection}

Taps = list[tuple[Array, Any]]
"""一根轴上的取样点：``(整数位置, 权重)``；权重为 ``None`` 表示 1。"""


def _folded(x: Tensor, length: int, fold: Fold, corners: bool) -> Tensor:
    """折回之后的坐标，仍连在图上：它是原坐标的分段线性函数。"""
    value, slope = fold(x.array, length, corners)
    flat = slope == 0  # 折到边上：不再随坐标变化，即使坐标是无穷
    shift = np.where(flat, value, value - x.array * slope)
    return x.masked_fill(Tensor.wrap(flat), 0.0) * Tensor.wrap(slope) + Tensor.wrap(shift)  # type: ignore[no-any-return]


def _whole(x: Array) -> Array:
    """取整数；NaN、inf 与太大的数算作在外面。"""
    return np.where(np.abs(x) < 2**31, x, -100).astype(np.int64)


def _nearest(x: Tensor, length: int, fold: Fold, corners: bool) -> Taps:
    return [(_whole(np.rint(fold(x.array, length, corners)[0])), None)]


def _linear(x: Tensor, length: int, fold: Fold, corners: bool) -> Taps:
    x = _folded(x, length, fold, corners)
    left = np.floor(x.array)
    share = x - Tensor.wrap(left)
    return [(_whole(left), 1 - share), (_whole(left) + 1, share)]


def _cubic(x: Tensor, length: int, fold: Fold, corners: bool) -> Taps:
    """四个点各自折回；权重是 Keys 的三次卷积核，``a = -3/4``。"""
    left = np.floor(x.array)
    t = x - Tensor.wrap(left)
    places = [_whole(fold(left + i, length, corners)[0]) for i in range(-1, 3)]
    return list(zip(places, (_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t)), strict=True))


def _inner(t: Tensor) -> Tensor:
    return (1.25 * t - 2.25) * t * t + 1  # type: ignore[no-any-return]


def _outer(t: Tensor) -> Tensor:
    return ((-0.75 * t + 3.75) * t - 6) * t + 3  # type: ignore[no-any-return]


_TAPS: dict[str, Callable[[Tensor, int, Fold, bool], Taps]] = {
    "nearest": _nearest,
    "bilinear": _linear,
    "bicubic": _cubic,
}


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """仿射变换之后的坐标，供 ``grid_sample`` 使用。

    Args:
        theta: ``(N, 2, 3)`` 或 ``(N, 3, 4)``。
        size: 目标的形状 ``(N, C, H, W)`` 或 ``(N, C, D, H, W)``。
        align_corners: ±1 是两端像素的中心，还是它们的外缘。

    Returns:
        ``(N, H, W, 2)`` 或 ``(N, D, H, W, 3)``。

    Raises:
        ValueError: ``theta`` 的形状或类型不合，或 ``size`` 不是正数。
        NotImplementedError: ``size`` 不是四项或五项。
    """
    if align_corners is None:
        warnings.warn(_CORNERS, stacklevel=2)
    if theta.array.dtype.kind != "f":
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if len(size) not in (4, 5):
        raise NotImplementedError(f"affine_grid only supports 4D and 5D sizes, got size {tuple(size)}")
    axes = len(size) - 2
    if theta.array.ndim != 3 or theta.array.shape[1:] != (axes, axes + 1) or min(size) <= 0:
        raise ValueError(f"affine_grid: theta {theta.array.shape} does not fit size {tuple(size)}")
    if align_corners and min(size[2:]) == 1:
        warnings.warn("affine_grid: unit-size grids with align_corners=True lie at 0 since 1.3.0.", stacklevel=2)
    lines = [_centres(n, bool(align_corners)) for n in size[2:]]
    mesh = np.meshgrid(*lines, indexing="ij")[::-1]
    points = np.stack([*mesh, np.ones_like(mesh[0])], -1).reshape(-1, axes + 1).astype(theta.array.dtype)
    return (Tensor.wrap(points) @ theta.transpose(1, 2)).reshape(size[0], *size[2:], axes)  # type: ignore[no-any-return]


def _centres(length: int, corners: bool) -> Array:
    """各像素中心在 ``[-1, 1]`` 里的坐标。"""
    if length == 1:
        return np.zeros(1)
    return np.linspace(-1, 1, length) * (1 if corners else (length - 1) / length)
