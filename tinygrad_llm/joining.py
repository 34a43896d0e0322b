"""作用于几个 Tensor 的函数：拼接、堆叠、互相广播、组合与二选一。

流入：一串 Tensor；流出：一个 Tensor，或一串 Tensor。名字、参数与缺省值同 torch。
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.layouts import channels_last, is_contiguous
from tinygrad_llm.methods.arithmetic import match, ordered
from tinygrad_llm.methods.scalars import as_element
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.methods.shaping import axis as nonnegative
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.bfloat16 import same_dtype
from tinygrad_llm.out import with_out
from tinygrad_llm.tensor import Tensor


def _checked(tensors: Any, name: str, error: type[Exception] = RuntimeError) -> list[Tensor]:
    """一串 Tensor，至少一个。"""
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}(): argument 'tensors' must be tuple of Tensors, not {type(tensors).__name__}")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): expected Tensor as element {i}, but got {type(t).__name__}")
    if not tensors:
        raise error(f"{name}(): expected a non-empty list of Tensors")
    return list(tensors)


def _together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """统一 dtype。"""
    common = tensors[0].array.dtype
    if all(t.array.dtype is common for t in tensors):
        return list(tensors)
    dimensioned = tensors[0].array.ndim
    for t in tensors[1:]:
        if not same_dtype(t.array.dtype, common) or t.array.ndim != dimensioned:
            common = dtypes.promote(np.empty((0,) * dimensioned, common), t.array)
            dimensioned = max(dimensioned, t.array.ndim)
    return [t.to(dtypes.of(np.empty(0, common))) for t in tensors]


@with_out
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """沿 ``dim``（又名 ``axis``）首尾相接；一维的空张量不算。

    Raises:
        ValueError: 一个也没给。
        RuntimeError: 有 0 维的，或别的轴长短不一。
    """
    given = _checked(tensors, "cat", ValueError)
    if any(t.array.ndim == 0 for t in given):
        raise RuntimeError("cat: zero-dimensional tensors cannot be concatenated")
    same = _together(given)
    kept = [t for t in same if t.array.shape != (0,)] or same[:1]
    d = nonnegative(dim if axis is None else axis, kept[0].array.ndim)
    y = apply(sh.cat, kept, {"dim": d})
    return y.contiguous(memory_format=channels_last) if _are_images(kept) else y  # type: ignore[no-any-return]


def _are_images(tensors: Sequence[Tensor]) -> bool:
    """是不是一串 ``channels_last`` 的图像：首尾相接之后次序不变。"""
    if tensors[0].array.ndim != 4:
        return False
    return all(not t.array.flags.c_contiguous and is_contiguous(t.array, channels_last) for t in tensors)


concat = concatenate = cat


@with_out
def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """沿一根新轴叠起来。

    Raises:
        RuntimeError: 一个也没给，或形状不同。
    """
    given = _checked(tensors, "stack")
    shape = given[0].array.shape
    if any(t.array.shape != shape for t in given):
        raise RuntimeError(f"stack expects tensors of equal size, got {[t.array.shape for t in given]}")
    d = nonnegative(dim if axis is None else axis, len(shape) + 1)
    return apply(sh.cat, [t.unsqueeze(d) for t in _together(given)], {"dim": d})  # type: ignore[no-any-return]


@with_out
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """左右相接：一维沿第 0 轴，其余沿第 1 轴。"""
    lifted = [_lifted(t, 1) for t in _checked(tensors, "hstack")]
    return cat(lifted, 0 if lifted[0].array.ndim == 1 else 1)


@with_out
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """上下相接：一维当作一行。"""
    return cat([_lifted(t, 2) for t in _checked(tensors, "vstack")], 0)


row_stack = vstack


@with_out
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """沿第 2 轴相接；不足三维的先补轴。"""
    return cat([_lifted(t, 3) for t in _checked(tensors, "dstack")], 2)


@with_out
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """左右相接，不足二维的当作一列。"""
    given = _checked(tensors, "column_stack")
    return hstack([t if t.array.ndim > 1 else t.reshape(t.array.size, 1) for t in given])


def _lifted(t: Tensor, ndim: int) -> Any:
    """补轴到 ``ndim`` 维：一维成为一行，二维再在末尾添一根。"""
    if t.array.ndim >= ndim:
        return t
    if t.array.ndim == 0:
        return t.reshape((1,) * ndim)
    row = t.unsqueeze(0) if t.array.ndim == 1 and ndim > 1 else t
    return row.unsqueeze(-1) if ndim == 3 else row


def _at_least(tensors: tuple[Any, ...], ndim: int, name: str) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return _lifted(tensors[0], ndim)
    given = tensors[0] if len(tensors) == 1 else tensors
    return tuple([_lifted(t, ndim) for t in _checked(given, name)]) if given else ()


def atleast_1d(*tensors: Any) -> Any:
    """0 维变成一维。"""
    return _at_least(tensors, 1, "atleast_1d")


def atleast_2d(*tensors: Any) -> Any:
    """不足二维的补成二维。"""
    return _at_least(tensors, 2, "atleast_2d")


def atleast_3d(*tensors: Any) -> Any:
    """不足三维的补成三维。"""
    return _at_least(tensors, 3, "atleast_3d")


def broadcast_shapes(*shapes: Any) -> Size:
    """几个形状（或长度）互相广播的结果。

    Raises:
        RuntimeError: 不能互相广播，或有负数。
    """
    listed = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    if min(itertools.chain(*listed), default=0) < 0:
        raise RuntimeError(f"broadcast_shapes: negative dimension in {listed}")
    try:
        return Size(np.broadcast_shapes(*listed))
    except ValueError as error:
        raise RuntimeError(f"broadcast_shapes: {listed} do not fit together ({error})") from None


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """互相广播，都不复制内存。"""
    shape = broadcast_shapes(*[t.array.shape for t in _checked(tensors, "broadcast_tensors")]) if tensors else ()
    return tuple([t.expand(shape) for t in tensors])


def block_diag(*tensors: Tensor) -> Tensor:
    """沿对角线排开，其余为 0；不足二维的当作一行。

    Raises:
        RuntimeError: 多于二维。
    """
    if not tensors:
        return Tensor.wrap(np.zeros((1, 0), dtypes.get_default_dtype().numpy))
    given = _checked(tensors, "block_diag")
    if any(t.array.ndim > 2 for t in given):
        raise RuntimeError(f"block_diag: inputs must have 2 or fewer dimensions, got {[t.array.shape for t in given]}")
    blocks = [_lifted(t, 2) for t in _together(given)]
    width, start, rows = sum(b.array.shape[1] for b in blocks), 0, []
    for block in blocks:
        n, m = block.array.shape
        left, right = (Tensor.wrap(np.zeros((n, w), block.array.dtype)) for w in (start, width - start - m))
        rows.append(cat([left, block, right], 1))
        start += m
    return cat(rows, 0)


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """各轴的坐标展成网格；``"xy"`` 交换前两轴。

    Raises:
        RuntimeError: 一个也没给、多于一维、dtype 不同，或 ``indexing`` 不认识。
    """
    listed = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    given = _checked(listed, "meshgrid")
    if any(t.array.ndim > 1 for t in given) or len({t.array.dtype for t in given}) > 1:
        seen = [(t.array.shape, t.dtype) for t in given]
        raise RuntimeError(f"meshgrid: expected 0D or 1D tensors of the same dtype, got {seen}")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", got {indexing!r}')
    shape = [t.array.size for t in given]
    lines = [t.reshape([-1 if j == i else 1 for j in range(len(shape))]) for i, t in enumerate(given)]
    grids = [line.expand(shape) for line in lines]
    return tuple([g.transpose(0, 1) for g in grids] if indexing == "xy" and len(grids) > 1 else grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """笛卡尔积：每行一种取法。

    Raises:
        RuntimeError: 一个也没给、不是一维，或 dtype 不同。
    """
    given = _checked(tensors, "cartesian_prod")
    if any(t.array.ndim != 1 for t in given):
        raise RuntimeError(f"cartesian_prod: expect 1D vectors, got shapes {[t.array.shape for t in given]}")
    if len(given) == 1:
        return given[0]
    return stack([g.flatten() for g in meshgrid(*given)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """从向量里取 ``r`` 个的全部组合，每行一种。

    Raises:
        RuntimeError: 不是一维，或 ``r`` 为负。
    """
    if input.array.ndim != 1 or r < 0:
        raise RuntimeError(f"combinations: expect a 1D vector and r >= 0, got shape {input.array.shape} and r={r}")
    if r == 0:
        return Tensor.wrap(np.empty(0, input.array.dtype))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.array.size), r)), dtype=np.int64).reshape(-1, r)
    return input[rows]  # type: ignore[no-any-return]


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """按长度切成几段；给列表则逐段指定。"""
    return tensor.split(split_size_or_sections, dim)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """展平的序号 → 各轴的下标。

    Raises:
        TypeError: 序号不是整数。
        ValueError: 形状里有负数。
    """
    sides = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if indices.array.dtype.kind not in "iu":
        raise TypeError(f"unravel_index: expected 'indices' to be integer dtype, but got {indices.dtype}")
    if min(sides, default=0) < 0:
        raise ValueError(f"unravel_index: 'shape' cannot have negative values, but got {sides}")
    steps = [math.prod(sides[i + 1 :]) for i in range(len(sides))]
    return tuple([Tensor.wrap(np.asarray(indices.array // s % n)) for s, n in zip(steps, sides, strict=True)])


@with_out
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """``condition ? input : other``；只给 ``condition`` 则返回非零元素的各轴下标。

    Raises:
        TypeError: ``condition`` 不是 Tensor，或另两个不是 Tensor 或数。
        RuntimeError: ``condition`` 不是布尔类型，或形状不能互相广播。
    """
    if not isinstance(condition, Tensor):
        raise TypeError(f"where(): condition must be a Tensor, not {type(condition).__name__}")
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    chosen = condition
    if condition.array.dtype == np.uint8:
        warnings.warn("where received a uint8 condition tensor; use a boolean condition", UserWarning, stacklevel=2)
        chosen = condition.bool()
    if chosen.array.dtype.kind != "b":
        raise RuntimeError(f"where expected condition to be a boolean tensor, got {condition.dtype}")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = _wrapped(input)
    pair = match(input, other)
    if pair is None:
        raise TypeError(f"where: expected tensors or numbers, got {type(input).__name__} and {type(other).__name__}")
    first, second = pair
    if not isinstance(first, Tensor):
        first = as_element(input, second.array.dtype)
    elif not isinstance(second, Tensor):
        second = as_element(other, first.array.dtype)
    operands = [x for x in (chosen, first, second) if isinstance(x, Tensor)]
    return ordered(apply(ew.where, (chosen, first, second), {}), *operands)


def _wrapped(number: Any) -> Any:
    """两边都是数时，第一个先变成 0 维 Tensor。"""
    if isinstance(number, float):
        return Tensor.wrap(np.asarray(number, dtypes.get_default_dtype().numpy))
    return Tensor.wrap(np.asarray(number)) if isinstance(number, (bool, int)) else number
