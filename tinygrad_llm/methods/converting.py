"""Tensor 与 Python 数、NumPy 数组、别的 dtype 之间的转换，以及照自己的样子造新 Tensor。"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes, layouts
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.cpu import require_cpu
from tinygrad_llm.layouts import contiguous_format
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops.bfloat16 import is_bfloat16, same_dtype
from tinygrad_llm.ops.op import Array

_bool = bool


class Converting:
    """转换的方法。"""

    array: Array
    dtype: Any
    needs_grad: Any
    clone: Any

    def is_contiguous(self, memory_format: Any = contiguous_format) -> _bool:
        """内存是否按 ``memory_format`` 排布。"""
        return layouts.is_contiguous(self.array, memory_format)

    def item(self) -> Any:
        """唯一的元素，变成 Python 数。

        Raises:
            RuntimeError: 元素不止一个。
        """
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        return self.array.item()

    def tolist(self) -> Any:
        """变成嵌套列表。"""
        return self.array.tolist()

    def numpy(self) -> Array:
        """底下的数组（共享内存）。

        Raises:
            RuntimeError: 需要梯度；先 ``detach()``。
        """
        if self.needs_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if is_bfloat16(self.array.dtype):
            raise TypeError("NumPy has no bfloat16; use tensor.float().numpy()")
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(f"Boolean value of Tensor with {self.array.size} values is ambiguous")
        return bool(self.array.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iu":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.array.ndim == 0 else format(str(self), spec)

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False
    ) -> Any:
        """换 dtype（设备只能是 CPU）。

        Args:
            *args: dtype、设备或另一个 Tensor。
            dtype: 目标类型。
            device: 目标设备。
            non_blocking: 与 torch 同名，CPU 上没有异步拷贝。
            copy: 类型相同也复制。

        Returns:
            类型已经相同且不要求复制时返回自己。
        """
        for arg in args:
            if isinstance(arg, graph.tensor_type):
                dtype = arg.dtype
            elif isinstance(arg, dtypes.dtype):
                dtype = arg
            else:
                require_cpu(arg)
        require_cpu(device)
        wanted = dtypes.as_numpy(dtype)
        if wanted is None or same_dtype(wanted, self.array.dtype):
            return self.clone() if copy else self
        return apply(ew.cast, (self,), {"dtype": wanted})

    def type_as(self, other: Any) -> Any:
        """换成 ``other`` 的类型。"""
        return self.to(other.dtype)

    def float(self) -> Any:
        """换成 float32。"""
        return self.to(dtypes.float32)

    def double(self) -> Any:
        """换成 float64。"""
        return self.to(dtypes.float64)

    def half(self) -> Any:
        """换成 float16。"""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Any:
        """换成 bfloat16。"""
        return self.to(dtypes.bfloat16)

    def long(self) -> Any:
        """换成 int64。"""
        return self.to(dtypes.int64)

    def int(self) -> Any:
        """换成 int32。"""
        return self.to(dtypes.int32)

    def bool(self) -> Any:
        """换成布尔。"""
        return self.to(dtypes.bool)

    def cpu(self) -> Any:
        """已经在 CPU 上，返回自己。"""
        return self

    def new_zeros(self, *shape: Any) -> Any:
        """同类型的零张量。"""
        from tinygrad_llm.creation import zeros

        return zeros(*shape, dtype=self.dtype)

    def new_ones(self, *shape: Any) -> Any:
        """同类型的全一张量。"""
        from tinygrad_llm.creation import ones

        return ones(*shape, dtype=self.dtype)
