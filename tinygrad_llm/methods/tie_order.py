"""相等的元素谁先谁后：不求稳定的排序与选择，torch 的 CPU 版照 libstdc++ 的 ``std::sort`` 等三个算法走。

流入：各元素的名次（整数，小的在前，相等的名次相同）；流出：下标。没有相等的元素时，任何算法的结果都一样，不必到这里来。
快速排序的一次划分在数组上整批做；只有还含有并列者的一段才往下划分，最后用一次稳定排序代替插入排序。
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from tinygrad_llm.ops.op import Array

SMALL = 16  # 不超过这么多个就留给插入排序，而插入排序是稳定的


def equal(a: Array, b: Array) -> Array:
    """是否相等；NaN 彼此算作相等。"""
    found: Array = a == b
    return found | ((a != a) & (b != b)) if a.dtype.kind == "f" else found


def as_rows(array: Array, d: int) -> Array:
    """要排的那根轴放到最后，其余的合成一根。"""
    return np.moveaxis(array, d, -1).reshape(-1, array.shape[d])


def as_before(rows: Array, like: Array, d: int) -> Array:
    """``as_rows`` 的逆，形状同 ``like``。"""
    moved = np.moveaxis(like, d, -1).shape
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), -1, d))


def ranks_in(ordered: Array, order: Array) -> Array:
    """排好序的值与它们的下标 → 每个元素的名次。"""
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(~equal(ordered[1:], ordered[:-1]))])
    return ranks


def sort_order(ranks: Array) -> Array:
    """``std::sort``：内省排序。"""
    line = _Line(ranks)
    line.sort(0, len(ranks))
    return line.at


def top_order(ranks: Array, k: int, ordered: bool) -> Array:
    """名次最小的 ``k`` 个：很少时用 ``std::partial_sort``，否则用 ``std::nth_element``，要排序再 ``std::sort``。"""
    if k * 64 <= len(ranks):
        return _partial_sort(ranks, k)
    line = _Line(ranks)
    line.select(k - 1)
    if ordered:
        line.sort(0, k - 1)
    return line.at[:k]


class _Line:
    """正在排的一列：各处现在的名次，与它原来的下标。"""

    def __init__(self, ranks: Array) -> None:
        self.rank, self.at = ranks.copy(), np.arange(len(ranks))
        self.is_shared = np.bincount(ranks, minlength=1) > 1
        """这个名次是否不止一个元素。"""

    def sort(self, first: int, last: int) -> None:
        """把 ``[first, last)`` 排好。"""
        self._divide(first, last, _depth(last - first))
        self._rearrange(first, last, _stable)

    def _divide(self, first: int, last: int, depth: int) -> None:
        """划分到每段不超过 16 个，或没有并列为止；划分得太偏就改用堆排序。"""
        while last - first > SMALL and np.count_nonzero(self.is_shared[self.rank[first:last]]) > 1:
            if depth == 0:
                self._rearrange(first, last, lambda ranks: _partial_sort(ranks, len(ranks)))
                return
            depth -= 1
            cut = self._partition(first, last)
            self._divide(cut, last, depth)
            last = cut

    def select(self, nth: int) -> None:
        """排好之后该在 ``nth`` 的元素就位，前面的都不比它大，后面的都不比它小。"""
        first, last, depth = 0, len(self.rank), _depth(len(self.rank))
        while last - first > 3:
            if depth == 0:
                self._rearrange(first, last, functools.partial(_heap_selected, nth=nth - first))
                return
            depth -= 1
            cut = self._partition(first, last)
            first, last = (cut, last) if cut <= nth else (first, cut)
        self._rearrange(first, last, _stable)

    def _rearrange(self, first: int, last: int, order_of: Callable[[Array], Array]) -> None:
        order = order_of(self.rank[first:last]) + first
        self.rank[first:last], self.at[first:last] = self.rank[order], self.at[order]

    def _partition(self, first: int, last: int) -> int:
        """以三者之中为界，左边放不大的，右边放不小的；返回分界处。

        两个指针相向而行，各停在第一个放错边的元素上，交换，再走：第 i 次交换的，就是左起第 i 个不小的
        与右起第 i 个不大的。
        """
        self._median_first(first, first + 1, first + (last - first) // 2, last - 1)
        part, pivot = self.rank[first:last], self.rank[first]
        left = np.flatnonzero(part[1:] >= pivot) + first + 1
        right = np.flatnonzero(part <= pivot)[::-1] + first
        count = min(len(left), len(right))
        swaps = int(np.count_nonzero(left[:count] < right[:count]))
        a, b = left[:swaps], right[:swaps]
        for values in (self.rank, self.at):
            values[a], values[b] = values[b], values[a]
        cut = int(left[swaps]) if swaps < len(left) else last
        return min(cut, int(right[swaps - 1])) if swaps else cut

    def _median_first(self, first: int, a: int, b: int, c: int) -> None:
        """三者之中与第一个交换。"""
        x, y, z = self.rank[a], self.rank[b], self.rank[c]
        if x < y:
            chosen = b if y < z else c if x < z else a
        else:
            chosen = a if x < z else c if y < z else b
        for values in (self.rank, self.at):
            values[first], values[chosen] = values[chosen], values[first]


def _stable(ranks: Array) -> Array:
    return np.argsort(ranks, kind="stable")


def _depth(count: int) -> int:
    """快速排序至多划分几层：``2 ⌊log₂ n⌋``。"""
    return 2 * (max(count, 1).bit_length() - 1)


# ---- 堆：名次最大的在顶上

Heap = list[tuple[int, int]]


def _sift(heap: Heap, hole: int, length: int, value: tuple[int, int]) -> None:
    """从 ``hole`` 往下，较大的孩子一路升上来，到底之后 ``value`` 再往上找位置。"""
    top, child = hole, 2 * hole + 2
    while child <= length:
        if child == length or heap[child][0] < heap[child - 1][0]:
            child -= 1
        heap[hole] = heap[child]
        hole, child = child, 2 * child + 2
    while hole > top and heap[(hole - 1) // 2][0] < value[0]:
        heap[hole] = heap[(hole - 1) // 2]
        hole = (hole - 1) // 2
    heap[hole] = value


def _heap_of(ranks: Array, k: int) -> Heap:
    heap = list(zip(ranks[:k].tolist(), range(k), strict=True))
    for hole in range((k - 2) // 2, -1, -1):
        _sift(heap, hole, k, heap[hole])
    return heap


def _better(ranks: Array, heap: Heap) -> Iterator[int]:
    """堆外比堆顶小的，依次给出；一段一段地筛，免得逐个看。"""
    start, step = len(heap), 4096
    while start < len(ranks):
        for i in np.flatnonzero(ranks[start : start + step] < heap[0][0]).tolist():
            if ranks[start + i] < heap[0][0]:
                yield start + i
        start += step


def _partial_sort(ranks: Array, k: int) -> Array:
    """``std::partial_sort``：堆里留下最小的 ``k`` 个，再依次取出最大的。"""
    heap = _heap_of(ranks, k)
    for i in _better(ranks, heap):
        _sift(heap, 0, k, (int(ranks[i]), i))
    for length in range(k - 1, 0, -1):
        largest, value = heap[0], heap[length]
        _sift(heap, 0, length, value)
        heap[length] = largest
    return np.array([i for _, i in heap], np.int64)


def _heap_selected(ranks: Array, nth: int) -> Array:
    """堆里留下最小的 ``nth + 1`` 个，最大的换到 ``nth``；换出来的放回它让出的地方。"""
    heap, at = _heap_of(ranks, nth + 1), list(range(len(ranks)))
    for i in _better(ranks, heap):
        at[i] = heap[0][1]
        _sift(heap, 0, nth + 1, (int(ranks[i]), i))
    at[: nth + 1] = [i for _, i in heap]
    at[0], at[nth] = at[nth], at[0]
    return np.array(at, np.int64)
