"""Tensor 的取下标、写下标与按下标取放。

流入：Tensor 与下标；流出：Tensor。基本下标得到视图，与 torch 相同。按下标累加在 ``scattering.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.inference import refuse_written
from tinygrad_llm.autograd.mode import is_grad_enabled
from tinygrad_llm.methods.scalars import NUMBERS, as_element
from tinygrad_llm.methods.shaping import axis, shaped
from tinygrad_llm.methods.subscripts import Key, is_mask, split_key
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.op import Array


def index_array(index: Any, name: str, allowed: tuple[Any, ...] = (np.int64,)) -> Array:
    """下标 Tensor 的数组（拷贝）。

    Raises:
        RuntimeError: dtype 不对。
        TypeError: 不是 Tensor。
    """
    if not isinstance(index, graph.tensor_type):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index.array.dtype not in allowed and index.array.size:
        raise RuntimeError(f"{name}(): Expected dtype int64 for index, got {index.dtype}")
    return np.array(index.array, dtype=np.int64)


def index_tensor(index: Any, name: str) -> Any:
    """int64 的下标 Tensor，0 维当作一维；反传之前被就地改写时，引擎会报错。

    Raises:
        RuntimeError: dtype 不是 int32 或 int64。
        TypeError: 不是 Tensor。
    """
    if not isinstance(index, graph.tensor_type):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index.array.dtype not in (np.int64, np.int32) and index.array.size:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {index.dtype}")
    found = index.to(dtypes.int64)
    return found if index.array.ndim else found.reshape(1)


def index_vector(index: Any, name: str, allowed: tuple[Any, ...] = (np.int64,)) -> Array:
    """一维（或 0 维）的下标，排成一维。

    Raises:
        IndexError: 多于一维。
    """
    rows = index_array(index, name, allowed)
    if rows.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, got shape {rows.shape}")
    return rows.reshape(-1)


def require_within(rows: Array, length: int, name: str, error: type[Exception], low: int = 0) -> None:
    """下标都在 ``[low, length)`` 之内。"""
    if rows.size and not (low <= int(rows.min()) and int(rows.max()) < length):
        wrong = rows[(rows < low) | (rows >= length)].flat[0]
        raise error(f"{name}: index {wrong} is out of bounds for dimension with size {length}")


def require_same_dtype(mine: Any, other: Any, name: str) -> None:
    """两个 Tensor 的 dtype 相同。"""
    if not isinstance(other, graph.tensor_type):
        raise TypeError(f"{name}(): expected a Tensor, got {type(other).__name__}")
    if mine.array.dtype != other.array.dtype:
        raise RuntimeError(f"{name}(): self and source expected to have the same dtype: {mine.dtype}, {other.dtype}")


class Indexing:
    """取下标与按下标取放的方法。"""

    array: Any
    touch: Any
    node: Any
    write: Any
    expand: Any
    reshape: Any
    clone: Any
    contiguous: Any
    refreshed: Any
    _slice: Any

    def __getitem__(self, key: Any) -> Any:
        basic, arrays = split_key(key, self.array.shape)
        try:
            found = self if basic is None else self._slice(basic)
            if arrays is None:
                return found if basic is not None else self.reshape(self.array.shape)
            return apply(sh.index, (found,), {"key": arrays})
        except IndexError as error:
            raise IndexError(f"index {key!r} does not fit a tensor of shape {self.array.shape}: {error}") from None

    def __setitem__(self, key: Any, value: Any) -> None:
        basic, arrays = split_key(key, self.array.shape)
        try:
            self._assign(basic, arrays, value)
        except IndexError as error:
            raise IndexError(f"index {key!r} does not fit a tensor of shape {self.array.shape}: {error}") from None
        except ValueError as error:
            shape = self.array.shape
            raise RuntimeError(f"cannot write to index {key!r} of a tensor of shape {shape}: {error}") from None

    def _assign(self, basic: Key | None, arrays: Key | None, value: Any) -> None:
        filled = self._filled(value, arrays)
        if is_grad_enabled() and (self.refreshed().needs_grad or filled.refreshed().needs_grad):
            region: Any = self if basic is None else self._slice(basic)
            if arrays is not None:
                region.write(apply(sh.index_put, (region, filled), {"key": arrays}), arrays)
            elif region.array.ndim and not filled.array.ndim:
                region.fill_(filled)
            else:
                region.copy_(_without_leading_ones(filled, region.array.shape).expand(region.array.shape))
            return
        refuse_written(self)
        memory = self.array if basic is None else _region(self.array, basic)
        if arrays is None:
            _refuse_interleaved(memory, filled.array)
        if not memory.flags.writeable:
            if arrays is None and sh.same_place(memory, filled.array):
                self.touch()
                return
            memory = sh.writeable(memory, arrays is not None)
        with np.errstate(invalid="ignore", over="ignore"):
            memory[... if arrays is None else arrays] = filled.array
        self.touch()

    def _filled(self, value: Any, arrays: Key | None) -> Any:
        """要写的值，变成 Tensor；数按自己的 dtype 换算。

        Raises:
            RuntimeError: 以数组为下标时 dtype 不同。
            TypeError: 不是 Tensor 或数。
        """
        dtype = self.array.dtype
        if isinstance(value, NUMBERS):
            return graph.tensor_type.wrap(as_element(value, dtype))
        if not isinstance(value, graph.tensor_type):
            raise TypeError(f"can't assign a {type(value).__name__} to a tensor of {dtypes.of(self.array)}")
        if arrays is not None and value.array.dtype != dtype:
            if value.array.size == 1 and any(is_mask(part) for part in arrays):
                return value.to(dtypes.of(self.array))
            raise RuntimeError(
                "Index put requires the source and destination dtypes match, "
                f"got {dtypes.of(self.array)} for the destination and {value.dtype} for the source"
            )
        is_complex = value.array.dtype.kind == "c"
        return value.to(dtypes.of(self.array)) if is_complex and dtype.kind != "c" else value

    def index_select(self, dim: int, index: Any) -> Any:
        """沿一根轴按下标取若干行。

        Raises:
            IndexError: 下标为负、越界或不是一维。
            RuntimeError: 0 维却要取几个，或下标不是整数。
        """
        rows, d = index_vector(index, "index_select", (np.int64, np.int32)), axis(dim, self.array.ndim)
        if not self.array.ndim:
            if rows.size != 1:
                raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {rows.size}")
            return self.reshape(1).index_select(0, index).reshape(())
        require_within(rows, self.array.shape[d], "index_select", IndexError)
        found = apply(sh.index, (self,), {"key": (slice(None),) * d + (rows,)})
        found.array = np.ascontiguousarray(found.array)
        return found

    def gather(self, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
        """沿 ``dim`` 逐元素按下标取值；``sparse_grad`` 只影响 torch 里梯度的存法。

        Raises:
            RuntimeError: 轴数不同、下标越界，或别的轴比自己长。
        """
        where = index_tensor(index, "gather")
        d, wanted = axis(dim, self.array.ndim), index.array.shape
        if not where.array.size:
            return self.reshape(-1)[:0].reshape(wanted)
        have = self.array.shape or (1,)
        others = [n > m for i, (n, m) in enumerate(zip(where.array.shape, have, strict=False)) if i != d]
        if len(have) != where.array.ndim or any(others):
            raise RuntimeError(f"gather: index of shape {wanted} does not fit input of shape {have} along dim {d}")
        require_within(where.array, have[d], "gather", RuntimeError)
        found = apply(sh.gather, (self if self.array.ndim else self.reshape(1), where), {"dim": d})
        return shaped(found, wanted)

    def where(self, condition: Any, other: Any) -> Any:
        """``condition`` 为真处取自己，否则取 ``other``。"""
        from tinygrad_llm.joining import where

        return where(condition, self, other)

    def take(self, index: Any) -> Any:
        """摊平之后按下标取，形状同 ``index``。

        Raises:
            IndexError: 越界。
            RuntimeError: 下标不是 int64。
        """
        places = index_array(index, "take")
        require_within(places, self.array.size, "take", IndexError, -self.array.size)
        return apply(sh.index, (self.reshape(-1),), {"key": (places,)})

    def take_along_dim(self, indices: Any, dim: int | None = None) -> Any:
        """沿 ``dim`` 按下标取值，别的轴互相广播；不给 ``dim`` 则都先摊平。

        Raises:
            RuntimeError: 轴数不同，或下标不是 int64。
        """
        places = index_array(indices, "take_along_dim")
        if dim is None:
            return self.reshape(-1).gather(0, graph.tensor_type.wrap(places.reshape(-1) % max(self.array.size, 1)))
        if places.ndim != self.array.ndim:
            shapes = f"{self.array.shape}, {places.shape}"
            raise RuntimeError(f"take_along_dim(): input and indices need the same number of dimensions: {shapes}")
        d, have = axis(dim, self.array.ndim), self.array.shape
        lead = [1 if i == d else n for i, n in enumerate(have)]
        wanted = np.broadcast_shapes(lead, [1 if i == d else n for i, n in enumerate(places.shape)])
        source = self.expand(tuple(have[d] if i == d else n for i, n in enumerate(wanted)))
        spread = np.broadcast_to(places, [places.shape[d] if i == d else n for i, n in enumerate(wanted)])
        return source.gather(d, graph.tensor_type.wrap(spread % max(have[d], 1)))

    def masked_select(self, mask: Any) -> Any:
        """取出 ``mask`` 为真的元素，排成一维。

        Raises:
            RuntimeError: ``mask`` 不是布尔类型，或形状不能互相广播。
        """
        together, chosen = self._with_mask(mask, "masked_select")
        return apply(sh.index, (together if together.array.ndim else together.reshape(1),), {"key": (chosen,)})

    def masked_scatter(self, mask: Any, source: Any) -> Any:
        """``mask`` 为真的位置依次换成 ``source`` 的元素。

        Raises:
            RuntimeError: ``mask`` 不是布尔类型、dtype 不同，或 ``source`` 不够长。
        """
        require_same_dtype(self, source, "masked_scatter")
        together, chosen = self._with_mask(mask, "masked_scatter")
        count = int(chosen.sum())
        if source.array.size < count:
            raise RuntimeError(f"masked_scatter: source has {source.array.size} elements, the mask {count} ones")
        shape = together.array.shape
        flat = together if shape else together.reshape(1)
        return shaped(apply(sh.index_put, (flat.contiguous(), source.reshape(-1)[:count]), {"key": (chosen,)}), shape)

    def _with_mask(self, mask: Any, name: str) -> tuple[Any, Array]:
        """自己与掩码，互相广播之后。"""
        if mask.array.dtype.kind != "b":
            raise RuntimeError(f"{name}: expected a bool tensor for mask, got {mask.dtype}")
        try:
            shape = np.broadcast_shapes(self.array.shape, mask.array.shape)
        except ValueError as error:
            raise RuntimeError(f"{name}: {self.array.shape} and mask {mask.array.shape}: {error}") from None
        chosen = np.array(np.broadcast_to(mask.array, shape))
        return self.expand(shape), chosen if shape else chosen.reshape(1)

    def index_put(self, indices: Any, values: Any, accumulate: bool = False) -> Any:
        """``indices`` 指的位置换成 ``values``；``accumulate`` 则相加，重复的位置累加。

        Raises:
            IndexError: 越界，或下标太多。
            RuntimeError: dtype 不同，或形状对不上。
            TypeError: ``indices`` 不是一串 Tensor，或 ``values`` 不是 Tensor。
        """
        if not isinstance(indices, (tuple, list)) or not isinstance(values, graph.tensor_type):
            raise TypeError("index_put(): expected a tuple of Tensors for indices and a Tensor for values")
        basic, arrays = split_key(tuple(indices), self.array.shape)
        if basic is not None:  # 0 维下标：torch 当作只有一个元素的数组
            basic, arrays = None, tuple([np.array(index.array).reshape(-1) for index in indices])
        filled = self._filled(values, arrays)
        if not accumulate:
            return apply(sh.index_put, (self, filled), {"key": arrays})
        shape = np.empty(self.array.shape, bool)[arrays].shape
        return self + apply(sh.scatter_index, (filled.expand(shape),), {"shape": self.array.shape, "key": arrays})

    def index_fill(self, dim: int, index: Any, value: Any) -> Any:
        """沿一根轴，下标指的各行全部换成 ``value``（数或 0 维 Tensor）。

        Raises:
            IndexError: 越界，或下标不是 int64。
            RuntimeError: ``value`` 不是 0 维，或下标多于一维。
        """
        if index.array.ndim > 1:
            raise RuntimeError(f"index_fill(): Index has to be a vector or scalar, got shape {index.array.shape}")
        if index.array.dtype != np.int64:
            raise IndexError(f"index_fill(): Expected dtype int64 for index, got {index.dtype}")
        rows, d = index_vector(index, "index_fill"), axis(dim, self.array.ndim)
        length = self.array.shape[d] if self.array.ndim else 1
        require_within(rows, length, "index_fill", IndexError, -length)
        if isinstance(value, graph.tensor_type) and value.array.ndim:
            raise RuntimeError(f"index_fill only supports a 0-dimensional value tensor, got shape {value.array.shape}")
        filled = self._filled(value, None).to(dtypes.of(self.array))
        return _put_rows(self, d, np.unique(rows % max(length, 1)), filled)

    def index_copy(self, dim: int, index: Any, source: Any) -> Any:
        """沿一根轴，下标指的各行依次换成 ``source`` 的各行。

        Raises:
            IndexError: 越界，或行数、轴数不符。
            RuntimeError: dtype 不同，或形状不符。
        """
        require_same_dtype(self, source, "index_copy")
        rows, d = index_vector(index, "index_copy"), axis(dim, self.array.ndim)
        have, given = self.array.shape or (1,), source.array.shape or (1,)
        if len(have) != len(given) or given[d] != rows.size:
            raise IndexError(f"index_copy(): {rows.size} indices and source {given} do not fit {have} along dim {d}")
        if have[:d] + have[d + 1 :] != given[:d] + given[d + 1 :]:
            raise RuntimeError(f"index_copy(): source {given} must have the shape of self {have} apart from dim {d}")
        require_within(rows, have[d], "index_copy", IndexError)
        return _put_rows(self.contiguous(), d, rows, source.reshape(given))

    def put(self, index: Any, source: Any, accumulate: bool = False) -> Any:
        """摊平之后，下标指的位置换成 ``source`` 的元素；``accumulate`` 则相加。

        Raises:
            IndexError: 越界，或元素数不同。
            RuntimeError: dtype 不同。
        """
        places = index_array(index, "put").reshape(-1)
        if places.size != source.array.size:
            raise IndexError(f"put(): {places.size} indices and {source.array.size} elements in source")
        require_same_dtype(self, source, "put")
        require_within(places, self.array.size, "put", IndexError, -self.array.size)
        flat = (graph.tensor_type.wrap(places),)
        return self.reshape(-1).index_put(flat, source.reshape(-1), accumulate).reshape(self.array.shape)


def _region(x: Array, basic: Any) -> Array:
    """下标取到的那一块，标量也是视图。"""
    key = basic if Ellipsis in basic else (*basic, ...)
    return sh.with_new_axes(x[key], x, key)


def _refuse_interleaved(memory: Array, given: Array) -> None:
    """写的一块与给的值只有一部分内存相同：torch 边读边写，结果没有约定，所以拒绝。"""
    if sh.storage_of(memory) is not sh.storage_of(given) or not given.ndim:
        return
    if sh.overlaps_partly(memory, sh.expand(_without_leading_ones(given, memory.shape), shape=memory.shape)):
        raise RuntimeError(sh.INTERLEAVED)


def _put_rows(x: Any, d: int, rows: Array, filled: Any) -> Any:
    shape = x.array.shape
    lifted = x if shape else x.reshape(1)
    return shaped(apply(sh.index_put, (lifted, filled), {"key": (slice(None),) * d + (rows,)}), shape)


def _without_leading_ones(value: Any, shape: tuple[int, ...]) -> Any:
    """写入时，形状不同的值（数组或 Tensor）先去掉前面长度为 1 的轴，与 torch 相同。"""
    have = tuple(value.shape)
    if have == shape:
        return value
    longer = [i for i, n in enumerate(have) if n != 1]
    return value.reshape(have[longer[0] if longer else len(have) :])
