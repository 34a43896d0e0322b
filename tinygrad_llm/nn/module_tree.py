"""遍历：子模块、参数与缓冲区的名字和次序，以及对整棵树做一件事。

流入：Module；流出：「点分名、成员」的迭代器。共用的成员缺省只出现一次。下一站：``module_hooks.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_llm.nn.parameter import Parameter
from tinygrad_llm.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_llm.nn.module import Module


class Tree:
    """遍历与对整棵树的操作。"""

    training: bool
    _modules: dict[str, Module | None]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """直接的子模块，每个只出现一次。"""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """直接的子模块，每个只出现一次。"""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """自己与所有后代。

        Args:
            memo: 已经给出过的 Module。
            prefix: 名字的前缀。
            remove_duplicate: 共用的 Module 是否只出现一次。
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """自己与所有后代。"""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """全部参数。

        Args:
            prefix: 名字的前缀。
            recurse: 是否连同后代。
            remove_duplicate: 共用的参数是否只出现一次。
        """
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """全部参数，每个只出现一次。"""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """全部缓冲区，参数同 ``named_parameters``。"""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """全部缓冲区，每个只出现一次。"""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named_members(self, table: str, prefix: str, recurse: bool, unique: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = self.named_modules(prefix=prefix, remove_duplicate=unique) if recurse else [(prefix, self)]
        for path, module in owners:
            for name, value in module.__dict__[table].items():
                if value is None or id(value) in seen:
                    continue
                if unique:
                    seen.add(id(value))
                yield _join(path, name), value

    # ---- 对整棵树做一件事

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """对所有后代与自己调用 ``fn``，先子后父。"""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Any:
        """切换训练状态（连同所有后代）。

        Raises:
            ValueError: ``mode`` 不是布尔值。
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """切换到评估状态。"""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """设定全部参数是否需要梯度。"""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """清掉全部参数的梯度。"""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    # ---- 打印

    def extra_repr(self) -> str:
        """打印时括号里的内容；子类可改写。"""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        if not children and len(extra_lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(extra_lines + children) + "\n)"


def indented(text: str, spaces: int = 2) -> str:
    """首行之外的各行缩进；空行留空。"""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * spaces + line if line.strip() else "" for line in rest)])


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """清掉一个参数的梯度：置 ``None``，或就地填 0；梯度自己还在图上时换成新的 0。"""
    grad = parameter.grad
    if set_to_none or grad is None:
        parameter.grad = None
    elif grad.requires_grad:
        parameter.grad = Tensor.wrap(np.zeros_like(grad.array))
    else:
        grad.zero_()
