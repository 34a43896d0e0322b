"""把一批样本叠起来，或只把样本里的数组变成 Tensor。

流入：样本；流出：同样结构、里面是 Tensor 的一批。
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import as_tensor, tensor
from tinygrad_llm.joining import stack
from tinygrad_llm.tensor import Tensor

_REFUSED = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_collate(batch: Any) -> Any:
    """把一批样本叠起来：Tensor 与数组叠一根新轴，数变成 Tensor，元组、列表与字典逐项处理。

    Args:
        batch: 一列样本。

    Returns:
        同样结构的一批；元组变成列表，字符串原样成列。

    Raises:
        RuntimeError: 样本是长短不一的列表。
        TypeError: 样本是别的类型。
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SaUO":
            raise TypeError(_REFUSED.format(first.dtype))
        return default_collate([as_tensor(sample) for sample in batch])
    if isinstance(first, (np.bool_, np.number)):
        return as_tensor(np.stack(list(batch)))
    if isinstance(first, float):
        return tensor(list(batch), dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _mapping_like(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if not isinstance(first, Sequence):
        raise TypeError(_REFUSED.format(type(first)))
    if not hasattr(first, "_fields") and any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    return _sequence_like(first, [default_collate(column) for column in zip(*batch, strict=False)])


def default_convert(data: Any) -> Any:
    """把样本里的数组与 NumPy 数变成 Tensor，别的原样；元组变成列表。"""
    if isinstance(data, (np.ndarray, np.bool_, np.number)):
        return data if data.dtype.kind in "SaUO" else as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _mapping_like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _sequence_like(data, [default_convert(value) for value in data])
    return data


def _mapping_like(original: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """与 ``original`` 同类的映射；造不出来就用字典。"""
    if not isinstance(original, MutableMapping):
        return _or_plain(lambda: type(original)(values), values)  # type: ignore[call-arg]
    clone = copy.copy(original)
    clone.update(values)
    return clone


def _sequence_like(original: Sequence[Any], values: list[Any]) -> Any:
    """与 ``original`` 同类的序列；普通元组变成列表，造不出来也用列表。"""
    if isinstance(original, tuple):
        return type(original)(*values) if hasattr(original, "_fields") else values
    if not isinstance(original, MutableSequence):
        return _or_plain(lambda: type(original)(values), values)  # type: ignore[call-arg]
    clone = copy.copy(original)
    for i, value in enumerate(values):
        clone[i] = value
    return clone


def _or_plain(make: Callable[[], Any], plain: Any) -> Any:
    try:
        return make()
    except TypeError:  # 构造函数不收一个容器
        return plain
