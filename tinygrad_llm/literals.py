"""``tensor(...)`` 的字面量：数、嵌套的列表、NumPy 数组与 Tensor 变成数组，并推断元素类型。

流入：任何 Python 值与（可有可无的）目标类型；流出：新的 NumPy 数组。规则同 torch：Python 浮点取缺省浮点类型，
NumPy 与 Tensor 的元素保留自己的类型，混在一起时取装得下它们的类型。
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.methods.scalars import as_element
from tinygrad_llm.ops.op import Array

_PLAIN = {bool, int, float, complex}


def to_array(data: Any, dtype: Any = None) -> Array:
    """``data`` 的一份拷贝，变成数组。

    Args:
        data: 数、序列、NumPy 数组或 Tensor。
        dtype: 目标 NumPy dtype；``None`` 则推断。

    Returns:
        新的数组。

    Raises:
        TypeError: 元素类型不支持，或有的元素是序列、有的不是。
        ValueError: 嵌套的长短不一，整数放不进 64 位，或 NumPy 数组的步长为负。
        RuntimeError: 推断不出类型，或目标类型放不下。
    """
    if isinstance(data, graph.tensor_type):
        return _astype(np.array(data.array, order="C"), dtype)
    if isinstance(data, np.ndarray):
        return _astype(np.array(supported(data), order="K"), dtype)
    if isinstance(data, np.generic):
        return _astype(supported(np.asarray(data)), dtype)
    if isinstance(data, (bool, int, float, complex)):
        return _from_numbers(data, {type(data)}, dtype)
    if isinstance(data, str):
        raise TypeError(f"tensor(): invalid data type 'str': {data[:20]!r}")
    if isinstance(data, (set, dict)) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    listed = data if isinstance(data, (list, tuple)) else list(data)
    leaves = _leaves(listed)
    types = set(map(type, leaves))
    if types <= _PLAIN:
        return _from_numbers(listed, types, dtype)
    return _from_mixture(listed, leaves, dtype)


def supported(array: Array) -> Array:
    """核对 NumPy 数组的 dtype、步长与字节序。

    Raises:
        TypeError: dtype 不支持。
        ValueError: 步长为负，或字节序不同。
    """
    if not array.dtype.isnative:
        raise ValueError(f"given numpy array has byte order different from the native byte order: {array.dtype}")
    dtypes.of(array)
    if any(step < 0 for step in array.strides):
        raise ValueError(f"given numpy array has a negative stride {array.strides}; make a copy() of it first")
    return array


def _leaves(listed: Any) -> list[Any]:
    """最里层的元素。"""
    level = list(listed)
    while any(isinstance(part, (list, tuple, range)) for part in level):
        if not all(isinstance(part, (list, tuple, range)) for part in level):
            raise TypeError("tensor(): not a sequence: some elements are sequences, others are not")
        level = list(itertools.chain.from_iterable(level))
    return level


def _from_numbers(data: Any, types: set[type], dtype: Any) -> Array:
    """只有 Python 数。"""
    kind = next((k for k in (complex, float, int) if k in types), bool)
    if not types:
        return _nested(data, dtypes.get_default_dtype().numpy if dtype is None else dtype)
    try:
        natural = _nested(data, {complex: np.complex128, float: np.float64, int: np.int64, bool: np.bool_}[kind])
    except OverflowError:
        raise ValueError("tensor(): Overflow when unpacking long long") from None
    if kind is complex and dtype is not None and dtype.kind != "c":
        raise TypeError(f"tensor(): must be real number, not complex, for {dtype}")
    defaults = {complex: dtypes.default_complex(), float: dtypes.get_default_dtype()}
    return _checked(natural, (defaults[kind].numpy if kind in defaults else natural.dtype) if dtype is None else dtype)


def _nested(data: Any, dtype: Any) -> Array:
    try:
        return np.array(data, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"tensor(): expected sequences of the same length at each depth ({error})") from None


def _from_mixture(listed: Any, leaves: list[Any], dtype: Any) -> Array:
    """有 Tensor、NumPy 标量或 NumPy 数组：逐个取类型，合成一种。"""
    found = [_dtype_of(leaf) for leaf in leaves]
    common = found[0]
    for other in found[1:]:
        common = dtypes.promote(np.empty(1, common), np.empty(1, other))
    return _astype(_nested(_plain(listed), common), dtype)


def _dtype_of(leaf: Any) -> Any:
    if isinstance(leaf, graph.tensor_type):
        if leaf.array.size != 1:
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, got shape {leaf.array.shape}"
            )
        return leaf.array.dtype
    if isinstance(leaf, (np.ndarray, np.generic)):
        return supported(np.asarray(leaf)).dtype
    if isinstance(leaf, complex):
        return dtypes.default_complex().numpy
    for kind, wanted in ((bool, np.bool_), (int, np.int64), (float, dtypes.get_default_dtype().numpy)):
        if isinstance(leaf, kind):
            return np.dtype(wanted)
    if isinstance(leaf, str):
        raise ValueError(f"tensor(): too many dimensions 'str': {leaf[:20]!r}")
    raise RuntimeError(f"Could not infer dtype of {type(leaf).__name__}")


def _plain(part: Any) -> Any:
    if isinstance(part, (list, tuple, range)):
        return [_plain(inner) for inner in part]
    return part.array.item() if isinstance(part, graph.tensor_type) else part


def _checked(array: Array, dtype: Any) -> Array:
    """Python 数换成 ``dtype``；整数类型放不下时报错，浮点放不下时成为 inf。"""
    if dtype.kind in "iu" and array.size:
        with np.errstate(invalid="ignore"):
            for extreme in (array.min(), array.max()):
                as_element(extreme, dtype)
    return _astype(array, dtype)


def _astype(array: Array, dtype: Any) -> Array:
    if dtype is None or array.dtype == dtype:
        return array
    if array.dtype.kind == "c" and dtype.kind not in "cb":
        array = array.real
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind == "u" and array.dtype.kind == "f":
            array = array.astype(np.int64)  # 负的小数先截断再回绕
        return array.astype(dtype)
