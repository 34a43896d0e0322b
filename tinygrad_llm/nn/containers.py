"""容器：把若干 Module 排成一列或起上名字。

流入：Module；流出：Module。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinygrad_llm.nn.module import Module


class Sequential(Module):
    """依次执行若干模块。"""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], Mapping) else enumerate(args)
        for name, module in named:
            self.register_module(str(name), module)

    def forward(self, input: Any) -> Any:
        """依次执行。"""
        for module in self:
            input = module(input)
        return input

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self._modules.values())[index]

    def append(self, module: Module) -> Sequential:
        """在末尾加一个模块。"""
        self.register_module(str(len(self)), module)
        return self


class ModuleList(Module):
    """一列子模块。"""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """在末尾加一个。"""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """在末尾加若干个。"""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        found: Any = list(self._modules.values())[index]
        return ModuleList(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module_at(index, module)

    def register_module_at(self, index: int, module: Module) -> None:
        """换掉第 ``index`` 个。"""
        self._modules[str(range(len(self))[index])] = module


class ModuleDict(Module):
    """一组有名字的子模块。"""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.register_module(name, module)

    def __getitem__(self, name: str) -> Module:
        found = self._modules[name]
        assert found is not None
        return found

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        """名字。"""
        return self._modules.keys()

    def values(self) -> Iterable[Module | None]:
        """子模块。"""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module | None]]:
        """名字与子模块。"""
        return self._modules.items()
