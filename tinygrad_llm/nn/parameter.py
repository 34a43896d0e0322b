"""Parameter 与 Buffer：赋给 Module 的属性时自动登记的两种 Tensor。

流入：Tensor；流出：共享同一块内存的叶子。下一站：``module_registry.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.cpu import require_cpu
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


class _Uninitialized(Tensor):
    """大小还不知道的 Tensor：第一次前向时由 ``materialize`` 定下来，对象不变，优化器手里的引用仍然有效。"""

    becomes: type[Tensor] = Tensor

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """定下形状，内容未初始化。"""
        kind = self.array.dtype if dtype is None else dtypes.as_numpy(dtype)
        self.array = np.empty(tuple(shape), kind)
        self.__class__ = self.becomes  # type: ignore[assignment]

    @property
    def shape(self) -> Any:
        """还没有形状。

        Raises:
            RuntimeError: 总是。
        """
        raise RuntimeError("Can't access the shape of an uninitialized parameter or buffer; call `forward` first.")

    def numel(self) -> int:
        """还没有形状。

        Raises:
            ValueError: 总是。
        """
        raise ValueError("Attempted to use an uninitialized parameter in numel(); call `forward` first.")

    nelement = numel

    def touch(self) -> None:
        """还没有内存可写。

        Raises:
            ValueError: 总是。
        """
        raise ValueError("Attempted to write to an uninitialized parameter; call `forward` first.")

    def detach(self) -> Any:
        """还没有值可言，返回自己。"""
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """换 dtype；大小仍然不知道。"""
        found = super().to(*args, **kwargs)
        return found if found is self else type(self)(self.requires_grad, None, found.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """大小还不知道的 ``Parameter``。

    Args:
        requires_grad: 是否需要梯度。
        device: 只能是 CPU。
        dtype: 元素类型。
    """

    becomes = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        _hold(self, requires_grad, device, dtype)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        copy = memo[id(self)] = type(self)(self.requires_grad, None, self.dtype)
        return copy


class UninitializedBuffer(_Uninitialized):
    """大小还不知道的缓冲区。

    Args:
        requires_grad: 是否需要梯度。
        device: 只能是 CPU。
        dtype: 元素类型。
        persistent: 是否进 ``state_dict``。
    """

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        _hold(self, requires_grad, device, dtype)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        copy = memo[id(self)] = type(self)(self.requires_grad, None, self.dtype, self.persistent)
        return copy


def _hold(self: Tensor, requires_grad: bool, device: Any, dtype: Any) -> None:
    require_cpu(device)
    self.array = np.empty(0, dtypes.get_default_dtype().numpy if dtype is None else dtypes.as_numpy(dtype))
    self.requires_grad_(requires_grad)


def is_lazy(param: Any) -> bool:
    """大小是不是还不知道。"""
    return isinstance(param, _Uninitialized)
