"""还没有读进来的张量：先知道形状与类型，轮到它时才读。

流入：一个读法；流出：与数组有同样几个属性的 ``LazyTensor``。写文件的一方先用形状排好头，再一个个地读、一个个地写，
内存里同时只有一个张量。下一个文件：``safetensors.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LazyTensor"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LazyTensor:
    """一个轮到它时才读出来的张量。

    Attributes:
        shape: 形状。
        dtype: ``read`` 交出的数组的类型。
        read: 读法；可以反复调用，每次从头读。
        is_bfloat16: ``read`` 交出的 ``uint16`` 是不是 bfloat16 的比特。
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]
    is_bfloat16: bool = False

    @property
    def nbytes(self) -> int:
        """字节数。"""
        return math.prod(self.shape) * self.dtype.itemsize
