"""Tensor 的切分与取一段：得到的都是视图。

流入：Tensor 与位置；流出：一个视图，或一串视图。
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from operator import index as as_int
from typing import Any

from tinygrad_llm import layouts
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.shaping import axes, axis, sizes
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops import views
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.shape import storage_of


def _one_of_many(parts: Iterable[Any]) -> tuple[Any, ...]:
    """给同一次切分得到的几个视图做上记号。"""
    found = tuple(parts)
    for part in found:
        part.one_of_many = True
    return found


def _unmarked(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    for part in parts:
        part.one_of_many = False
    return parts


def strided_layout(array: Array, size: Any, stride: Any, storage_offset: int | None) -> views.Layout:
    """``as_strided`` 的参数换成以 ``array`` 第一个元素为起点的排布。

    Raises:
        RuntimeError: 步长为负、与形状对不上，或超出内存。
    """
    shape, steps, origin = sizes((size,)), sizes((stride,)), layouts.storage_start(array)
    if len(shape) != len(steps) or min(steps, default=0) < 0 or min(shape, default=0) < 0:
        raise RuntimeError(f"as_strided: sizes {shape} need as many non-negative strides, got {steps}")
    start = origin if storage_offset is None else as_int(storage_offset)
    last = start + sum([(n - 1) * step for n, step in zip(shape, steps, strict=True)])
    total = storage_of(array).nbytes // array.itemsize
    if start < 0 or (0 not in shape and last >= total):
        raise RuntimeError(f"as_strided: sizes {shape}, strides {steps}, offset {start} exceed the {total} elements")
    return shape, steps, start - origin


class Splitting:
    """切分与取一段的方法。"""

    array: Any
    untracked: Any
    refreshed: Any

    def _slice(self, key: Any) -> Any:
        """整数与切片组成的下标：总是视图。"""
        result = apply(sh.index, (self,), {"key": key})
        result.watch(self, sh.index, {"key": key})
        return result

    def select(self, dim: int, index: int) -> Any:
        """沿一根轴取第 ``index`` 个，去掉这根轴。

        Raises:
            IndexError: 0 维，或越界。
        """
        shape = self.array.shape
        d = self._require_axis("select", dim, IndexError)
        if not -shape[d] <= index < shape[d]:
            raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {d}")
        return self._slice((slice(None),) * d + (as_int(index),))

    def narrow(self, dim: int, start: Any, length: int) -> Any:
        """沿一根轴取一段。

        Raises:
            RuntimeError: 0 维，或超出该轴的长度。
            IndexError: 起点越界。
        """
        if isinstance(start, graph.tensor_type) and (start.array.ndim or start.array.dtype.kind not in "iu"):
            raise RuntimeError(f"narrow: start must be an 0-dim integral Tensor, got shape {start.array.shape}")
        d = self._require_axis("narrow", dim, RuntimeError)
        size, first = self.array.shape[d], as_int(start)
        if length < 0:
            raise RuntimeError(f"narrow(): length must be non-negative, got {length}")
        if not -size <= first <= size:
            raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {first})")
        first += size if first < 0 else 0
        if first + length > size:
            raise RuntimeError(f"narrow: start ({first}) + length ({length}) exceeds dimension size ({size})")
        return self._slice((slice(None),) * d + (slice(first, first + length),))

    def narrow_copy(self, dim: int, start: Any, length: int) -> Any:
        """``narrow`` 的拷贝。"""
        return self.narrow(dim, start, length).clone(memory_format=layouts.contiguous_format)

    def _require_axis(self, name: str, dim: int, error: type[Exception]) -> int:
        if not self.array.ndim:
            raise error(f"{name}() cannot be applied to a 0-dim tensor")
        return axis(dim, self.array.ndim)

    def unbind(self, dim: int = 0) -> tuple[Any, ...]:
        """沿一根轴拆成若干个。

        Raises:
            IndexError: 0 维。
        """
        d = self._require_axis("unbind", dim, IndexError)
        lead = (slice(None),) * d
        return _one_of_many([self._slice((*lead, i)) for i in range(self.array.shape[d])])

    def split(self, split_size: Any, dim: int = 0) -> tuple[Any, ...]:
        """按长度切成几段（最后一段可以短）；给列表则逐段指定。

        Raises:
            RuntimeError: 0 维、长度为负，或加起来不等于该轴的长度。
            TypeError: 长度不是整数。
        """
        if isinstance(split_size, (tuple, list)):
            return self.split_with_sizes(split_size, dim)
        d = self._require_axis("split", dim, RuntimeError)
        length, step = self.array.shape[d], as_int(split_size)
        if step < 0 or (step == 0 and length):
            raise RuntimeError(f"split expects split_size be positive, got {step} for dimension of size {length}")
        edges = [*range(0, length, step or 1), length] if length else [0, 0]
        return self._cut(d, edges)

    def split_with_sizes(self, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
        """逐段指定长度的 ``split``。

        Raises:
            RuntimeError: 0 维、长度为负，或加起来不等于该轴的长度。
        """
        d = self._require_axis("split_with_sizes", dim, RuntimeError)
        length, steps = self.array.shape[d], [as_int(n) for n in split_sizes]
        if sum(steps) != length or min(steps, default=0) < 0:
            raise RuntimeError(
                f"split_with_sizes expects non-negative split_sizes to sum exactly to {length} "
                f"(dimension {d} of {self.array.shape}), got {steps}"
            )
        edges = [0]
        for step in steps:
            edges.append(edges[-1] + step)
        return self._cut(d, edges)

    def _cut(self, d: int, edges: list[int]) -> tuple[Any, ...]:
        lead = (slice(None),) * d
        return _one_of_many([self._slice((*lead, slice(a, max(a, b)))) for a, b in pairwise(edges)])

    def unsafe_split(self, split_size: Any, dim: int = 0) -> tuple[Any, ...]:
        """``split``，但各段可以就地改写。"""
        return _unmarked(self.split(split_size, dim))

    def unsafe_split_with_sizes(self, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
        """``split_with_sizes``，但各段可以就地改写。"""
        return _unmarked(self.split_with_sizes(split_sizes, dim))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Any, ...]:
        """切成至多 ``chunks`` 段；长度为 0 的轴恰好得到 ``chunks`` 段。

        Raises:
            RuntimeError: 0 维，或 ``chunks`` 不是正数。
        """
        d = self._require_axis("chunk", dim, RuntimeError)
        if chunks < 1:
            raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
        length = self.array.shape[d]
        return self.split(-(-length // chunks), d) if length else self._cut(d, [0] * (chunks + 1))

    def unsafe_chunk(self, chunks: int, dim: int = 0) -> tuple[Any, ...]:
        """``chunk``，但各段可以就地改写。"""
        return _unmarked(self.chunk(chunks, dim))

    def tensor_split(self, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
        """切成若干份，尽量等长；给一串位置则在那些位置切开。与 ``split`` 不同，各份可以就地改写。

        Raises:
            RuntimeError: 0 维，或份数不是正数。
        """
        d = self._require_axis("tensor_split", dim, RuntimeError)
        places = indices_or_sections
        if isinstance(places, graph.tensor_type):
            places = places.array.tolist()
        length = self.array.shape[d]
        if isinstance(places, (tuple, list)):
            return _unmarked(self._cut(d, [0, *[slice(as_int(p)).indices(length)[1] for p in places], length]))
        count = as_int(places)
        if count < 1:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        return _unmarked(self._cut(d, [i * (length // count) + min(i, length % count) for i in range(count + 1)]))

    def hsplit(self, indices_or_sections: Any) -> tuple[Any, ...]:
        """沿第 1 轴（一维则第 0 轴）``tensor_split``；份数必须整除。"""
        return self._even_split("hsplit", indices_or_sections, 0 if self.array.ndim == 1 else 1, 1)

    def vsplit(self, indices_or_sections: Any) -> tuple[Any, ...]:
        """沿第 0 轴 ``tensor_split``；份数必须整除。"""
        return self._even_split("vsplit", indices_or_sections, 0, 2)

    def dsplit(self, indices_or_sections: Any) -> tuple[Any, ...]:
        """沿第 2 轴 ``tensor_split``；份数必须整除。"""
        return self._even_split("dsplit", indices_or_sections, 2, 3)

    def _even_split(self, name: str, places: Any, dim: int, least: int) -> tuple[Any, ...]:
        shape = self.array.shape
        if len(shape) < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension, got shape {shape}")
        if isinstance(places, int) and (places == 0 or shape[dim] % places):
            raise RuntimeError(
                f"torch.{name}: size {shape[dim]} of dimension {dim} is not divisible by the split_size {places}"
            )
        return self.tensor_split(places, dim)

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
        """``dim1``、``dim2`` 两轴上的对角线，排成最后一轴。

        Raises:
            RuntimeError: 两轴相同。
        """
        first, second = axis(dim1, self.array.ndim), axis(dim2, self.array.ndim)
        axes((first, second), self.array.ndim, "diagonal")
        return apply(views.diagonal, (self,), {"offset": offset, "dim1": first, "dim2": second})

    def unfold(self, dimension: int, size: int, step: int) -> Any:
        """沿一根轴滑动的窗：每隔 ``step`` 取 ``size`` 个，窗内的位置是最后一根新轴。

        Raises:
            RuntimeError: ``size`` 或 ``step`` 超出范围。
        """
        d = axis(dimension, self.array.ndim)
        longest = self.array.shape[d] if self.array.ndim else 1
        if not 0 <= size <= longest or step < 1:
            raise RuntimeError(f"unfold: size {size} must be in [0, {longest}] and step {step} must be > 0")
        return apply(views.unfold, (self,), {"dim": d, "size": size, "step": step})

    def as_strided(self, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
        """同一块内存按新的形状、步长与起点读。

        Raises:
            RuntimeError: 步长为负、超出内存，或读到了自己之外而又需要梯度。
        """
        array = self.array
        target = strided_layout(array, size, stride, storage_offset)
        source = (array.shape, layouts.strides_of(array), 0)
        if not views.reaches_beyond(target, source):
            return apply(views.as_strided, (self,), {"target": target, "source": source})
        if self.refreshed().needs_grad:
            raise RuntimeError("as_strided: cannot read memory outside a tensor that requires grad; detach() it first")
        result = graph.tensor_type.wrap(views.memory_view(array, target))
        result.untracked = self.untracked
        return result
