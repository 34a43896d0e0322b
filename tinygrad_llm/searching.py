"""在有序的边界里查找，与「是否在其中」。

流入：边界与待查的 Tensor（或数）；流出：下标或布尔 Tensor。名字与参数同 torch。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.methods.operands import refuse
from tinygrad_llm.tensor import Tensor


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """各值插在哪里才能保持次序；多维时逐行查找，前面各轴须与 ``input`` 相同。

    Args:
        sorted_sequence: 沿最后一轴递增的边界。
        input: 待查的值；边界是一维时可以是任意形状或一个数。
        out_int32: 结果是否用 int32。
        right: 为真时插在相等者之后。
        side: ``"left"`` 或 ``"right"``，等同于 ``right`` 的假与真。
        sorter: 把 ``sorted_sequence`` 排成递增的下标。

    Returns:
        与 ``input`` 同形状的下标。

    Raises:
        RuntimeError: 形状不合，或 ``side``、``sorter`` 不合。
    """
    refuse("searchsorted", sorted_sequence, "c")
    edges, values = sorted_sequence.array, _values(input, sorted_sequence)
    if side not in (None, "left", "right") or (side == "left" and right):
        raise RuntimeError(f"searchsorted(): side must be 'left' or 'right' and agree with right={right}, got {side!r}")
    if edges.ndim == 0 or (edges.ndim > 1 and (values.ndim == 0 or edges.shape[:-1] != values.shape[:-1])):
        raise RuntimeError(
            f"searchsorted(): boundaries of shape {edges.shape} do not fit input of shape {values.shape}"
        )
    if sorter is not None:
        edges = _sorted(edges, sorter.array)
    right = right or side == "right"
    if edges.ndim == 1 and not np.isnan(edges[-1:]).any():
        found = np.asarray(np.searchsorted(edges, values, side="right" if right else "left"))
    else:
        found = _bisect(np.broadcast_to(edges, (*values.shape[:-1], edges.shape[-1])), values, right)
    return Tensor.wrap(found.astype(np.int32 if out_int32 else np.int64))


def _values(input: Any, sequence: Tensor) -> Any:
    if isinstance(input, Tensor):
        return input.array
    whole = sequence.array.dtype.kind != "f" and isinstance(input, int)
    return np.asarray(input, sequence.array.dtype if whole or sequence.array.dtype.kind == "f" else None)


def _sorted(edges: Any, sorter: Any) -> Any:
    if sorter.shape != edges.shape or sorter.dtype != np.int64:
        raise RuntimeError(
            f"searchsorted(): sorter must be int64 of shape {edges.shape}, got {sorter.dtype} of shape {sorter.shape}"
        )
    if sorter.size and not 0 <= sorter.min() <= sorter.max() < edges.shape[-1]:
        raise RuntimeError(f"searchsorted(): sorter index out of range for {edges.shape[-1]} boundaries")
    return np.take_along_axis(edges, sorter, -1)


def _bisect(rows: Any, values: Any, right: bool) -> Any:
    """逐行二分，全部值一起走；边界里有 NaN 时，比较的写法使结果与 torch 一致。"""
    wanted = np.atleast_1d(values)
    low, high = np.zeros(wanted.shape, np.int64), np.full(wanted.shape, rows.shape[-1])
    while (open_ := low < high).any():
        middle = (low + high) // 2
        probe = np.take_along_axis(rows, np.minimum(middle, rows.shape[-1] - 1), -1)
        beyond = ~(probe > wanted if right else probe >= wanted)
        low = np.where(open_ & beyond, middle + 1, low)
        high = np.where(open_ & ~beyond, middle, high)
    return low.reshape(values.shape)


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """各值落在第几个区间；``boundaries`` 是一维递增的。

    Raises:
        RuntimeError: ``boundaries`` 不是一维。
    """
    if boundaries.array.ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries must be 1 dimension, got shape {boundaries.array.shape}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """``elements`` 的各元素是否在 ``test_elements`` 之中；NaN 不等于任何数。

    Args:
        elements: Tensor 或数。
        test_elements: Tensor 或数。
        assume_unique: 两边是否都没有重复；只影响速度。
        invert: 是否取反。

    Returns:
        与 ``elements`` 同形状的布尔 Tensor。

    Raises:
        RuntimeError: 布尔或复数类型。
    """
    like = next((x for x in (elements, test_elements) if isinstance(x, Tensor)), None)
    if like is None:
        raise RuntimeError("isin(): at least one of elements and test_elements must be a tensor")
    a, b = (_values(x, like) for x in (elements, test_elements))
    if {"b", "c"} & {a.dtype.kind, b.dtype.kind}:
        raise RuntimeError(f"isin(): unsupported input type {dtypes.of(a)} or {dtypes.of(b)}")
    return Tensor.wrap(np.asarray(np.isin(a, b, assume_unique=assume_unique, invert=invert)))
