"""只作函数、不作方法的统计量：一次得到两个量的、数值积分的、多维直方图。

流入：Tensor；流出：Tensor 或元组。名字与参数同 torch。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_llm import return_types
from tinygrad_llm.methods.arithmetic import as_float
from tinygrad_llm.methods.histograms import histogram
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.tensor import Tensor


def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """方差与均值。"""
    over = None if isinstance(dim, bool) else dim
    return input.var(dim, unbiased, keepdim, correction=correction), input.mean(over, keepdim)


def std_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """标准差与均值。"""
    over = None if isinstance(dim, bool) else dim
    return input.std(dim, unbiased, keepdim, correction=correction), input.mean(over, keepdim)


def _strips(name: str, y: Tensor, x: Any, dx: float, dim: int) -> tuple[Tensor, int]:
    """梯形各条的面积，与沿哪根轴。

    Raises:
        IndexError: 0 维没有轴。
        RuntimeError: ``x`` 不是每个采样点一个。
    """
    if y.ndim == 0:
        raise IndexError(f"{name}: dimension specified as {dim} but tensor has no dimensions")
    d = axis(dim, y.ndim)
    size = max(y.array.shape[d] - 1, 0)
    heights = y.narrow(d, y.array.shape[d] - size, size) + y.narrow(d, 0, size)
    if x is None:
        return as_float(heights) * (dx / 2), d
    along = 0 if x.ndim == 1 else axis(dim, x.ndim)
    if x.ndim == 0 or x.array.shape[along] != y.array.shape[d]:
        raise RuntimeError(f"{name}: x of shape {x.array.shape} does not fit y of shape {y.array.shape} along dim {d}")
    widths = x.diff(dim=along)
    if x.ndim == 1:
        widths = widths.reshape([-1 if i == d else 1 for i in range(y.ndim)])
    return heights * widths / 2.0, d


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """沿 ``dim`` 以梯形法积分；``x`` 是采样点的位置，``dx`` 是等距时的间隔。"""
    areas, d = _strips("trapezoid", y, x, dx, dim)
    return areas.sum(d)  # type: ignore[no-any-return]


def trapz(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """``trapezoid`` 的另一个名字。"""
    return trapezoid(y, x, dx=dx, dim=dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """沿 ``dim`` 以梯形法累积积分，比 ``y`` 少一个。"""
    areas, d = _strips("cumulative_trapezoid", y, x, dx, dim)
    return areas.cumsum(d)  # type: ignore[no-any-return]


def histogramdd(
    input: Tensor,
    bins: Any,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Any:
    """多维直方图：``input`` 的最后一轴是一个点的各个坐标。

    Args:
        input: 形状 ``(..., D)``，``D`` 是坐标的个数。
        bins: 各轴共用的箱数，或 ``D`` 个箱数，或 ``D`` 个一维的箱边。
        range: 各轴的下界与上界，依次排开。
        weight: 各点的权重。
        density: 是否除以总和与箱的大小。

    Returns:
        有名字的（各箱的个数，各轴箱边的元组）。

    Raises:
        RuntimeError: 不足二维，或 ``bins`` 的个数与坐标的个数不同。
    """
    if input.ndim < 2:
        raise RuntimeError(f"histogramdd: input should have at least 2 dimensions, got shape {input.array.shape}")
    columns = input.array.shape[-1]
    wanted = [bins] * columns if isinstance(bins, int) else list(bins)
    if len(wanted) != columns:
        raise RuntimeError(f"histogramdd: got {len(wanted)} bins for points with {columns} coordinates")
    hist, edges = histogram("histogramdd", input, wanted, range, weight, density)
    return return_types.histogramdd((hist, tuple(edges)))
