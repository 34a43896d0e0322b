"""Tensor 的排序与查找。

流入：Tensor；流出：Tensor，或（值，下标）二元组。排序的值可求导：梯度送回原来的位置。
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.methods.shaping import axis


class ValuesIndices(NamedTuple):
    """``max``、``sort``、``topk`` 的结果。

    Attributes:
        values: 值。
        indices: 下标。
    """

    values: Any
    indices: Any


class Sorting:
    """排序与查找的方法。"""

    array: Any
    clone: Any
    gather: Any

    def _picked(self, index: Any, d: int, keepdim: bool) -> ValuesIndices:
        indices = graph.tensor_type.wrap(index)
        values = self.gather(d, indices)
        return ValuesIndices(values, indices) if keepdim else ValuesIndices(values.squeeze(d), indices.squeeze(d))

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesIndices:
        """排序，返回（值，下标）；总是稳定的。"""
        d = axis(dim, self.array.ndim)
        if self.array.ndim == 0:
            return ValuesIndices(self.clone(), graph.tensor_type.wrap(np.zeros((), np.int64)))
        if descending:  # 反序之后稳定排序再反序，相等元素仍保持原来的先后
            order = np.flip(np.argsort(np.flip(self.array, d), axis=d, kind="stable"), d)
            return self._picked(self.array.shape[d] - 1 - order, d, True)
        return self._picked(np.argsort(self.array, axis=d, kind="stable"), d, True)

    def argsort(self, dim: int = -1, descending: bool = False) -> Any:
        """排序的下标。"""
        return self.sort(dim, descending).indices

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
        """最大（或最小）的 ``k`` 个，从大到小。

        Raises:
            RuntimeError: ``k`` 超出该轴长度。
        """
        d = axis(dim, self.array.ndim)
        if not 0 <= k <= self.array.shape[d]:
            raise RuntimeError(f"selected index k out of range: k={k}, dimension {d} has size {self.array.shape[d]}")
        order = self.sort(d, descending=largest).indices.narrow(d, 0, k)
        return self._picked(order.array, d, True)

    def nonzero(self, as_tuple: bool = False) -> Any:
        """非零元素的下标。"""
        found = np.nonzero(np.atleast_1d(self.array))
        if self.array.ndim == 0 and not as_tuple:
            return graph.tensor_type.wrap(np.zeros((len(found[0]), 0), np.int64))
        if as_tuple:
            return tuple(graph.tensor_type.wrap(axis_index) for axis_index in found)
        return graph.tensor_type.wrap(np.stack(found, axis=1))
