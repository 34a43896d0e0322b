"""登记：参数、缓冲区与子模块怎样成为 Module 的一员，又怎样按名字取出来。

流入：``__setattr__`` 赋上来的东西；流出：三张有序的表。下一站：``module_tree.py``。
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tinygrad_llm.nn.parameter import Buffer, Parameter
from tinygrad_llm.tensor import Tensor
from tinygrad_llm.utils.hooks import HookTable

if TYPE_CHECKING:
    from tinygrad_llm.nn.module import Module

PARAMETER_HOOKS: HookTable = OrderedDict()
BUFFER_HOOKS: HookTable = OrderedDict()
MODULE_HOOKS: HookTable = OrderedDict()
"""对所有 Module 生效：登记一个参数、缓冲区、子模块之前，可以换掉它。"""

_TABLES = ("_parameters", "_buffers", "_modules")


def typename(value: Any) -> str:
    """类型的全名，报错时用。"""
    kind = value if isinstance(value, type) else type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _hooked(hooks: HookTable, owner: Any, name: str, value: Any) -> Any:
    for hook in hooks.values():
        changed = hook(owner, name, value)
        value = value if changed is None else changed
    return value


class Registry:
    """三张表与它们的存取。"""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

    def _check_name(self, kind: str, table: str, name: Any) -> None:
        """名字要能写成属性、不与别的属性重名；否则报错。"""
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in self.__dict__[table] and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """登记一个不训练的 Tensor；``persistent=False`` 则不进 ``state_dict``。

        Raises:
            AttributeError: 还没有调用 ``Module.__init__``。
            KeyError: 名字不合用或已被占用。
            TypeError: 不是 Tensor。
        """
        self._check_name("buffer", "_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = _hooked(BUFFER_HOOKS, self, name, tensor)
        self._non_persistent_buffers_set.discard(name)
        if not persistent:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """登记一个参数；``None`` 表示占位。

        Raises:
            AttributeError: 还没有调用 ``Module.__init__``。
            KeyError: 名字不合用或已被占用。
            TypeError: 不是 Parameter。
            ValueError: 不是叶子。
        """
        self._check_name("parameter", "_parameters", name)
        if param is None:
            self._parameters[name] = None
            return
        if not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. "
                f"To express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = _hooked(PARAMETER_HOOKS, self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """登记一个子模块。

        Raises:
            AttributeError: 还没有调用 ``Module.__init__``。
            KeyError: 名字不合用或已被占用。
            TypeError: 不是 Module。
        """
        if module is not None and not isinstance(module, Registry):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name("module", "_modules", name)
        self._modules[name] = _hooked(MODULE_HOOKS, self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """与 ``add_module`` 相同。"""
        self.add_module(name, module)

    # ---- 属性

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in tables:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, keep="_parameters")
            self.register_parameter(name, value)
        elif name in tables.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, None)
        elif isinstance(value, Registry):
            if "_modules" not in tables:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, keep="_modules")
            tables["_modules"][name] = _hooked(MODULE_HOOKS, self, name, value)
        else:
            self._set_other(name, value)

    def _set_other(self, name: str, value: Any) -> None:
        """赋的不是参数也不是 Module：改的可能是子模块、缓冲区，或普通属性。"""
        if name in self.__dict__.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = _hooked(MODULE_HOOKS, self, name, None)
            return
        known = name in self.__dict__.get("_buffers", ())
        if not known and not isinstance(value, Buffer):
            object.__setattr__(self, name, value)
            return
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"cannot assign '{typename(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None expected)"
            )
        if isinstance(value, Buffer):
            self.register_buffer(name, value, value.persistent)
        else:
            self.register_buffer(name, value, name not in self._non_persistent_buffers_set)

    def __getattr__(self, name: str) -> Any:
        for table in _TABLES:
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not any(name in self.__dict__[table] for table in _TABLES):
            object.__delattr__(self, name)
        self._forget(name, keep="")

    def _forget(self, name: str, keep: str) -> None:
        """从 ``keep`` 以外的表与普通属性里去掉一个名字。"""
        self.__dict__.pop(name, None)
        self._non_persistent_buffers_set.discard(name)
        for table in _TABLES:
            if table != keep:
                self.__dict__[table].pop(name, None)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in names if not name[0].isdigit())

    # ---- 按路径取

    def get_submodule(self, target: str) -> Module:
        """按点分路径取子模块；空路径就是自己。

        Raises:
            AttributeError: 路径上有一段不存在，或不是 Module。
        """
        module: Any = self
        for part in target.split(".") if target else ():
            module = _attribute(module, part)
            if not isinstance(module, Registry):
                raise AttributeError(f"`{part}` is not an nn.Module")
        return module  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """按点分路径换上一个子模块；``strict`` 时它必须已经存在。

        Raises:
            AttributeError: 路径不存在，或那里不是 Module。
            ValueError: 路径为空，或 ``module`` 不是 Module。
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Registry):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if (strict or hasattr(parent, name)) and not isinstance(_attribute(parent, name), Registry):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """按点分路径取参数。

        Raises:
            AttributeError: 路径不存在，或那里不是参数。
        """
        path, _, name = target.rpartition(".")
        found = _attribute(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """按点分路径取缓冲区。

        Raises:
            AttributeError: 路径不存在，或那里不是缓冲区。
        """
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        found = _attribute(owner, name)
        if name not in owner._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found  # type: ignore[no-any-return]


def _attribute(module: Any, name: str) -> Any:
    if not hasattr(module, name):
        raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
    return getattr(module, name)
