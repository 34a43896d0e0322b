"""容器：把若干 Module 排成一列，或起上名字。

流入：Module；流出：Module。装参数的容器在 ``parameter_containers.py``。
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.module_tree import indented


def pairs_of(given: Any, what: str) -> Iterable[tuple[str, Any]]:
    """``update`` 的参数 → 名字与值：映射，或一串二元组。

    Raises:
        TypeError: 不可迭代，或其中一项不可迭代。
        ValueError: 其中一项的长度不是 2。
    """
    if not isinstance(given, Iterable):
        raise TypeError(
            f"{what}.update should be called with an iterable of key/value pairs, got {type(given).__name__}"
        )
    if isinstance(given, Mapping) or hasattr(given, "items"):
        return given.items()  # type: ignore[no-any-return]
    pairs: list[Any] = list(given)
    for i, pair in enumerate(pairs):
        if not isinstance(pair, Iterable):
            raise TypeError(f"{what} update sequence element #{i} should be Iterable; is {type(pair).__name__}")
        if len(tuple(pair)) != 2:
            raise ValueError(f"{what} update sequence element #{i} has length {len(tuple(pair))}; 2 is required")
    return pairs


class _Listed(Module):
    """以 ``"0"``、``"1"`` … 为名的一列子模块。"""

    def _position(self, index: Any) -> int:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"index {place} is out of range")
        return place % len(self)

    def _name(self, index: Any) -> str:
        return list(self._modules)[self._position(index)]

    def _renumber(self, modules: Iterable[Module]) -> None:
        self._modules = {str(i): module for i, module in enumerate(modules)}

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(cast("list[Module]", list(self._modules.values())))

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index if isinstance(index, slice) else self._position(index)]
        self._renumber(modules)

    def pop(self, key: int | slice) -> Any:
        """去掉并返回第 ``key`` 个（或一段）。"""
        found = self[key]  # type: ignore[index]
        del self[key]
        return found

    def append(self, module: Module) -> Any:
        """在末尾加一个。"""
        self.add_module(str(len(self)), module)
        return self


class Sequential(_Listed):
    """依次执行若干模块；参数是一串 Module，或一个有名字的 ``OrderedDict``。"""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        """依次执行。"""
        for module in self:
            input = module(input)
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._name(index)]

    def __add__(self, other: Any) -> Sequential:
        return Sequential(*self, *_sequential(other))

    def __iadd__(self, other: Any) -> Sequential:
        return self.extend(list(_sequential(other)))

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * _times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self.extend(list(self) * (_times(times) - 1))

    def insert(self, index: int, module: Module) -> Sequential:
        """插到第 ``index`` 个之前。

        Raises:
            AssertionError: 不是 Module。
            IndexError: 下标越界。
        """
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}, got {type(module).__name__}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def extend(self, sequential: Iterable[Module]) -> Sequential:
        """在末尾加若干个。"""
        for module in sequential:
            self.append(module)
        return self


def _sequential(other: Any) -> Sequential:
    if not isinstance(other, Sequential):
        raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
    return other


def _times(times: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"unsupported operand type(s) for *: Sequential and {type(times).__name__}")
    if times <= 0:
        raise ValueError(f"Non-positive multiplication factor {times} for Sequential")
    return times


class ModuleList(_Listed):
    """一列子模块；没有 ``forward``，怎样用由外面决定。"""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._modules[str(self._position(index))]

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def insert(self, index: int, module: Module) -> None:
        """插到第 ``index`` 个之前。"""
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """在末尾加若干个。

        Raises:
            TypeError: 不可迭代。
        """
        if not isinstance(modules, Iterable):
            raise TypeError(f"ModuleList.extend should be called with an iterable, but got {type(modules).__name__}")
        for module in list(modules):
            self.append(module)
        return self

    def __repr__(self) -> str:
        """连续几个打印出来一样的合成一行。"""
        runs: list[tuple[int, int, str]] = []
        for i, text in enumerate(repr(module) for module in self):
            start = runs.pop()[0] if runs and runs[-1][2] == text else i
            runs.append((start, i, text))
        if not runs:
            return f"{self._get_name()}()"
        lines = [
            indented(f"({start}): {text}" if start == stop else f"({start}-{stop}): {stop - start + 1} x {text}")
            for start, stop, text in runs
        ]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(Module):
    """一组有名字的子模块。"""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """全部去掉。"""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """去掉并返回一个。"""
        return self._modules.pop(key)

    def keys(self) -> Iterable[str]:
        """名字。"""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """子模块。"""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """名字与子模块。"""
        return self._modules.items()

    def update(self, modules: Any) -> None:
        """加入（或换掉）若干个：映射，或一串二元组。

        Raises:
            TypeError: 不可迭代，或其中一项不可迭代。
            ValueError: 其中一项的长度不是 2。
        """
        for name, module in pairs_of(modules, "ModuleDict"):
            self[name] = module
