"""插值的权重：输出的每一点取输入的哪几点、各占多少。

流入：一根轴的长度与放缩的倍数；流出：``resampling.Sparse``。坐标的公式与 torch 相同：像素是小方块，缺省对齐边缘
（``x = 倍数 · (i + 1/2) - 1/2``），``align_corners`` 时对齐两端像素的中心。下一站：``convolution.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.resampling import Sparse


def axis_matrix(mode: str, length: int, count: int, factor: float | None, corners: bool, dtype: Any) -> Sparse:
    """一根轴的插值矩阵，``count × length``。

    Args:
        mode: ``"nearest"``、``"nearest-exact"``、``"linear"``、``"cubic"``，或抗锯齿的 ``"smooth …"``。
        length: 输入的长度。
        count: 输出的长度。
        factor: 放大的倍数；``None`` 则按长度之比。
        corners: 是否对齐两端像素的中心。
        dtype: 坐标在哪个精度里计算。

    Returns:
        稀疏矩阵。
    """
    if corners:
        step = (length - 1) / (count - 1) if count > 1 else 0.0
    else:
        step = length / count if factor is None else 1 / factor
    columns, weights = _MODES[mode](length, count, np.dtype(dtype).type(step), corners)
    rows = np.repeat(np.arange(count), columns.shape[1])
    used = columns.reshape(-1) >= 0
    return Sparse(rows[used], columns.reshape(-1)[used], weights.reshape(-1)[used], (count, length))


def _sources(count: int, step: Any, corners: bool) -> Array:
    """输出各点对应的输入坐标。"""
    half = step.dtype.type(0 if corners else 0.5)
    found: Array = (np.arange(count).astype(step.dtype) + half) * step - half
    return found


def _nearest(length: int, count: int, step: Any, corners: bool) -> tuple[Array, Array]:
    columns = np.floor((np.arange(count) * step).astype(np.float32)).astype(np.int64)
    return np.minimum(columns, length - 1)[:, None], np.ones((count, 1))


def _nearest_exact(length: int, count: int, step: Any, corners: bool) -> tuple[Array, Array]:
    places = np.maximum(_sources(count, step, False), 0)
    columns = np.floor((places + step.dtype.type(0.5)).astype(np.float32)).astype(np.int64)
    return np.minimum(columns, length - 1)[:, None], np.ones((count, 1))


def _linear(length: int, count: int, step: Any, corners: bool) -> tuple[Array, Array]:
    places = np.arange(count).astype(step.dtype) if length == count else np.maximum(_sources(count, step, corners), 0)
    left = np.minimum(places.astype(np.int64), length - 1)
    share = np.clip(places - left, 0, 1)
    right = left if length == count else np.minimum(left + 1, length - 1)
    return np.stack([left, right], 1), np.stack([1 - share, share], 1)


def _cubic(length: int, count: int, step: Any, corners: bool) -> tuple[Array, Array]:
    places = _sources(count, step, corners)
    left = np.floor(places)
    offsets = np.arange(-1, 3)
    columns = np.clip(left.astype(np.int64)[:, None] + offsets, 0, length - 1)
    return columns, keys((places - left)[:, None] - offsets, -0.75)


def keys(x: Array, a: float) -> Array:
    """Keys（1981）的三次卷积核：中间一段与两侧一段各是一个三次式，``a`` 是边上的斜率。"""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0)).astype(x.dtype)


def _lanczos(x: Array) -> Array:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _smooth(width: int, kernel: Callable[[Array], Array]) -> Callable[[int, int, Any, bool], tuple[Array, Array]]:
    """抗锯齿：缩小时把核拉宽到与步长相称，再归一化。"""

    def taps(length: int, count: int, step: Any, corners: bool) -> tuple[Array, Array]:
        spread = max(step, step.dtype.type(1))
        support = step.dtype.type(width * 0.5) * spread
        centre = (np.arange(count).astype(step.dtype) + step.dtype.type(0.5)) * step
        first = np.maximum((centre - support + step.dtype.type(0.5)).astype(np.int64), 0)
        last = np.minimum((centre + support + step.dtype.type(0.5)).astype(np.int64), length)
        columns = first[:, None] + np.arange(math.ceil(support) * 2 + 1)
        inside = columns < last[:, None]
        weights = kernel((columns - centre[:, None] + step.dtype.type(0.5)) / spread) * inside
        return np.where(inside, columns, -1), weights / weights.sum(1, keepdims=True)

    return taps


_MODES: dict[str, Callable[[int, int, Any, bool], tuple[Array, Array]]] = {
    "nearest": _nearest,
    "nearest-exact": _nearest_exact,
    "linear": _linear,
    "cubic": _cubic,
    "smooth linear": _smooth(2, lambda x: np.maximum(1 - np.abs(x), 0)),
    "smooth cubic": _smooth(4, lambda x: keys(x, -0.5)),
    "smooth lanczos": _smooth(6, _lanczos),
}
"""插值方式 → 每个输出点的（输入位置，权重），各有几列；位置为负表示那一列不用。"""
