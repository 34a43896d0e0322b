"""去重：``unique`` 与 ``unique_consecutive``。

流入：Tensor；流出：不同的元素（或沿一根轴的不同的片），以及每个元素归到第几个、各有几个。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.methods.operands import refuse
from tinygrad_llm.methods.shaping import axis


def _pieces(x: Any, dim: int) -> tuple[int, Any]:
    """轴号，与沿这根轴的各片（一片一行）。

    Raises:
        IndexError: 0 维没有轴。
        RuntimeError: 别的轴长度为 0 而这根轴不是，各片都是空的。
    """
    array = x.array
    if not array.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = axis(dim, array.ndim)
    if array.size == 0 and array.shape[d]:
        raise RuntimeError(f"unique: pieces along dim {d} of shape {array.shape} are empty")
    return d, np.moveaxis(array, d, 0).reshape(array.shape[d], -1 if array.size else 0)


def _parts(values: Any, inverse: Any, counts: Any, return_inverse: bool, return_counts: bool) -> Any:
    """只要值就是一个 Tensor，否则是元组。"""
    wrap = graph.tensor_type.wrap
    found = [wrap(values)]
    if return_inverse:
        found.append(wrap(inverse.astype(np.int64)))
    if return_counts:
        found.append(wrap(counts.astype(np.int64)))
    return tuple(found) if len(found) > 1 else found[0]


def unique(x: Any, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """排好序的不同元素；NaN 互不相等。"""
    refuse("unique", x, "c")
    if dim is None:
        values, inverse, counts = np.unique(x.array, return_inverse=True, return_counts=True, equal_nan=False)
        return _parts(values, inverse.reshape(x.array.shape), counts, return_inverse, return_counts)
    d, rows = _pieces(x, dim)
    order = np.lexsort(rows.T[::-1]) if rows.size else np.arange(len(rows))
    starts = _starts(rows[order])
    inverse = np.empty(len(rows), np.int64)
    inverse[order] = np.cumsum(starts) - 1
    first = order[starts]
    return _parts(
        np.take(x.array, first, axis=d), inverse, np.bincount(inverse, minlength=0), return_inverse, return_counts
    )


def _starts(rows: Any) -> Any:
    """每一行是否与前一行不同；第一行总是。"""
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return fresh


def unique_consecutive(x: Any, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """相邻的重复只留第一个。"""
    refuse("unique_consecutive", x, "c")
    if dim is None:
        rows = x.array.reshape(-1, 1)
        starts = _starts(rows)
        values, shape = rows[starts, 0], x.array.shape
    else:
        d, rows = _pieces(x, dim)
        starts = _starts(rows)
        values, shape = np.compress(starts, x.array, axis=d), (len(rows),)
    inverse = np.cumsum(starts) - 1
    return _parts(values, inverse.reshape(shape), np.bincount(inverse), return_inverse, return_counts)
