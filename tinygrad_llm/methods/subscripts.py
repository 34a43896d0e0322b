"""下标的整理：torch 先用掉整数、切片、``None`` 与 ``...``，剩下的整数数组与布尔数组再一起取。

流入：``x[...]`` 里写的任何东西；流出：一个只有基本下标的元组，和一个只有数组与 ``:`` 的元组。
NumPy 把整数也当作数组，轴的次序会不同；分成两步就与 torch 相同。
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from operator import index as as_int
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.ops.op import Array

Key = tuple[Any, ...]
_WHOLE = slice(None)


def split_key(key: Any, shape: tuple[int, ...]) -> tuple[Key | None, Key | None]:
    """把一个下标分成「基本的」与「数组的」两步，不需要的一步为 ``None``。

    Raises:
        IndexError: 下标的个数或类型不对。
        TypeError: 下标不是数、切片或一串数。
        ValueError: 切片的步长不是正数。
    """
    parts = key if type(key) is tuple else (key,)
    ellipses = 0
    for part in parts:
        kind = type(part)
        if kind is slice:
            _check_step(part)
        elif part is Ellipsis:
            ellipses += 1
        elif kind is not int and part is not None:
            return _two_steps(key, shape)
    return (parts, None) if ellipses < 2 else _two_steps(key, shape)


def _check_step(part: slice) -> None:
    for bound in (part.start, part.stop):
        if bound is not None and type(bound) is not int:
            as_int(bound)
    if part.step is not None and as_int(part.step) < 1:
        raise ValueError(f"step must be greater than zero, got {part}")


def _two_steps(key: Any, shape: tuple[int, ...]) -> tuple[Key | None, Key | None]:
    parts = [_normal(part) for part in _as_tuple(key)]
    used = sum(part.ndim if is_mask(part) else part is not None and part is not Ellipsis for part in parts)
    rest = len(shape) - used
    if rest < 0:
        raise IndexError(f"too many indices for tensor of dimension {len(shape)} (got {used})")
    _check_masks(parts, shape, rest)
    basic: list[Any] = []
    places: list[Any] = []  # 第一步之后的每根轴：数组（掩码占它的各轴），或 ``:``
    for part in parts:
        if part is Ellipsis:
            basic += [_WHOLE] * rest
            places += [_WHOLE] * rest
            rest = 0  # 第二个 ``...`` 不再占轴
        elif isinstance(part, np.ndarray):
            if part.ndim == 0:  # 布尔标量：添一根长度为 1 或 0 的轴
                basic.append(None)
                part = np.zeros(int(part), dtype=np.int64)
            else:
                basic += [_WHOLE] * (part.ndim if part.dtype.kind == "b" else 1)
            places.append(part)
        else:
            basic.append(part)
            places += [] if isinstance(part, int) else [_WHOLE]
    plain = None if all(part == _WHOLE for part in basic if part is not None) and None not in basic else tuple(basic)
    arrays = tuple(places) if any(isinstance(part, np.ndarray) for part in places) else None
    return plain, arrays


def _check_masks(parts: list[Any], shape: tuple[int, ...], rest: int) -> None:
    """每个掩码与它所占的各轴一样长。"""
    place = 0
    for part in parts:
        if is_mask(part) and part.shape != shape[place : place + part.ndim]:
            raise IndexError(f"the mask of shape {part.shape} does not match {shape} at dimension {place}")
        if part is Ellipsis:
            place, rest = place + rest, 0
        elif part is not None:
            place += part.ndim if is_mask(part) else 1


def is_mask(part: Any) -> bool:
    """是不是布尔数组。"""
    return isinstance(part, np.ndarray) and part.dtype.kind == "b"


def _as_tuple(key: Any) -> Sequence[Any]:
    """不是元组的序列：里面又有序列、切片、``...``、``None`` 或 Tensor 时，torch 当作元组。"""
    if isinstance(key, tuple):
        return key
    if not isinstance(key, list) or len(key) >= 32:
        return (key,)
    if any(isinstance(p, (list, tuple, range, slice, graph.tensor_type)) or p is None or p is Ellipsis for p in key):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated; use x[tuple(seq)]",
            UserWarning,
            stacklevel=5,
        )
        return key
    return (key,)


def _normal(part: Any) -> Any:
    """一个下标：整数、切片、``None``、``...``，或整数、布尔数组（布尔标量是 0 维数组）。"""
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):
        _check_step(part)
        return part
    if isinstance(part, bool):
        return np.asarray(part)
    if isinstance(part, (int, np.integer)):
        return int(part)
    if isinstance(part, graph.tensor_type):
        return _from_array(part.array, (np.int64, np.int32))
    if isinstance(part, (list, tuple, range)):
        array = np.asarray(part.tolist() if isinstance(part, graph.tensor_type) else part)
        return _from_array(array.astype(np.int64) if array.size == 0 else array, (np.int64,))
    if isinstance(part, np.ndarray):
        return _from_array(part, (np.int64, np.int32, np.int16, np.int8))
    if isinstance(part, str):
        raise TypeError(f"a tensor cannot be indexed by the string {part!r}")
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte tensors are valid indices, "
        f"got {type(part).__name__}"
    )


def _from_array(array: Array, allowed: tuple[Any, ...]) -> Any:
    if array.dtype == np.uint8:
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
            UserWarning,
            stacklevel=6,
        )
        return array.astype(bool)
    if array.ndim == 0 and array.dtype.kind == "i":
        return int(array)
    if array.dtype.kind == "b" or array.dtype in allowed:
        return np.array(array)  # 留一份拷贝：反传之前下标被就地改写，梯度也不会加错地方
    raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {array.dtype}")
