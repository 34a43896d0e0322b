"""数值导数：``gradient`` 用相邻的点估计函数的导数，点距可以不等。

流入：等距或不等距地采样的函数值；流出：每根轴一个同形状的 Tensor，可求导。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.joining import cat
from tinygrad_llm.methods.operands import tensors
from tinygrad_llm.methods.shaping import axes
from tinygrad_llm.tensor import Tensor


def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """每根轴上的数值导数：中间用左右两点，两端用靠里的两点（``edge_order=2`` 则三点）。

    Args:
        input: 函数值。
        spacing: 点距，缺省为 1：一个数，或每根轴一个数，或每根轴一列坐标（一维 Tensor）。
        dim: 哪些轴；``None`` 表示全部。
        edge_order: 1 或 2，两端的阶数。

    Returns:
        每根轴一个 Tensor。

    Raises:
        RuntimeError: 轴上的点不够，``spacing`` 与轴数不符，轴有重复，或 dtype 是 uint8、布尔。
        TypeError: ``spacing`` 是一个 Tensor 而不是一列。
    """
    tensors("gradient", input)
    if edge_order not in (1, 2):
        raise RuntimeError("gradient only supports edge_order=1 and edge_order=2.")
    if input.array.dtype.kind in "bu":
        raise RuntimeError(f"gradient does not support {input.dtype} input.")
    over = tuple(range(input.array.ndim)) if dim is None else axes(dim, input.array.ndim, "gradient")
    steps = _steps(spacing, len(over))
    if any(input.array.shape[d] < edge_order + 1 for d in over):
        raise RuntimeError(f"gradient expected each dimension size to be at least edge_order+1, got {input.shape}")
    return tuple(_along(input, d, step, edge_order) for d, step in zip(over, steps, strict=True))


def _steps(spacing: Any, count: int) -> list[Any]:
    """每根轴的点距：数，或坐标之差。"""
    if isinstance(spacing, Tensor):
        if spacing.array.ndim:
            raise TypeError("gradient(): argument 'spacing' must be a number, or a tuple of numbers or Tensors")
        return [spacing.item()] * count
    if not isinstance(spacing, (list, tuple)):
        return [1 if spacing is None else spacing] * count
    if len(spacing) != count:
        raise RuntimeError(f"gradient expected one spacing for each of {count} dims, got {len(spacing)}")
    return [one.diff() if isinstance(one, Tensor) and one.array.ndim else one for one in spacing]


def _along(x: Tensor, d: int, step: Any, edge_order: int) -> Tensor:
    n = x.array.shape[d]
    if isinstance(step, Tensor):
        if len(step.array) != n - 1:
            raise RuntimeError(f"gradient: {len(step.array) + 1} coordinates do not match the {n} points of dim {d}")
        step = step.reshape([-1 if i == d else 1 for i in range(x.array.ndim)])

    def gap(i: int) -> Any:
        return step.narrow(d, i, 1) if isinstance(step, Tensor) else step

    def edge(points: tuple[int, int, int], gaps: tuple[int, int]) -> Tensor:
        values = [x.narrow(d, i, 1) for i in points[: edge_order + 1]]
        return _edge(values, *[gap(i) for i in gaps[:edge_order]])

    right = -edge((n - 1, n - 2, n - 3), (n - 2, n - 3))  # 左右颠倒，导数变号
    return cat([edge((0, 1, 2), (0, 1)), *_inside(x, d, step), right], d)


def _inside(x: Tensor, d: int, step: Any) -> list[Tensor]:
    """中间各点：左右两点之差；间距不等时用三点的二阶公式。"""
    n = x.array.shape[d]
    if n < 3:
        return []
    left, middle, right = (x.narrow(d, i, n - 2) for i in (0, 1, 2))
    if not isinstance(step, Tensor):
        return [(right - left) / (2 * step)]
    before, after = step.narrow(d, 0, n - 2), step.narrow(d, 1, n - 2)
    whole = before + after
    slope = right * (before / (after * whole)) - left * (after / (before * whole))
    return [slope + middle * ((after - before) / (before * after))]


def _edge(values: list[Tensor], near: Any, far: Any = None) -> Tensor:
    """端点的导数：``values`` 由端点往里排，相邻两点的间距依次是 ``near``、``far``。"""
    if far is None:
        return (values[1] - values[0]) / near  # type: ignore[no-any-return]
    whole = near + far
    inner = values[1] * (whole / (near * far)) - values[2] * (near / (far * whole))
    return inner - values[0] * ((near + whole) / (near * whole))  # type: ignore[no-any-return]
