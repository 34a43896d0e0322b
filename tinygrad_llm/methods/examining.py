"""Tensor 的内存：步长、起点、地址与排布；都只看，不改。"""

from __future__ import annotations

from typing import Any, NoReturn

from tinygrad_llm import dtypes, layouts
from tinygrad_llm.cpu import DeviceError
from tinygrad_llm.layouts import contiguous_format
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.ops.meta import is_meta
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.shape import address


class Examining:
    """查看内存排布的方法与属性。"""

    array: Array

    def is_contiguous(self, memory_format: Any = contiguous_format) -> bool:
        """内存是否按 ``memory_format`` 排布。"""
        return layouts.is_contiguous(self.array, memory_format)

    def stride(self, dim: int | None = None) -> Any:
        """各轴的步长（以元素计），或某一轴的。

        Raises:
            IndexError: 轴号超出范围。
        """
        strides = layouts.strides_of(self.array)
        return strides if dim is None else strides[self._own_axis(dim)]

    def _own_axis(self, dim: int) -> int:
        if not self.array.ndim:
            raise IndexError("a 0-dim tensor has no dimensions to name")
        return axis(dim, self.array.ndim)

    def storage_offset(self) -> int:
        """第一个元素在整块内存里的位置（以元素计）。"""
        return layouts.storage_start(self.array)

    def data_ptr(self) -> int:
        """第一个元素的地址；没有元素时为 0。"""
        return address(self.array) if self.array.size else 0

    def is_set_to(self, tensor: Any) -> bool:
        """是否就是同一块内存、同样的形状与步长。"""
        mine, other = (t.array.__array_interface__["data"][0] for t in (self, tensor))
        same = self.array.shape == tensor.array.shape and self.array.dtype == tensor.array.dtype
        return bool(same and mine == other and self.array.strides == tensor.array.strides)

    def dim_order(self) -> tuple[int, ...]:
        """各轴在内存里由外到内的次序。"""
        order = layouts.copy_order(self.array, None)
        return tuple(range(self.array.ndim)) if order is None else order

    @property
    def nbytes(self) -> int:
        """全部元素的字节数。"""
        return int(self.array.size * dtypes.of(self.array).itemsize)

    @property
    def layout(self) -> layouts.layout:
        """存放方式，总是 ``strided``。"""
        return layouts.strided

    def ndimension(self) -> int:
        """轴数。"""
        return self.array.ndim

    def get_device(self) -> int:
        """GPU 的序号；在 CPU 上总是 -1。"""
        return -1

    def pin_memory(self) -> NoReturn:
        """锁页内存只对 GPU 有意义，与没有 GPU 的 torch 一样报错。

        Raises:
            RuntimeError: 总是。
        """
        raise RuntimeError("Cannot access accelerator device when none is available: pin_memory() needs a GPU")

    def cuda(self, *args: Any, **kwargs: Any) -> NoReturn:
        """没有 GPU，报错。

        Raises:
            DeviceError: 总是。
        """
        raise DeviceError("tinygrad_llm runs on the CPU only: guard .cuda() with cuda.is_available(), or use torch_llm")

    def is_pinned(self) -> bool:
        """从不锁页。"""
        return False

    @property
    def is_meta(self) -> bool:
        """是不是没有数据。"""
        return extras.meta and is_meta(self.array)

    @property
    def is_cpu(self) -> bool:
        """在不在 CPU 上。"""
        return not self.is_meta

    @property
    def is_cuda(self) -> bool:
        """从不在 GPU 上。"""
        return False

    @property
    def is_sparse(self) -> bool:
        """从不是稀疏的。"""
        return False

    @property
    def is_quantized(self) -> bool:
        """从不是量化的。"""
        return False
