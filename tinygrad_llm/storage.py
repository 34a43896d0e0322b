"""``torch.storage``：张量底下的那块内存，几个视图共用一块。

流入：Tensor；流出：一串按内存次序排列的元素或字节，可读可写，改了它，共用它的张量都变。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.absent import attributes
from tinygrad_llm.cpu import CPU, device
from tinygrad_llm.ops.bfloat16 import is_bfloat16
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.shape import address, storage_of


class _Storage:
    """一块内存，看作一维数组。"""

    def __init__(self, values: Array) -> None:
        self.values = values

    @property
    def device(self) -> device:
        """总在 CPU 上。"""
        return CPU

    @property
    def is_cuda(self) -> bool:
        """从不在 GPU 上。"""
        return False

    def size(self) -> int:
        """元素的个数。"""
        return len(self.values)

    __len__ = size

    def element_size(self) -> int:
        """每个元素的字节数。"""
        return self.values.itemsize

    def nbytes(self) -> int:
        """字节数。"""
        return self.size() * self.element_size()

    def data_ptr(self) -> int:
        """开头的地址。"""
        return address(self.values)

    @property
    def _cdata(self) -> int:
        return self.data_ptr()

    def is_shared(self) -> bool:
        """不与别的进程共用。"""
        return False

    def tolist(self) -> list[Any]:
        """全部元素。"""
        return self.values.tolist()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        return self.values[self._checked(index)].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[index if isinstance(index, slice) else self._checked(index)] = value

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} out of range for storage of size {len(self)}")
        return index

    def fill_(self, value: Any) -> Any:
        """全部写成 ``value``。"""
        self.values[...] = value
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> Any:
        """把另一块内存的元素搬进来。"""
        self.values[...] = source.values
        return self

    def clone(self) -> Any:
        """拷贝一份。"""
        return type(self)(self.values.copy())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Storage) and (self.data_ptr(), len(self)) == (other.data_ptr(), len(other))

    __hash__ = None  # type: ignore[assignment]

    def _shown(self, about: str) -> str:
        lines = [f" {value}" for value in self.tolist()]
        return "\n".join([*lines, f"[torch.storage.{type(self).__name__}({about}device=cpu) of size {len(self)}]"])


class UntypedStorage(_Storage):
    """一块内存的各个字节。"""

    def __getitem__(self, index: Any) -> Any:
        return UntypedStorage(self.values[index]) if isinstance(index, slice) else super().__getitem__(index)

    def __repr__(self) -> str:
        return self._shown("")


class TypedStorage(_Storage):
    """一块内存的各个元素。

    Attributes:
        dtype: 元素类型。
    """

    @property
    def dtype(self) -> dtypes.dtype:
        """元素类型。"""
        return dtypes.of(self.values)

    def element_size(self) -> int:
        """每个元素的字节数。"""
        return self.dtype.itemsize

    def untyped(self) -> UntypedStorage:
        """同一块内存的各个字节。

        Raises:
            RuntimeError: bfloat16 在这里存成 float32，没有自己的字节。
        """
        if is_bfloat16(self.values.dtype):
            raise RuntimeError("bfloat16 lives in float32 memory here, its bytes cannot be shown")
        return UntypedStorage(self.values.view(np.uint8))

    def __repr__(self) -> str:
        return self._shown(f"dtype={self.dtype}, ")


def storage(array: Array) -> TypedStorage:
    """数组底下的整块内存。"""
    owner = storage_of(array)
    steps = (owner.itemsize,)
    return TypedStorage(np.lib.stride_tricks.as_strided(owner, (owner.size,), steps).view(array.dtype))


__getattr__ = attributes(__name__)
