"""``meta`` 设备：只有形状与类型、没有数据的数组；大模型先在这里搭好，再照文件里的权重分配内存。

流入：形状与 dtype；流出：标着 ``meta`` 的全 0 数组，内存到有人写它时才真的分配。标记写在 dtype 的 metadata 里，与
bfloat16 一样，切片、换形状、转置都自动带着它；算子的结果由 ``autograd/graph.py`` 补上标记。
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.ops.op import Array

_PAGES = 1 << 16
"""这么多字节起，直接向内核要还没有分配的页；``np.zeros`` 会用 malloc 手里的旧内存，逐个清零，模型有多大就占多大。"""


def is_meta(array: Any) -> bool:
    """有没有 ``meta`` 的标记。"""
    metadata = array.dtype.metadata
    return metadata is not None and metadata.get("device") == "meta"


def without_data(array: Array) -> Array:
    """同样形状与类型、标着 ``meta`` 的数组。"""
    extras.meta = True
    marked = {**dict(array.dtype.metadata or {}), "device": "meta"}
    dtype = np.dtype(array.dtype, metadata=marked)
    if array.nbytes < _PAGES:
        return np.zeros(array.shape, dtype)
    return np.ndarray(array.shape, dtype, mmap.mmap(-1, array.nbytes))


def unmarked(dtype: Any) -> Any:
    """去掉标记的 dtype。"""
    rest = {key: value for key, value in (dtype.metadata or {}).items() if key != "device"}
    plain = np.dtype(dtype.str)
    return np.dtype(plain, metadata=rest) if rest else plain


def any_meta(arrays: Iterable[Array]) -> bool:
    """算子的结果有没有数据：有一个操作数没有，结果就没有。

    Raises:
        RuntimeError: 有的有数据，有的没有；0 维的不计较。
    """
    marks = [(is_meta(array), array.ndim) for array in arrays]
    found = any(mark for mark, _ in marks)
    if found and any(ndim and not mark for mark, ndim in marks):
        raise RuntimeError("Expected all tensors to be on the same device, but found cpu and meta")
    return found


def refuse_meta(name: str, array: Array) -> None:
    """要读出数来的，不能是 ``meta``。

    Raises:
        RuntimeError: 没有数据。
    """
    if extras.meta and is_meta(array):
        raise RuntimeError(f"Tensor.{name}() cannot be called on meta tensors")


def refuse_copy(array: Array) -> None:
    """要把数据搬到别处的，不能是 ``meta``。

    Raises:
        NotImplementedError: 没有数据。
    """
    if extras.meta and is_meta(array):
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
            "torch.nn.Module.to() when moving module from meta to a different device."
        )
