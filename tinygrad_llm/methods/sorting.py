"""Tensor 的排序与查找。

流入：Tensor；流出：Tensor，或有名字的（值，下标）。排序的值可求导：梯度送回原来的位置。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import return_types
from tinygrad_llm.autograd import graph
from tinygrad_llm.methods import deduplicating, tie_order
from tinygrad_llm.methods.numpy_names import numpy_names
from tinygrad_llm.methods.operands import refuse
from tinygrad_llm.methods.reducing import picked
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops.ordering import like_operands


def _order(array: Any, d: int, descending: bool) -> Any:
    """稳定排序的下标；NaN 算作最大。"""
    if not descending:
        return np.argsort(array, axis=d, kind="stable")
    # 反序之后稳定排序再反序，相等元素仍保持原来的先后
    order = np.flip(np.argsort(np.flip(array, d), axis=d, kind="stable"), d)
    return array.shape[d] - 1 - order


def _top(array: Any, k: int, d: int, largest: bool) -> Any:
    """最大（或最小）的 ``k`` 个的下标：先划分，只给选出的这几个排序；并列者取哪几个不作约定。"""
    n = array.shape[d]
    if k == 0 or k == n:
        chosen = np.arange(n).reshape([-1 if i == d else 1 for i in range(array.ndim)])
        chosen = (
            np.broadcast_to(chosen, array.shape) if k else np.zeros((*array.shape[:d], 0, *array.shape[d + 1 :]), int)
        )
    else:
        parted = np.argpartition(array, n - k if largest else k - 1, axis=d)
        chosen = np.take(parted, np.arange(n - k, n) if largest else np.arange(k), axis=d)
    return np.take_along_axis(chosen, _order(np.take_along_axis(array, chosen, d), d, largest), d)


_RADIX = 32768  # 这么多个整数从小到大排，torch 用基数排序，那是稳定的


def _order_like_torch(array: Any, d: int, descending: bool, stable: bool | None) -> Any:
    """排序的下标；不求稳定时，相等元素的先后同 torch 的 CPU 版。"""
    order = _order(array, d, descending)
    by_radix = array.ndim == 1 and array.dtype.kind in "iu" and not descending and len(array) >= _RADIX
    if stable or by_radix or array.shape[d] <= tie_order.SMALL:
        return order
    rows, orders = tie_order.as_rows(array, d), tie_order.as_rows(order, d).copy()
    values = np.take_along_axis(rows, orders, -1)
    for i in np.flatnonzero(tie_order.equal(values[:, 1:], values[:, :-1]).any(-1)):
        orders[i] = tie_order.sort_order(tie_order.ranks_in(values[i], orders[i]))
    return tie_order.as_before(orders, array, d)


def _top_like_torch(array: Any, k: int, d: int, largest: bool, ordered: bool) -> Any:
    """最大（或最小）的 ``k`` 个的下标；并列者取哪几个、谁先谁后，同 torch 的 CPU 版。"""
    chosen = _top(array, k, d, largest)
    if k == 0:
        return chosen
    rows, picks = tie_order.as_rows(array, d), tie_order.as_rows(chosen, d).copy()
    values = np.take_along_axis(rows, picks, -1)
    last = values[:, -1:]  # 最后入选的那个值，落选的里面还有没有
    is_open = tie_order.equal(values[:, 1:], values[:, :-1]).any(-1)
    is_open |= tie_order.equal(rows, last).sum(-1) > tie_order.equal(values, last).sum(-1)
    if not ordered and k * 64 > array.shape[d]:
        is_open[:] = True
    for i in np.flatnonzero(is_open):
        order = _order(rows[i], 0, largest)
        picks[i] = tie_order.top_order(tie_order.ranks_in(rows[i][order], order), k, ordered)
    return tie_order.as_before(picks, chosen, d)


@numpy_names
class Sorting:
    """排序与查找的方法。"""

    array: Any
    clone: Any

    def sort(self, dim: int = -1, descending: bool = False, *, stable: bool | None = False) -> Any:
        """排序，返回（值，下标）；``stable`` 则相等的元素保持先后，否则先后同 torch 的 CPU 版。"""
        d = axis(dim, self.array.ndim)
        order = _order_like_torch(np.atleast_1d(self.array), d, descending, stable)
        pair = picked(return_types.sort, self, order, d, True)
        if not self.array.flags.c_contiguous:
            for part in pair:
                part.array = like_operands(part.array, self.array)
        return pair

    def msort(self) -> Any:
        """沿第 0 轴排序的值。"""
        return self.sort(0).values

    def argsort(self, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
        """排序的下标；``stable`` 则相等的元素保持先后，否则先后同 torch 的 CPU 版。"""
        refuse("argsort", self, "c")
        order = _order_like_torch(np.atleast_1d(self.array), axis(dim, self.array.ndim), descending, stable)
        return graph.tensor_type.wrap(order.reshape(self.array.shape))

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
        """最大（或最小）的 ``k`` 个，从大到小（或从小到大）。

        Raises:
            RuntimeError: ``k`` 超出该轴长度，或是布尔类型。
        """
        d, array = axis(dim, self.array.ndim), np.atleast_1d(self.array)
        if array.dtype.kind == "b":
            raise RuntimeError("topk does not support bool dtypes")
        if not 0 <= k <= array.shape[d]:
            raise RuntimeError(f"selected index k out of range: k={k}, dimension {d} has size {array.shape[d]}")
        return picked(return_types.topk, self, _top_like_torch(array, k, d, largest, sorted), d, True)

    def unique(
        self, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Any:
        """去重并排序；给 ``dim`` 则沿这根轴整片去重。

        Args:
            sorted: 为假也照样排序，与 torch 在 CPU 上相同。
            return_inverse: 是否还返回每个元素是第几个不同的值。
            return_counts: 是否还返回各值出现的次数。
            dim: 沿哪根轴；``None`` 表示展平。

        Returns:
            Tensor，或它与所要的几项组成的元组。
        """
        return deduplicating.unique(self, return_inverse, return_counts, dim)

    def unique_consecutive(
        self, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Any:
        """只去掉紧挨着的重复。

        Args:
            return_inverse: 是否还返回每个元素是第几段。
            return_counts: 是否还返回各段的长度。
            dim: 沿哪根轴；``None`` 表示展平。

        Returns:
            Tensor，或它与所要的几项组成的元组。
        """
        return deduplicating.unique_consecutive(self, return_inverse, return_counts, dim)

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """非零元素的下标，一行一个；``as_tuple`` 则一根轴一个。"""
        wrap = graph.tensor_type.wrap
        found = np.nonzero(np.atleast_1d(self.array))
        if as_tuple:
            return tuple(wrap(axis_index) for axis_index in found)
        if self.array.ndim == 0:
            return wrap(np.zeros((len(found[0]), 0), np.int64))
        return wrap(np.stack(found, axis=1))

    def nonzero_static(self, *, size: int, fill_value: int = -1) -> Any:
        """非零元素的下标，恰好 ``size`` 行：多了截去，少了用 ``fill_value`` 补。

        Raises:
            RuntimeError: ``size`` 为负。
        """
        if size < 0:
            raise RuntimeError(f"nonzero_static: 'size' must be a non-negative integer, got {size}")
        found = self.nonzero().array
        kept = np.full((size, self.array.ndim), fill_value, np.int64)
        kept[: len(found)] = found[:size]
        return graph.tensor_type.wrap(kept)

    def argwhere(self) -> Any:
        """非零元素的下标，一行一个。"""
        return self.nonzero()
