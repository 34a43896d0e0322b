"""Tensor 与 Python 数、NumPy 数组、别的 dtype 之间的转换。

流入：Tensor；流出：Python 数、列表、NumPy 数组，或另一种 dtype 的 Tensor。
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_llm import dtypes, layouts
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.cpu import device as Device
from tinygrad_llm.cpu import is_on_meta
from tinygrad_llm.layouts import contiguous_format, preserve_format
from tinygrad_llm.methods.examining import Examining
from tinygrad_llm.methods.renewing import Renewing
from tinygrad_llm.methods.scalars import NUMBERS, as_element
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops.bfloat16 import extras, is_bfloat16, same_dtype
from tinygrad_llm.ops.meta import is_meta, refuse_copy, refuse_meta, without_data
from tinygrad_llm.ops.op import Array

LEGACY_NAMES = {
    "BFloat16Tensor": dtypes.bfloat16,
    "BoolTensor": dtypes.bool,
    "ByteTensor": dtypes.uint8,
    "CharTensor": dtypes.int8,
    "ComplexDoubleTensor": dtypes.complex128,
    "ComplexFloatTensor": dtypes.complex64,
    "DoubleTensor": dtypes.float64,
    "FloatTensor": dtypes.float32,
    "HalfTensor": dtypes.float16,
    "IntTensor": dtypes.int32,
    "LongTensor": dtypes.int64,
    "ShortTensor": dtypes.int16,
}
"""torch 早年的类型名 → dtype。"""


class Converting(Examining, Renewing):
    """转换的方法。"""

    array: Array
    dtype: Any
    needs_grad: Any
    clone: Any
    contiguous: Any
    detach: Any
    flip: Any

    def item(self) -> Any:
        """唯一的元素，变成 Python 数。

        Raises:
            RuntimeError: 元素不止一个。
        """
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        refuse_meta("item", self.array)
        return self.array.item()

    def tolist(self) -> Any:
        """变成嵌套列表。"""
        refuse_copy(self.array)
        return self.array.tolist()

    def numpy(self, *, force: bool = False) -> Array:
        """底下的数组（共享内存）。

        Args:
            force: 为真时先 ``detach()``。

        Raises:
            RuntimeError: 需要梯度而 ``force`` 为假。
        """
        if self.needs_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if is_bfloat16(self.array.dtype):
            raise TypeError("NumPy has no bfloat16; use tensor.float().numpy()")
        if extras.meta and is_meta(self.array):
            raise TypeError("can't convert meta device type tensor to numpy")
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(f"Boolean value of Tensor with {self.array.size} values is ambiguous")
        refuse_meta("item", self.array)
        return bool(self.array.item())

    def __float__(self) -> float:
        return float(as_element(self._only(), np.dtype(np.float64)))

    def __int__(self) -> int:
        value = self._only()
        return int(as_element(value, np.dtype(np.int64))) if isinstance(value, complex) else int(value)

    def _only(self) -> Any:
        if self.array.size != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, got {self.array.shape}")
        refuse_meta("item", self.array)
        return self.array.item()

    def __index__(self) -> int:
        if self.array.dtype.kind in "fc" or self.array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.array.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.array.ndim == 0 else format(str(self), spec)

    def __contains__(self, element: Any) -> bool:
        if not isinstance(element, (graph.tensor_type, *NUMBERS)):
            raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, got {type(element).__name__}")
        return bool(np.any((self == element).array))  # type: ignore[attr-defined]  # Tensor 的 == 逐元素比较

    def __reversed__(self) -> Any:
        return self.flip(0) if self.array.ndim else self

    def to(
        self,
        *args: Any,
        dtype: Any = None,
        device: Any = None,
        non_blocking: bool = False,
        copy: bool = False,
        memory_format: Any = None,
    ) -> Any:
        """换 dtype 或内存布局（设备只能是 CPU）。

        Args:
            *args: ``(dtype, non_blocking, copy)``、``(设备, dtype, non_blocking, copy)`` 或
                ``(另一个 Tensor, non_blocking, copy)``。
            dtype: 目标类型。
            device: 目标设备。
            non_blocking: 与 torch 同名，CPU 上没有异步拷贝。
            copy: 类型相同也复制。
            memory_format: 目标布局。

        Returns:
            什么也不必变、又不要求复制时返回自己。

        Raises:
            RuntimeError: 设备不是 CPU。
            TypeError: 参数的类型不对。
        """
        if args:
            dtype, device, copy = _positional(args, dtype, device, copy)
        if device is not None and is_on_meta(device) != self.is_meta:
            return self._moved(dtype)
        wanted = dtypes.as_numpy(dtype)
        found: Any = self
        if wanted is not None and not same_dtype(wanted, self.array.dtype):
            if self.array.dtype.kind == "c" and wanted.kind not in "cb":
                warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=2)
            source = self.contiguous() if 0 in self.array.strides else self
            found = apply(ew.cast, (source,), {"dtype": wanted})
            copy = False
        if memory_format not in (None, preserve_format, contiguous_format):
            if not layouts.is_contiguous(found.array, memory_format):
                return found.clone(memory_format=memory_format)
        elif memory_format is contiguous_format and (copy or found is not self):
            return found.contiguous() if found is not self else found.clone(memory_format=memory_format)
        return found.clone() if copy else found

    def _moved(self, dtype: Any) -> Any:
        """从 CPU 到 ``meta``：丢下数据。反过来没有数据可搬，报错。"""
        refuse_copy(self.array)
        return graph.tensor_type.wrap(without_data(self.to(dtype).array)).requires_grad_(self.needs_grad)

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """不给参数时返回早年的类型名；给 dtype、类型名或 ``FloatTensor`` 之类则换过去。

        Raises:
            ValueError: 不认识的类型。
        """
        if dtype is None:
            return next(f"torch.{name}" for name, found in LEGACY_NAMES.items() if found is self.dtype)
        found = LEGACY_NAMES.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
        found = getattr(found, "dtype", found)
        if not isinstance(found, dtypes.dtype):
            raise ValueError(f"invalid type: {dtype!r}")
        return self.to(found)

    def type_as(self, other: Any) -> Any:
        """换成 ``other`` 的类型。"""
        return self.to(other.dtype)

    def cpu(self, memory_format: Any = preserve_format) -> Any:
        """已经在 CPU 上，返回自己。"""
        refuse_copy(self.array)
        return self.to(memory_format=memory_format)

    def byte(self, memory_format: Any = preserve_format) -> Any:
        """换成 uint8。"""
        return self.to(dtypes.uint8, memory_format=memory_format)

    def char(self, memory_format: Any = preserve_format) -> Any:
        """换成 int8。"""
        return self.to(dtypes.int8, memory_format=memory_format)

    def short(self, memory_format: Any = preserve_format) -> Any:
        """换成 int16。"""
        return self.to(dtypes.int16, memory_format=memory_format)

    def int(self, memory_format: Any = preserve_format) -> Any:
        """换成 int32。"""
        return self.to(dtypes.int32, memory_format=memory_format)

    def long(self, memory_format: Any = preserve_format) -> Any:
        """换成 int64。"""
        return self.to(dtypes.int64, memory_format=memory_format)

    def half(self, memory_format: Any = preserve_format) -> Any:
        """换成 float16。"""
        return self.to(dtypes.float16, memory_format=memory_format)

    def bfloat16(self, memory_format: Any = preserve_format) -> Any:
        """换成 bfloat16。"""
        return self.to(dtypes.bfloat16, memory_format=memory_format)

    def float(self, memory_format: Any = preserve_format) -> Any:
        """换成 float32。"""
        return self.to(dtypes.float32, memory_format=memory_format)

    def double(self, memory_format: Any = preserve_format) -> Any:
        """换成 float64。"""
        return self.to(dtypes.float64, memory_format=memory_format)

    def bool(self, memory_format: Any = preserve_format) -> Any:
        """换成布尔。"""
        return self.to(dtypes.bool, memory_format=memory_format)


def _positional(args: tuple[Any, ...], dtype: Any, device: Any, copy: bool) -> tuple[Any, Any, bool]:
    """``to`` 的按位置的参数：第一个是 dtype、设备或 Tensor，其后是 ``non_blocking`` 与 ``copy``。"""
    first, rest = args[0], list(args[1:])
    if isinstance(first, graph.tensor_type):
        dtype = first.dtype
    elif isinstance(first, (dtypes.dtype, type)):
        dtype = first
    elif first is None or isinstance(first, (str, Device)):
        device = first
        if rest and (rest[0] is None or isinstance(rest[0], (dtypes.dtype, type))):
            dtype = rest.pop(0)
    else:
        raise TypeError(f"to() received an invalid argument of type {type(first).__name__}")
    if len(rest) > 2:
        raise TypeError(f"to() takes at most 2 more positional arguments (non_blocking, copy), got {len(rest)}")
    return dtype, device, rest[1] if len(rest) == 2 else copy
