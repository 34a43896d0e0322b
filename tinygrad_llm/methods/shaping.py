"""Tensor 的换形状、换轴、取下标与写入。

流入：Tensor 与 torch 写法的参数；流出：Tensor。能共享内存的都是视图，与 torch 相同。
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.mode import is_grad_enabled
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


def plain_key(key: Any) -> Any:
    """下标里的 Tensor 与列表换成数组。"""
    if isinstance(key, tuple):
        return tuple(plain_key(part) for part in key)
    if isinstance(key, graph.tensor_type):
        # 留一份拷贝：反传之前下标被就地改写，梯度也不会加错地方
        return np.array(key.array) if key.array.ndim or key.array.dtype.kind == "b" else int(key.array)
    return np.asarray(key) if isinstance(key, list) else key


def torch_key(key: Any, shape: tuple[int, ...]) -> Any:
    """torch 先用掉下标里的整数，再看下标数组；NumPy 把整数也当作数组，于是轴的次序可能不同。

    只有「整数、数组、切片三者并存」时两者才不同：换成等价的一组纯数组下标。
    """
    if not isinstance(key, tuple) or not any(isinstance(part, np.ndarray) for part in key):
        return key
    integers = [isinstance(part, (int, np.integer)) and not isinstance(part, bool) for part in key]
    if not any(integers) or all(
        whole or isinstance(part, np.ndarray) for whole, part in zip(integers, key, strict=True)
    ):
        return key
    first: list[Any] = []
    for part in key:
        boolean = isinstance(part, np.ndarray) and part.dtype.kind == "b"
        first += [slice(None)] * (part.ndim if boolean else 1) if isinstance(part, np.ndarray) else [part]
    rest = tuple(
        part if isinstance(part, np.ndarray) or part is Ellipsis else slice(None)
        for whole, part in zip(integers, key, strict=True)
        if not whole
    )
    places = np.arange(math.prod(shape)).reshape(shape)[tuple(first)][rest]
    return np.unravel_index(places, shape)


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
    version: Any
    one_of_many: bool
    refreshed: Any
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

    def index_select(self, dim: int, index: Any) -> Any:
        """沿一根轴按下标取若干行。

        Raises:
            IndexError: 下标为负、越界或不是一维。
        """
        rows = index.array
        if rows.ndim > 1 or (rows.size and int(rows.min()) < 0):
            raise IndexError(f"index_select: index must be a vector of non-negative ids, got shape {rows.shape}")
        index = index.reshape(-1)
        return self[(slice(None),) * axis(dim, self.array.ndim) + (index,)]

    def gather(self, dim: int, index: Any) -> Any:
        """沿 ``dim`` 逐元素按下标取值。

        Raises:
            RuntimeError: 轴数不同、下标越界，或别的轴比自己长。
        """
        d, have, wanted = axis(dim, self.array.ndim), self.array.shape, index.array.shape
        if len(have) != len(wanted) or any(n > m for i, (n, m) in enumerate(zip(wanted, have, strict=True)) if i != d):
            raise RuntimeError(f"gather: index of shape {wanted} does not fit input of shape {have} along dim {d}")
        if index.array.size and have and not 0 <= index.array.min() <= index.array.max() < have[d]:
            raise RuntimeError(f"gather: index {index.array.max()} or {index.array.min()} is not in [0, {have[d]})")
        return apply(sh.gather, (self, index), {"dim": d})

    def masked_select(self, mask: Any) -> Any:
        """取出 ``mask`` 为真的元素，排成一维。"""
        return self.expand(np.broadcast_shapes(self.array.shape, mask.array.shape))[
            mask.expand(np.broadcast_shapes(self.array.shape, mask.array.shape))
        ]

    def __getitem__(self, key: Any) -> Any:
        plain = torch_key(plain_key(key), self.array.shape)
        try:
            result = apply(sh.index, (self,), {"key": plain})
        except IndexError as error:
            raise IndexError(f"index {key!r} does not fit a tensor of shape {self.array.shape}: {error}") from None
        if sh.is_basic(plain):
            result.watch(self, sh.index, {"key": plain})
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        plain = torch_key(plain_key(key), self.array.shape)
        tensor = isinstance(value, graph.tensor_type)
        if is_grad_enabled() and (self.needs_grad or (tensor and value.needs_grad)):
            filled = value if tensor else graph.tensor_type.wrap(np.asarray(value, self.array.dtype))
            self.write(apply(sh.index_put, (self, filled.to(dtypes.of(self.array))), {"key": plain}))
            return
        try:
            self.array[plain] = value.array if tensor else value
        except ValueError as error:
            raise RuntimeError(
                f"cannot write to index {key!r} of a tensor of shape {self.array.shape}: {error}"
            ) from None
        self.version.writes += 1

    def write(self, result: Any) -> Any:
        """就地写入：把 ``result`` 的值搬进自己的内存，并接到它的图上。

        Raises:
            RuntimeError: 自己是需要梯度的叶子、是图上张量的视图、只读，或形状对不上。
        """
        if is_grad_enabled() and self.one_of_many and (self.needs_grad or result.needs_grad):
            raise RuntimeError(
                "this tensor is a view and is being modified inplace; it is one output of a function that returns "
                "multiple views (split, chunk, unbind), which does not allow that. Use the out-of-place operation."
            )
        traced = is_grad_enabled() and (result.needs_grad or self.refreshed().needs_grad)
        bottom = self if self.base is None else self.base
        if traced and bottom.needs_grad and bottom.node is None:
            which = "a leaf Variable" if bottom is self else "a view of a leaf Variable"
            raise RuntimeError(f"{which} that requires grad is being used in an in-place operation.")
        if result.array.shape != self.array.shape:
            raise RuntimeError(
                f"in-place result has shape {result.array.shape}, cannot be written to {self.array.shape}"
            )
        if not self.array.flags.writeable:
            raise RuntimeError("in-place write to a tensor whose elements share memory (expanded or read-only)")
        if traced and bottom is not self:
            moved = apply(sh.write_region, (bottom, result), {"path": self.view_path})
            bottom.node, bottom.needs_grad = moved.node, moved.needs_grad
        self.array[...] = result.array
        self.version.writes += 1
        if traced and bottom is not self:
            return self.refreshed()
        if is_grad_enabled():
            self.node, self.needs_grad = result.node, result.needs_grad
        return self
