"""次序统计量：中位数、众数、第 k 小、分位数。

流入：Tensor；流出：Tensor，或有名字的（值，下标）。值由下标取出，梯度送回被取的位置。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import return_types
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.reducing import filled_dims, picked
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops import reduce

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _no_bool(x: Any, name: str) -> None:
    if x.array.dtype.kind == "b":
        raise RuntimeError(f"{name}(): not implemented for bool tensors")


def _axis_of(x: Any, dim: int, name: str) -> int:
    return (filled_dims(name, x, axis(dim, x.array.ndim)) or (0,))[0]


def _nan(array: Any) -> Any:
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)


def _kth(array: Any, k: int, d: int) -> Any:
    """排在第 ``k`` 位（从 0 数起）的下标；只划分，不排序。"""
    return np.take(np.argpartition(array, k, axis=d), [k], axis=d)


def median(x: Any, name: str, dim: int | None, keepdim: bool) -> Any:
    """（下）中位数；``median`` 遇到 NaN 得 NaN，``nanmedian`` 跳过它。

    Raises:
        RuntimeError: 布尔类型。
    """
    _no_bool(x, name)
    if dim is None:
        return apply(reduce.pick, (x,), {"which": name})
    d = _axis_of(x, dim, name)
    array = np.atleast_1d(x.array)
    missing = _nan(array)
    if name == "nanmedian" and missing.any():  # 各条线剩下的个数不同，只能先排好序；NaN 都排在最后
        last = array.shape[d] - missing.sum(axis=d, keepdims=True) - 1
        index = np.take_along_axis(np.argsort(array, axis=d), np.maximum(last, 0) // 2, d)
    else:
        index = _kth(array, (array.shape[d] - 1) // 2, d)
    if name == "median":
        index = np.where(missing.any(axis=d, keepdims=True), np.expand_dims(missing.argmax(axis=d), d), index)
    return picked(getattr(return_types, name), x, index, d, keepdim)


def kthvalue(x: Any, k: int, dim: int, keepdim: bool) -> Any:
    """第 ``k`` 小的元素，从 1 数起。

    Raises:
        RuntimeError: 布尔类型，或 ``k`` 超出该轴的长度。
    """
    _no_bool(x, "kthvalue")
    d = _axis_of(x, dim, "kthvalue")
    array = np.atleast_1d(x.array)
    if not 1 <= k <= array.shape[d]:
        raise RuntimeError(f"kthvalue(): k={k} is out of range for dimension {d} of shape {x.array.shape}")
    return picked(return_types.kthvalue, x, _kth(array, k - 1, d), d, keepdim)


def mode(x: Any, dim: int, keepdim: bool) -> Any:
    """出现最多的元素，一样多时取最小的；下标是它最后一次出现的位置。NaN 互不相等，算作最小。"""
    d = _axis_of(x, dim, "mode")
    array = np.atleast_1d(x.array)
    order = np.lexsort((array, ~_nan(array)), axis=d)
    line = np.moveaxis(np.take_along_axis(array, order, d), d, -1)
    places = np.arange(line.shape[-1])
    fresh = np.ones(line.shape, bool)
    fresh[..., 1:] = line[..., 1:] != line[..., :-1]
    lengths = places - np.maximum.accumulate(np.where(fresh, places, 0), axis=-1)  # 到此为止连续相等了几个
    best = np.moveaxis(lengths.argmax(axis=-1, keepdims=True), -1, d)
    return picked(return_types.mode, x, np.take_along_axis(order, best, d), d, keepdim)


def quantile(x: Any, name: str, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Any:
    """分位数：排序后在名次 ``q (n - 1)`` 处取值，落在两个元素之间时按 ``interpolation`` 取。

    Args:
        x: float32 或 float64 的 Tensor。
        name: ``quantile`` 遇到 NaN 得 NaN，``nanquantile`` 跳过它。
        q: ``[0, 1]`` 上的数，或 0 维、1 维的 Tensor；1 维时结果多出最前面一根轴。
        dim: 沿哪根轴；``None`` 表示全体。
        keepdim: 是否保留这根轴。
        interpolation: 五种之一，见 ``INTERPOLATIONS``。

    Returns:
        Tensor。
    """
    q = _checked_quantile(x, name, q, interpolation)
    whole = dim is None
    d = 0 if whole else axis(dim, x.array.ndim)  # type: ignore[arg-type]  # whole 时不看它
    flat = x.flatten() if whole or not x.array.ndim else x.movedim(d, -1)
    found = _at_ranks(flat.sort(-1).values, q.reshape(-1), name, interpolation).movedim(-1, 0)
    shape = tuple(found.array.shape[1:])
    if keepdim and x.array.ndim:
        shape = (1,) * x.array.ndim if whole else (*shape[:d], 1, *shape[d:])
    return found.reshape((*q.array.shape, *shape))


def _checked_quantile(x: Any, name: str, q: Any, interpolation: str) -> Any:
    """核对参数，把 ``q`` 变成与 ``x`` 同类型的 Tensor。

    Raises:
        TypeError: ``q`` 不是数或 Tensor。
        RuntimeError: 类型、形状或取值不合。
    """
    if not isinstance(q, graph.tensor_type):
        if not isinstance(q, (int, float)) or isinstance(q, bool):
            raise TypeError(f"{name}(): q must be a number or a tensor, got {q!r}")
        q = graph.tensor_type.wrap(np.asarray(q, x.array.dtype))
    if x.array.size == 0 or x.array.dtype.itemsize < 4 or x.array.dtype.kind != "f":
        raise RuntimeError(f"{name}(): input must be non-empty float32 or float64, got {x.array.dtype} {x.array.shape}")
    if q.array.ndim > 1 or q.array.dtype != x.array.dtype:
        raise RuntimeError(f"{name}(): q must be a {x.array.dtype} scalar or 1-d, got {q.array.dtype} {q.array.shape}")
    if not ((q.array >= 0) & (q.array <= 1)).all():
        raise RuntimeError(f"{name}(): q must be in the range [0, 1], got {q.array.tolist()}")
    if interpolation not in INTERPOLATIONS:
        raise RuntimeError(f"{name}(): interpolation must be one of {INTERPOLATIONS}, got {interpolation!r}")
    return q


def _at_ranks(ordered: Any, q: Any, name: str, interpolation: str) -> Any:
    """``ordered`` 沿最后一轴递增；在各名次处取值，形状 ``(..., len(q))``。"""
    wrap = graph.tensor_type.wrap
    missing = _nan(ordered.array)
    if name == "quantile":
        ranks = (q * (ordered.array.shape[-1] - 1)).expand(*ordered.array.shape[:-1], -1)
        tainted = wrap(missing.any(axis=-1, keepdims=True))
        ranks = ranks.masked_fill(tainted, ordered.array.shape[-1] - 1)  # NaN 排在最后，取的就是它
    else:
        last = (~missing).sum(axis=-1, keepdims=True) - 1
        ranks = q * wrap(np.maximum(last, 0).astype(q.array.dtype))
    rounded = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}.get(interpolation)
    if rounded is not None:
        return ordered.gather(-1, wrap(rounded(ranks.array).astype(np.int64)))
    below = np.floor(ranks.array)
    low = ordered.gather(-1, wrap(below.astype(np.int64)))
    high = ordered.gather(-1, wrap(np.ceil(ranks.array).astype(np.int64)))
    weight = ranks - wrap(below) if interpolation == "linear" else 0.5
    return low + weight * (high - low)
