"""Tensor 的换形状、换轴、广播与拷贝。

流入：Tensor 与 torch 写法的参数；流出：Tensor。能共享内存的都是视图，与 torch 相同。切分与取一段在 ``splitting.py``。
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index as as_int
from typing import Any

import numpy as np

from tinygrad_llm import dtypes, layouts
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.layouts import contiguous_format, preserve_format
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import reduce
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.bfloat16 import is_bfloat16, same_dtype


def axis(dim: int, ndim: int) -> int:
    """把可能为负的轴号变成非负。

    Raises:
        IndexError: 超出范围。
    """
    span = ndim or 1
    if not -span <= dim < span:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {dim})")
    return as_int(dim) % span


def axes(dims: Any, ndim: int, name: str) -> tuple[int, ...]:
    """一个或几个轴号，变成非负。

    Raises:
        IndexError: 超出范围。
        RuntimeError: 有重复。
    """
    found = tuple([axis(d, ndim) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))])
    if len(set(found)) < len(found):
        raise RuntimeError(f"{name}: a dim appears multiple times in {list(found)}")
    return found


def sizes(args: Sequence[Any]) -> tuple[int, ...]:
    """``f(2, 3)`` 与 ``f((2, 3))`` 两种写法统一成元组。

    Raises:
        TypeError: 有不是整数的。
    """
    flat = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    return tuple([n if type(n) is int else as_int(n) for n in flat])


def _inferred(wanted: tuple[int, ...], have: tuple[int, ...], total: int) -> tuple[int, ...]:
    """补上 -1，核对元素数。"""
    if -1 not in wanted and math.prod(wanted) == total and min(wanted, default=0) >= 0:
        return wanted
    known = math.prod([n for n in wanted if n != -1])
    if -1 in wanted and wanted.count(-1) == 1 and known > 0 and total % known == 0:
        wanted = tuple([total // known if n == -1 else n for n in wanted])
    if -1 in wanted or math.prod(wanted) != total or min(wanted, default=0) < 0:
        raise RuntimeError(f"shape '{list(wanted)}' is invalid for input of size {total} (shape {have})")
    return wanted


def shaped(fresh: Any, shape: tuple[int, ...]) -> Any:
    """刚算出来的 ``fresh`` 换一个形状；底下的内存没有别人看着，所以结果不算视图，与 torch 相同。"""
    if fresh.array.shape == shape:
        return fresh
    y = apply(sh.reshape, (fresh,), {"shape": shape})
    y.base, y.base_node, y.view_path = fresh.base, None, ()  # 推理张量的 base 是一个哨兵，要留着
    return y


class Size(tuple[int, ...]):
    """形状：元组，外加 ``numel``；切片、相加与重复之后仍是形状。"""

    __slots__ = ()

    def numel(self) -> int:
        """元素总数。"""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return Size(found) if isinstance(key, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __mul__(self, times: Any) -> Size:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__


class Shaping:
    """换形状、换轴与拷贝的方法。"""

    array: Any
    untracked: Any

    def reshape(self, *args: Any, shape: Any = None) -> Any:
        """换形状；可以有一个 -1。

        Raises:
            RuntimeError: 元素数不符。
        """
        have = self.array
        wanted = sizes(args if shape is None else (shape,))
        return apply(sh.reshape, (self,), {"shape": _inferred(wanted, have.shape, have.size)})

    def view(self, *args: Any, size: Any = None, dtype: Any = None) -> Any:
        """换形状且共享内存；``view(dtype)`` 把同一块内存看作另一种类型。

        Raises:
            RuntimeError: 内存布局不允许共享。
        """
        if dtype is not None or (len(args) == 1 and isinstance(args[0], dtypes.dtype)):
            return self._view_as_dtype(args[0] if dtype is None else dtype)
        result = self.reshape(*args, shape=size)
        array = self.array
        if not array.flags.c_contiguous and array.size and not np.may_share_memory(result.array, array):
            raise RuntimeError(
                f"view size {result.array.shape} is not compatible with input tensor's size {array.shape} and stride "
                f"{layouts.strides_of(array)} (at least one dimension spans across two contiguous subspaces). "
                "Use .reshape(...) instead."
            )
        return result

    def _view_as_dtype(self, dtype: Any) -> Any:
        wanted = dtypes.as_numpy(dtype)
        if same_dtype(wanted, self.array.dtype):
            return apply(sh.reshape, (self,), {"shape": self.array.shape})
        if is_bfloat16(wanted) or is_bfloat16(self.array.dtype):
            raise RuntimeError(
                f"view: bfloat16 lives in float32 memory here, cannot view {dtypes.of(self.array)} as {dtype}"
            )
        try:
            result = graph.tensor_type.wrap(self.array.view(wanted))
        except ValueError as error:
            have = dtypes.of(self.array)
            raise RuntimeError(f"view: {have} {self.array.shape} cannot be viewed as {dtype}: {error}") from None
        result.untracked = self.untracked
        return result

    def view_as(self, other: Any) -> Any:
        """换成 ``other`` 的形状，共享内存。"""
        return self.view(other.array.shape)

    def reshape_as(self, other: Any) -> Any:
        """换成 ``other`` 的形状。"""
        return self.reshape(other.array.shape)

    def ravel(self) -> Any:
        """排成一维。"""
        return self.contiguous().reshape(-1)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Any:
        """把 ``start_dim`` 到 ``end_dim`` 的轴并成一根。

        Raises:
            RuntimeError: 起点在终点之后。
        """
        shape = self.array.shape
        start, end = axis(start_dim, len(shape)), axis(end_dim, len(shape))
        if not shape:
            return self.reshape(1)
        if start > end:
            raise RuntimeError(f"flatten(): start_dim {start_dim} cannot come after end_dim {end_dim}")
        if start == end:
            return self
        return self.reshape((*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))

    def unflatten(self, dim: int, sizes: Any) -> Any:
        """把一根轴拆成几根；可以有一个 -1。

        Raises:
            RuntimeError: 乘起来不等于该轴的长度。
            TypeError: ``sizes`` 不是一串整数。
        """
        shape, d = self.array.shape, axis(dim, self.array.ndim)
        if not isinstance(sizes, (tuple, list)):
            raise TypeError(f"unflatten(): argument 'sizes' must be tuple of ints, not {type(sizes).__name__}")
        if not sizes:
            raise RuntimeError("unflatten: sizes must be non-empty")
        parts = _inferred(tuple([as_int(n) for n in sizes]), shape[d : d + 1], shape[d])
        return self.reshape((*shape[:d], *parts, *shape[d + 1 :]))

    def squeeze(self, dim: Any = None) -> Any:
        """去掉长度为 1 的轴：全部、一根或几根。"""
        shape = self.array.shape
        chosen = range(len(shape)) if dim is None else axes(dim, len(shape), "squeeze")
        kept = tuple([n for i, n in enumerate(shape) if n != 1 or i not in chosen])
        return apply(sh.reshape, (self,), {"shape": kept})

    def unsqueeze(self, dim: int) -> Any:
        """插入一根长度为 1 的轴。"""
        shape = self.array.shape
        d = axis(dim, len(shape) + 1)
        return apply(sh.reshape, (self,), {"shape": (*shape[:d], 1, *shape[d:])})

    def permute(self, *args: Any, dims: Any = None) -> Any:
        """按 ``dims`` 重排各轴。

        Raises:
            RuntimeError: 轴数不符或有重复。
        """
        n = self.array.ndim
        wanted = sizes(args if dims is None else (dims,))
        if len(wanted) != n:
            raise RuntimeError(f"permute: dims {wanted} do not match the {n} dimensions of shape {self.array.shape}")
        return apply(sh.permute, (self,), {"dims": axes(wanted, n, "permute")})

    def transpose(self, dim0: int, dim1: int) -> Any:
        """交换两根轴。"""
        n = self.array.ndim
        a, b = axis(dim0, n), axis(dim1, n)
        order = list(range(n))
        if n:
            order[a], order[b] = b, a
        return apply(sh.permute, (self,), {"dims": tuple(order)})

    swapaxes = swapdims = transpose

    def t(self) -> Any:
        """二维转置；不足二维得到自己的视图。

        Raises:
            RuntimeError: 多于二维。
        """
        n = self.array.ndim
        if n > 2:
            raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, got shape {self.array.shape}")
        return apply(sh.permute, (self,), {"dims": (1, 0) if n == 2 else tuple(range(n))})

    def movedim(self, source: Any, destination: Any) -> Any:
        """把 ``source`` 的各轴搬到 ``destination``，其余的轴保持次序。

        Raises:
            RuntimeError: 两边个数不同，或有重复。
        """
        n = self.array.ndim
        start, end = axes(source, n, "movedim"), axes(destination, n, "movedim")
        if len(start) != len(end):
            raise RuntimeError(f"movedim: source {start} and destination {end} must name the same number of dims")
        order = [i for i in range(n) if i not in start]
        for place, dim in sorted(zip(end, start, strict=True)):
            order.insert(place, dim)
        return apply(sh.permute, (self,), {"dims": tuple(order) if n else ()})

    moveaxis = movedim

    @property
    def T(self) -> Any:
        """各轴倒序。"""
        return apply(sh.permute, (self,), {"dims": tuple(range(self.array.ndim))[::-1]})

    @property
    def mT(self) -> Any:
        """最后两轴转置。"""
        return self._matrix_transpose("mT")

    @property
    def H(self) -> Any:
        """二维的共轭转置。"""
        if self.array.ndim not in (0, 2):
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors), got shape {self.array.shape}")
        return self._matrix_transpose("H").conj()

    @property
    def mH(self) -> Any:
        """最后两轴的共轭转置。"""
        return self._matrix_transpose("mH").conj()

    def adjoint(self) -> Any:
        """最后两轴的共轭转置。"""
        return self._matrix_transpose("adjoint()").conj()

    def _matrix_transpose(self, name: str) -> Any:
        if self.array.ndim == 1:
            shape = self.array.shape
            raise RuntimeError(f"tensor.{name} is only supported on matrices or batches of matrices, got shape {shape}")
        return self.transpose(-2, -1) if self.array.ndim else self.t()

    def expand(self, *args: Any, size: Any = None) -> Any:
        """广播成给定形状（-1 表示不变），不复制内存。

        Raises:
            RuntimeError: 轴数变少，或给新的轴写了 -1。
        """
        wanted, have = sizes(args if size is None else (size,)), self.array.shape
        if -1 in wanted:
            pad = len(wanted) - len(have)
            if pad < 0 or -1 in wanted[:pad]:
                raise RuntimeError(f"expand: shape {have} cannot be expanded to {list(wanted)}")
            wanted = tuple([have[i - pad] if n == -1 else n for i, n in enumerate(wanted)])
        return apply(sh.expand, (self,), {"shape": wanted})

    def expand_as(self, other: Any) -> Any:
        """广播成 ``other`` 的形状。"""
        return apply(sh.expand, (self,), {"shape": other.array.shape})

    def broadcast_to(self, *args: Any, size: Any = None) -> Any:
        """广播成给定形状。"""
        return self.expand(*args, size=size)

    def sum_to_size(self, *args: Any, size: Any = None) -> Any:
        """求和成 ``size``：广播的反面。

        Raises:
            RuntimeError: ``size`` 不能广播成自己的形状。
        """
        wanted, have = sizes(args if size is None else (size,)), self.array.shape
        pad = len(have) - len(wanted)
        if pad < 0 or any(n not in (1, m) for n, m in zip(wanted, have[pad:], strict=True)):
            raise RuntimeError(f"size {list(wanted)} is not expandable to size {list(have)}")
        spread = (*range(pad), *(i + pad for i, n in enumerate(wanted) if n != have[i + pad]))
        if not spread:
            return self
        return apply(reduce.sum, (self,), {"dim": spread, "keepdim": True}).reshape(wanted)

    def is_same_size(self, other: Any) -> bool:
        """形状是否相同。"""
        return bool(self.array.shape == other.array.shape)

    def contiguous(self, memory_format: Any = contiguous_format) -> Any:
        """内存按 ``memory_format`` 排布的同值 Tensor；已经如此则是自己。

        Raises:
            RuntimeError: ``preserve_format``，或轴数与 ``channels_last`` 不符。
        """
        if layouts.is_contiguous(self.array, memory_format):
            return self
        if memory_format is preserve_format:
            raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
        return self.clone(memory_format=memory_format)

    def clone(self, *, memory_format: Any = None) -> Any:
        """一份拷贝，仍连在图上；缺省保持各轴在内存里的次序。"""
        array = self.array
        order = layouts.copy_order(array, memory_format)
        if order is not None:
            return apply(sh.copied, (self,), {"order": order})
        if array.flags.c_contiguous:
            return apply(ew.clone, (self,), {})
        return apply(sh.copied, (self,), {"order": tuple(range(array.ndim))})
