"""Tensor 的换形状、换轴、取下标与写入。

流入：Tensor 与 torch 写法的参数；流出：Tensor。能共享内存的都是视图，与 torch 相同。
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import shape as sh


def axis(dim: int, ndim: int) -> int:
    """把可能为负的轴号变成非负。

    Raises:
        IndexError: 超出范围。
    """
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {dim})")
    return dim % span


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """``f(2, 3)`` 与 ``f((2, 3))`` 两种写法统一成元组。"""
    flat = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    return tuple(int(n) for n in flat)


def _one_of_many(parts: Iterable[Any]) -> tuple[Any, ...]:
    """给同一次切分得到的几个视图做上记号。"""
    found = tuple(parts)
    for part in found:
        part.one_of_many = True
    return found


class Size(tuple[int, ...]):
    """形状：元组，外加 ``numel``。"""

    __slots__ = ()

    def numel(self) -> int:
        """元素总数。"""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"


class Shaping:
    """换形状与取下标的方法。"""

    array: Any
    needs_grad: Any
    node: Any
    base: Any
    one_of_many: bool
    refreshed: Any
    __getitem__: Any
    view_path: Any

    def reshape(self, *shape: Any) -> Any:
        """换形状；可以有一个 -1。

        Raises:
            RuntimeError: 元素数不符。
        """
        wanted = sizes(shape)
        known = math.prod(n for n in wanted if n != -1)
        total = self.array.size
        if wanted.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        if -1 in wanted and known and total % known == 0:
            wanted = tuple(total // known if n == -1 else n for n in wanted)
        if -1 in wanted or math.prod(wanted) != total:
            raise RuntimeError(
                f"shape '{list(wanted)}' is invalid for input of size {total} (shape {self.array.shape})"
            )
        return apply(sh.reshape, (self,), {"shape": wanted})

    def view(self, *shape: Any) -> Any:
        """换形状且共享内存；``view(dtype)`` 不支持。

        Raises:
            RuntimeError: 内存布局不允许共享。
        """
        result = self.reshape(*shape)
        if result.array.size and not np.may_share_memory(result.array, self.array):
            raise RuntimeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
                "two contiguous subspaces). Use .reshape(...) instead."
            )
        return result

    def view_as(self, other: Any) -> Any:
        """换成 ``other`` 的形状。"""
        return self.view(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Any:
        """把 ``start_dim`` 到 ``end_dim`` 的轴并成一根。"""
        shape = self.array.shape
        if not shape:
            return self.reshape(1)
        start, end = axis(start_dim, len(shape)), axis(end_dim, len(shape))
        return self.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])

    def unflatten(self, dim: int, sizes: Any) -> Any:
        """把一根轴拆成几根。"""
        shape, d = self.array.shape, axis(dim, self.array.ndim)
        return self.reshape(*shape[:d], *sizes, *shape[d + 1 :])

    def squeeze(self, dim: int | None = None) -> Any:
        """去掉长度为 1 的轴。"""
        shape = self.array.shape
        if dim is None:
            return self.reshape(tuple(n for n in shape if n != 1))
        d = axis(dim, len(shape))
        return self.reshape(shape[:d] + shape[d + 1 :]) if shape and shape[d] == 1 else self.reshape(shape)

    def unsqueeze(self, dim: int) -> Any:
        """插入一根长度为 1 的轴。"""
        shape = self.array.shape
        d = axis(dim, len(shape) + 1)
        return self.reshape((*shape[:d], 1, *shape[d:]))

    def permute(self, *dims: Any) -> Any:
        """按 ``dims`` 重排各轴。

        Raises:
            RuntimeError: 轴数不符或有重复。
        """
        order = tuple(axis(d, self.array.ndim) for d in sizes(dims))
        if sorted(order) != list(range(self.array.ndim)):
            raise RuntimeError(f"permute: dims {order} is not a permutation of {self.array.ndim} dimensions")
        return apply(sh.permute, (self,), {"dims": order})

    def transpose(self, dim0: int, dim1: int) -> Any:
        """交换两根轴。"""
        n = self.array.ndim
        if n == 0:
            return self.reshape(())
        order = list(range(n))
        a, b = axis(dim0, n), axis(dim1, n)
        order[a], order[b] = b, a
        return apply(sh.permute, (self,), {"dims": tuple(order)})

    def t(self) -> Any:
        """二维转置；一维原样返回。

        Raises:
            RuntimeError: 多于二维。
        """
        if self.array.ndim > 2:
            raise RuntimeError(f"t() expects a tensor with at most 2 dimensions, got {self.array.ndim}")
        return self.transpose(0, 1) if self.array.ndim == 2 else self.reshape(self.array.shape)

    @property
    def T(self) -> Any:
        """各轴倒序。"""
        return self.permute(*range(self.array.ndim - 1, -1, -1))

    @property
    def mT(self) -> Any:
        """最后两轴转置。"""
        return self.transpose(-2, -1)

    def expand(self, *shape: Any) -> Any:
        """广播成给定形状（-1 表示不变），不复制内存。

        Raises:
            RuntimeError: 轴数变少，或给新的轴写了 -1。
        """
        wanted, have = sizes(shape), self.array.shape
        pad = len(wanted) - len(have)
        if pad < 0 or -1 in wanted[:pad]:
            raise RuntimeError(f"expand: shape {have} cannot be expanded to {list(wanted)}")
        full = tuple(have[i - pad] if n == -1 else n for i, n in enumerate(wanted))
        return apply(sh.expand, (self,), {"shape": full})

    def expand_as(self, other: Any) -> Any:
        """广播成 ``other`` 的形状。"""
        return self.expand(other.shape)

    def repeat(self, *repeats: Any) -> Any:
        """各轴重复若干遍。

        Raises:
            RuntimeError: 给的遍数比轴数少。
        """
        times = sizes(repeats)
        if len(times) < self.array.ndim:
            raise RuntimeError(f"repeat: {list(times)} has fewer entries than the {self.array.ndim} dimensions")
        shape = (1,) * (len(times) - self.array.ndim) + self.array.shape
        spread = self.reshape(tuple(x for n in shape for x in (1, n)))
        spread = spread.expand(tuple(x for r, n in zip(times, shape, strict=True) for x in (r, n)))
        return self._own(spread.reshape(tuple(r * n for r, n in zip(times, shape, strict=True))))

    def repeat_interleave(self, repeats: Any, dim: int | None = None) -> Any:
        """每个元素（沿 ``dim``）连续重复 ``repeats`` 次；给 Tensor 则逐个指定次数。"""
        x: Any = self.flatten() if dim is None else self
        d = axis(dim or 0, x.array.ndim)
        if isinstance(repeats, graph.tensor_type):
            order = np.repeat(np.arange(x.array.shape[d]), repeats.array)
            return x.index_select(d, graph.tensor_type.wrap(order))
        shape = x.array.shape
        spread = x.unsqueeze(d + 1).expand(*shape[: d + 1], repeats, *shape[d + 1 :])
        return self._own(spread.reshape(*shape[:d], shape[d] * repeats, *shape[d + 1 :]))

    def _own(self, result: Any) -> Any:
        """重复一遍或重复长度为 1 的轴时，换形状得到的还是视图：拷贝一份，与 torch 一致。"""
        return result.clone() if np.may_share_memory(result.array, self.array) else result

    def contiguous(self) -> Any:
        """内存连续的同值 Tensor；已经连续则是自己。"""
        return self if self.array.flags.c_contiguous else self.clone()

    def is_contiguous(self) -> bool:
        """内存是否按行连续。"""
        return bool(self.array.flags.c_contiguous)

    def clone(self) -> Any:
        """一份拷贝，仍连在图上。"""
        return apply(ew.clone, (self,), {})

    def flip(self, *dims: Any) -> Any:
        """沿若干轴反序。"""
        return apply(sh.flip, (self,), {"dim": tuple(axis(d, self.array.ndim) for d in sizes(dims))})

    def tril(self, diagonal: int = 0) -> Any:
        """下三角。"""
        self._require_matrix("tril")
        return apply(sh.tril, (self,), {"diagonal": diagonal})

    def triu(self, diagonal: int = 0) -> Any:
        """上三角。"""
        self._require_matrix("triu")
        return apply(sh.triu, (self,), {"diagonal": diagonal})

    def _require_matrix(self, name: str) -> None:
        if self.array.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, got {self.array.ndim}")

    def split(self, split_size: Any, dim: int = 0) -> tuple[Any, ...]:
        """按长度切成几段（最后一段可以短）；给列表则逐段指定。

        Raises:
            RuntimeError: 长度为负，或加起来不等于该轴的长度。
        """
        d = axis(dim, self.array.ndim)
        length = self.array.shape[d]
        if isinstance(split_size, int):
            if split_size < 0 or (split_size == 0 and length):
                raise RuntimeError(f"split: split_size must be positive, got {split_size} for length {length}")
            split_size = split_size or 1
            steps = [min(split_size, length - i) for i in range(0, length, split_size)] or [0]
        else:
            steps = list(split_size)
        if sum(steps) != length or min(steps, default=0) < 0:
            raise RuntimeError(f"split: sizes {steps} do not add up to {length} (dimension {d} of {self.array.shape})")
        starts = np.cumsum([0, *steps]).tolist()
        return _one_of_many(self.narrow(d, start, step) for start, step in zip(starts, steps, strict=False))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Any, ...]:
        """切成至多 ``chunks`` 段。

        Raises:
            RuntimeError: ``chunks`` 不是正数。
        """
        if chunks < 1:
            raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
        length = self.array.shape[axis(dim, self.array.ndim)]
        return self.split(max(1, -(-length // chunks)), dim)

    def narrow(self, dim: int, start: int, length: int) -> Any:
        """沿一根轴取一段（视图）。

        Raises:
            RuntimeError: 超出该轴的长度。
            IndexError: 起点越界。
        """
        d = axis(dim, self.array.ndim)
        size = self.array.shape[d]
        if not -size <= start <= size:
            raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
        start += size if start < 0 else 0
        if length < 0 or start + length > size:
            raise RuntimeError(f"narrow: start ({start}) + length ({length}) exceeds dimension size ({size})")
        return self[(slice(None),) * d + (slice(start, start + length),)]

    def unbind(self, dim: int = 0) -> tuple[Any, ...]:
        """沿一根轴拆成若干个。"""
        d = axis(dim, self.array.ndim)
        return _one_of_many(self[(slice(None),) * d + (i,)] for i in range(self.array.shape[d]))
