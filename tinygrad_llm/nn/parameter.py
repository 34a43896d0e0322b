"""Parameter 与 Buffer：赋给 Module 的属性时自动登记的两种 Tensor。

流入：Tensor；流出：共享同一块内存的叶子。下一站：``module_registry.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.tensor import Tensor


def _leaf(self: Tensor, data: Tensor | None, requires_grad: bool) -> None:
    """让 ``self`` 成为与 ``data`` 共享内存的叶子；没有给就是空的一维 Tensor。"""
    source = Tensor.wrap(np.zeros(0, dtypes.get_default_dtype().numpy)) if data is None else data.detach()
    self.array = source.array
    self.requires_grad_(requires_grad)


class Parameter(Tensor):
    """会被优化器更新的 Tensor；赋给 Module 的属性时自动登记。

    Args:
        data: 初值，共享内存。
        requires_grad: 是否需要梯度。
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        _leaf(self, data, requires_grad)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        copy = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return copy

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """不训练、但随 Module 一起存取的 Tensor；赋给 Module 的属性时自动登记。

    Args:
        data: 初值，共享内存。
        persistent: 是否进 ``state_dict``。
    """

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        _leaf(self, data, data is not None and data.requires_grad)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        copy = memo[id(self)] = Buffer(self.detach().clone(), persistent=self.persistent)
        return copy
