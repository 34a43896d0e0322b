"""直方图与计数：``histc``、``histogram``、``histogramdd``、``bincount``。

流入：Tensor、箱数或箱边；流出：各箱的个数（或权重之和）与箱边。都不可求导。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph


def bincount(x: Any, weights: Any, minlength: int) -> Any:
    """非负整数各出现几次；给了权重就求权重之和。

    Raises:
        RuntimeError: 不是一维非负整数、权重的形状不同，或 ``minlength`` 为负。
    """
    array = x.array
    if array.dtype.kind not in "iu" or array.ndim != 1 or (array.size and array.min() < 0):
        raise RuntimeError(f"bincount: expected 1-d non-negative integers, got {array.dtype} of shape {array.shape}")
    if minlength < 0:
        raise RuntimeError(f"bincount: minlength should be >= 0, got {minlength}")
    if weights is None:
        return graph.tensor_type.wrap(np.bincount(array, minlength=minlength).astype(np.int64))
    if weights.array.shape != array.shape:
        raise RuntimeError(f"bincount: weights of shape {weights.array.shape} do not fit input of shape {array.shape}")
    dtype = np.float32 if weights.array.dtype == np.float32 else np.float64
    return graph.tensor_type.wrap(np.bincount(array, weights.array, minlength).astype(dtype))


def histc(x: Any, bins: int, low: float, high: float) -> Any:
    """等宽的 ``bins`` 个箱各有几个元素，范围之外的不计；``low == high`` 时取数据的范围。

    Raises:
        TypeError: ``bins`` 不是整数。
        RuntimeError: 不是浮点类型，箱数不是正数，或范围不合。
    """
    array = x.array.reshape(-1)
    if not isinstance(bins, int):
        raise TypeError(f"histc(): bins must be int, got {type(bins).__name__}")
    if array.dtype.kind != "f" or bins <= 0:
        raise RuntimeError(f"histc: expected a floating-point tensor and bins > 0, got {array.dtype} and bins={bins}")
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all() or high < low:
        raise RuntimeError(f"histc: range of [{low}, {high}] is not finite or max is not larger than min")
    if low == high:
        low, high = low - 1, high + 1
    start, end = array.dtype.type(low), array.dtype.type(high)
    inside = array[(array >= start) & (array <= end)]
    places = ((inside - start) * array.dtype.type(bins) / (end - start)).astype(np.int64)
    counts = np.bincount(np.minimum(places, bins - 1), minlength=bins)
    return graph.tensor_type.wrap(counts.astype(array.dtype))


def histogram(
    name: str, x: Any, bins: Sequence[Any], range: Sequence[float] | None, weight: Any, density: bool
) -> tuple[Any, list[Any]]:
    """若干根轴上的直方图。

    Args:
        name: 报错时用的函数名。
        x: 形状 ``(..., D)`` 的浮点 Tensor，每行是一个点。
        bins: ``D`` 个箱数，或 ``D`` 个一维的箱边。
        range: 各轴的下界与上界，依次排开；``None`` 表示数据的范围。
        weight: 各点的权重，形状是 ``x`` 去掉最后一轴；``None`` 表示都是 1。
        density: 是否除以总和与箱的大小。

    Returns:
        （各箱的个数，各轴的箱边）。

    Raises:
        RuntimeError: dtype、形状或范围不合。
    """
    points = x.array.reshape(-1, len(bins))
    if points.dtype.kind != "f":
        raise RuntimeError(f"{name}: not implemented for {points.dtype}")
    if range is not None and len(range) != 2 * len(bins):
        raise RuntimeError(f"{name}: range should have {2 * len(bins)} elements, got {len(range)}")
    if weight is not None and (weight.array.dtype != points.dtype or weight.array.size != len(points)):
        raise RuntimeError(
            f"{name}: weight must be {points.dtype} with one value per point ({len(points)}), "
            f"got {weight.array.dtype} of shape {weight.array.shape}"
        )
    edges = [
        _edges(name, column, wanted, range[2 * i : 2 * i + 2] if range else None)
        for i, (column, wanted) in enumerate(zip(points.T, bins, strict=True))
    ]
    counts = _count(points, edges, None if weight is None else weight.array.reshape(-1))
    if density:
        with np.errstate(invalid="ignore"):
            counts = counts / counts.sum()
        for i, edge in enumerate(edges):
            counts = counts / np.diff(edge).reshape([-1 if j == i else 1 for j, _ in enumerate(edges)])
    wrap = graph.tensor_type.wrap
    return wrap(counts.astype(points.dtype)), [wrap(edge) for edge in edges]


def _edges(name: str, column: Any, wanted: Any, limits: Sequence[float] | None) -> Any:
    """一根轴的箱边：直接给出，或把范围等分。"""
    if isinstance(wanted, graph.tensor_type):
        if wanted.array.ndim != 1 or wanted.array.dtype != column.dtype or wanted.array.size < 2:
            raise RuntimeError(
                f"{name}: bins must be a 1-d {column.dtype} tensor of at least two edges, "
                f"got {wanted.array.dtype} of shape {wanted.array.shape}"
            )
        return np.array(wanted.array)
    if wanted <= 0:
        raise RuntimeError(f"{name}: bins must be > 0, got {wanted}")
    if limits is None:
        limits = (column.min(), column.max()) if column.size else (0.0, 1.0)
    low, high = (column.dtype.type(limit) for limit in limits)
    if not np.isfinite([low, high]).all() or high < low:
        raise RuntimeError(f"{name}: range [{low}, {high}] is not finite or min exceeds max")
    if low == high:
        low, high = low - column.dtype.type(0.5), high + column.dtype.type(0.5)
    steps = np.arange(wanted + 1)
    step = (high - low) / column.dtype.type(wanted)  # 两头各从自己的端点数起，与 torch 的 linspace 逐位相同
    halves = np.where(steps < (wanted + 1) // 2, low + step * steps, high - step * (wanted - steps))
    return halves.astype(column.dtype)


def _count(points: Any, edges: list[Any], weight: Any) -> Any:
    """落进各箱的个数；最后一个箱含右端点，其余左闭右开。"""
    shape = tuple(len(edge) - 1 for edge in edges)
    inside = np.ones(len(points), bool)
    for column, edge in zip(points.T, edges, strict=True):
        inside &= (column >= edge[0]) & (column <= edge[-1])
    places = [
        np.clip(np.searchsorted(edge, column[inside], side="right") - 1, 0, len(edge) - 2)
        for column, edge in zip(points.T, edges, strict=True)
    ]
    flat = np.ravel_multi_index(places, shape) if inside.any() else np.zeros(0, np.int64)
    weights = None if weight is None else weight[inside]
    return np.bincount(flat, weights, int(np.prod(shape))).reshape(shape).astype(np.float64)
