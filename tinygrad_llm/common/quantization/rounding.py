"""一个矩阵的量化与还原：比例尺怎样定，数怎样舍入。

流入：``(out, in)`` 的浮点矩阵与 ``Scheme``；流出：``Packed``。就近舍入（RTN）只看权重自己；
看校准数据的见 ``gptq.py`` 与 ``awq.py``，它们定好比例尺之后用的是同一套网格。

比例尺与零点总取 bfloat16 能表示的数，再照它们舍入权重：低精度的内核与 NumPy 因此读到同一个矩阵。
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .packing import MIDDLE, exact_half, pack_nibbles, round_bfloat16, round_up_bfloat16, unpack_nibbles
from .scheme import Scheme

__all__ = [
    "Grid",
    "Packed",
    "best_grid",
    "choose_scheme",
    "dequantize",
    "expand",
    "fit_grid",
    "grid_values",
    "pack",
    "quantize",
    "round_to_grid",
]

Array = npt.NDArray[Any]
MAX_INT8 = 127
SHRINKS = (1.0, 0.975, 0.95, 0.925, 0.9, 0.85, 0.8, 0.75)
"""试几种把范围收窄到几成：两端的几个大数截断一点，其余的数舍入得更细。"""
TINY = np.float32(2.0**-100)
"""比例尺的下限：不产生非规格化数。"""
ROWS = 4096
"""一次处理几行：词嵌入有几万行，不必把几份临时数组都摊开。"""


@dataclass(frozen=True)
class Packed:
    """量化了的矩阵。

    Attributes:
        scheme: 存法。
        shape: 原来的 ``(out, in)``。
        codes: int8 为 ``(out, in)``；int4 为 ``(out, ⌈in/2⌉)``，一个字节两个数。
        scale: int8 为 ``(out,)``；int4 为 ``(out, groups)``。
        zero: int4 的零点 ``(out, groups)``；没有时为 ``None``。
    """

    scheme: Scheme
    shape: tuple[int, int]
    codes: Array
    scale: Array
    zero: Array | None = None

    @property
    def nbytes(self) -> int:
        """存下它要几个字节。"""
        return self.codes.nbytes + self.scale.nbytes + (0 if self.zero is None else self.zero.nbytes)

    def arrays(self) -> dict[str, Array]:
        """后缀到数组。"""
        found = {"codes": self.codes, "scale": self.scale}
        return found | ({} if self.zero is None else {"zero": self.zero})


@dataclass(frozen=True)
class Grid:
    """可取的值：``(q - middle)·scale + zero``，q 从 ``low`` 到 ``high``。

    Attributes:
        scale: ``(out, groups)``，bfloat16 的值。
        zero: ``(out, groups)``；对称时为 ``None``。
        low: 最小的 q。
        high: 最大的 q。
        middle: 对应 ``zero`` 的 q。
    """

    scale: npt.NDArray[np.float32]
    zero: npt.NDArray[np.float32] | None
    low: int
    high: int
    middle: int

    def column(self, group: int) -> Grid:
        """第 ``group`` 组自己的网格，形状 ``(out, 1)``。"""
        part = slice(group, group + 1)
        return replace(self, scale=self.scale[:, part], zero=None if self.zero is None else self.zero[:, part])


def round_to_grid(w: Array, grid: Grid) -> Array:
    """最近的 q（整数值的浮点数）；``w`` 的末维与 ``grid`` 的比例尺可以广播。"""
    moved = w if grid.zero is None else w - grid.zero
    codes: Array = np.clip(np.rint(moved / grid.scale) + grid.middle, grid.low, grid.high)
    return codes


def grid_values(q: Array, grid: Grid) -> npt.NDArray[np.float32]:
    """q 代表的值。"""
    values = (q.astype(np.float32) - np.float32(grid.middle)) * grid.scale
    return values if grid.zero is None else values + grid.zero


def fit_grid(w: Array, scheme: Scheme, shrink: float = 1.0) -> Grid:
    """由一个矩阵各组的范围定网格。

    ``shrink = 1`` 时整组都在范围之内，于是 ``|w - ŵ| ≤ scale/2``：零点先取成 bfloat16，比例尺再向上取，正好盖住两端。

    Args:
        w: ``(out, in)``。
        scheme: 存法。
        shrink: 范围收窄到几成。

    Returns:
        ``(out, groups)`` 的网格。
    """
    top, bottom = (edge * shrink for edge in _ranges(w, scheme))
    if scheme.format == "int8":
        return Grid(_usable(np.maximum(top, -bottom) / MAX_INT8), None, -MAX_INT8, MAX_INT8, 0)
    zero = round_bfloat16((top + bottom) / 2 + (top - bottom) / 30) if scheme.has_zero else None
    above, below = (top, -bottom) if zero is None else (top - zero, zero - bottom)
    return Grid(_usable(np.maximum(above / (15 - MIDDLE), below / MIDDLE)), zero, 0, 15, MIDDLE)


def _usable(scale: Array) -> npt.NDArray[np.float32]:
    """向上取成 bfloat16；一组全是同一个数时不必有刻度，取 1 免得除以 0。"""
    return np.where(scale > 0, np.maximum(round_up_bfloat16(np.maximum(scale, 0)), TINY), np.float32(1))


def _ranges(w: Array, scheme: Scheme) -> tuple[Array, Array]:
    """每组的最大值与最小值 ``(out, groups)``。"""
    if scheme.format == "int8":
        return w.max(1, keepdims=True), w.min(1, keepdims=True)
    starts = np.arange(0, w.shape[1], scheme.group)
    return np.maximum.reduceat(w, starts, axis=1), np.minimum.reduceat(w, starts, axis=1)


def best_grid(w: Array, scheme: Scheme, importance: Array | None = None) -> Grid:
    """逐组试几个收窄的程度，取舍入误差（平方和，按列加权）最小的网格；int8 不收窄。

    int8 的刻度本来就细，收窄省下的误差很小，截断的却是一行里最大的几个数：误差的平方和小了，困惑度反而高了。

    Args:
        w: ``(out, in)``。
        scheme: 存法。
        importance: 各列的权重 ``(in,)``，通常是这一路输入的均方；``None`` 为一样重要。

    Returns:
        网格；误差从不大于 ``shrink = 1`` 时的。
    """
    best, lowest = fit_grid(w, scheme), None
    for shrink in SHRINKS if scheme.format == "int4" else ():
        grid = fit_grid(w, scheme, shrink)
        error = group_errors(w, grid, scheme, importance)
        if lowest is None:
            lowest = error
            continue
        better = error < lowest
        lowest = np.where(better, error, lowest)
        best = replace(
            best,
            scale=np.where(better, grid.scale, best.scale),
            zero=None if grid.zero is None or best.zero is None else np.where(better, grid.zero, best.zero),
        )
    return best


def group_errors(w: Array, grid: Grid, scheme: Scheme, importance: Array | None = None) -> Array:
    """就近舍入之后，每组的误差平方和 ``(out, groups)``。"""
    wide = expand(grid, scheme, w.shape[1])
    error = np.square(w - grid_values(round_to_grid(w, wide), wide))
    if importance is not None:
        error *= importance.astype(error.dtype)
    if scheme.format == "int8":
        return np.add.reduce(error, axis=1, keepdims=True)
    return np.add.reduceat(error, np.arange(0, w.shape[1], scheme.group), axis=1)


def expand(grid: Grid, scheme: Scheme, columns: int) -> Grid:
    """把每组的比例尺铺到每一列：``(out, in)``；int8 一行只有一个，靠广播。"""
    if scheme.format == "int8":
        return grid

    def spread(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.repeat(x, scheme.group, axis=1)[:, :columns]

    return replace(grid, scale=spread(grid.scale), zero=None if grid.zero is None else spread(grid.zero))


def pack(q: Array, grid: Grid, scheme: Scheme) -> Packed:
    """舍入好的 ``(out, in)`` 的 q 与它的网格，存成紧凑的数组。"""
    shape = (len(q), q.shape[1])
    if scheme.format == "int8":
        return Packed(scheme, shape, q.astype(np.int8), grid.scale[:, 0].copy())
    zero = None if grid.zero is None else exact_half(grid.zero)
    return Packed(scheme, shape, pack_nibbles(q), exact_half(grid.scale), zero)


def quantize(w: Array, scheme: Scheme, importance: Array | None = None, *, search: bool = True) -> Packed:
    """就近舍入（RTN）。

    Args:
        w: ``(out, in)`` 的浮点矩阵。
        scheme: 存法。
        importance: 见 ``best_grid``。
        search: 逐组挑误差最小的收窄程度；否则盖住整个范围，误差处处不超过半个刻度。

    Returns:
        量化了的矩阵。
    """
    exact = np.asarray(w, np.float32)
    parts = []
    for rows in (exact[i : i + ROWS] for i in range(0, len(exact), ROWS)):
        grid = best_grid(rows, scheme, importance) if search else fit_grid(rows, scheme)
        parts.append((round_to_grid(rows, expand(grid, scheme, rows.shape[1])).astype(np.int8), grid))
    scale, zeros = np.concatenate([grid.scale for _, grid in parts]), [grid.zero for _, grid in parts]
    zero = np.concatenate([one for one in zeros if one is not None]) if scheme.has_zero else None
    return pack(np.concatenate([q for q, _ in parts]), replace(parts[0][1], scale=scale, zero=zero), scheme)


def dequantize(packed: Packed, rows: slice | Array | None = None) -> npt.NDArray[np.float32]:
    """还原成 float32 的矩阵。

    Args:
        packed: 量化了的矩阵。
        rows: 只要哪些行；``None`` 为全部。

    Returns:
        ``(out, in)``，或所要的行。
    """
    part = slice(None) if rows is None else rows
    codes, scale = packed.codes[part], packed.scale[part].astype(np.float32)
    if packed.scheme.format == "int8":
        return codes.astype(np.float32) * scale[..., None]
    zero = None if packed.zero is None else packed.zero[part].astype(np.float32)
    grid = expand(Grid(scale, zero, 0, 15, MIDDLE), packed.scheme, packed.shape[1])
    return grid_values(unpack_nibbles(codes, packed.shape[1]), grid)


def choose_scheme(w: Array, scheme: Scheme) -> Scheme:
    """int4 要不要零点：在抽出的若干行上两种都试，误差小的胜出；int8 总是对称的。"""
    if scheme.format == "int8":
        return scheme
    rows = np.asarray(w[:: max(1, len(w) // 512)], np.float32)
    both = [replace(scheme, has_zero=has_zero) for has_zero in (False, True)]
    errors = [float(group_errors(rows, best_grid(rows, one), one).sum()) for one in both]
    return both[int(errors[1] < errors[0])]
