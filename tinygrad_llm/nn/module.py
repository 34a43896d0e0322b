"""Module：参数、缓冲区与子模块组成的树。

流入：``__setattr__`` 赋上来的参数与子模块；流出：``state_dict``、``parameters``、``train``。下一站：``layers.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.tensor import RemovableHandle, Tensor


class Parameter(Tensor):
    """会被优化器更新的 Tensor；赋给 Module 的属性时自动登记。

    Args:
        data: 初值，共享内存。
        requires_grad: 是否需要梯度。
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        self.array = data.array
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class LoadResult(NamedTuple):
    """``load_state_dict(strict=False)`` 的结果。

    Attributes:
        missing_keys: 模型有、文件没有。
        unexpected_keys: 文件有、模型没有。
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """神经网络模块的基类：子类写 ``__init__``（先调 ``super().__init__()``）与 ``forward``。

    Attributes:
        training: 是否处于训练状态（影响 Dropout）。
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        fresh: dict[str, Any] = {
            "training": True, "_parameters": {}, "_buffers": {}, "_modules": {}, "_transient": set(),
            "_forward_hooks": [], "_forward_pre_hooks": [],
        }  # fmt: skip
        self.__dict__.update(fresh)

    def __setattr__(self, name: str, value: Any) -> None:
        tables = (("_parameters", Parameter), ("_modules", Module))
        for table, kind in tables:
            if isinstance(value, kind):
                if table not in self.__dict__:
                    raise AttributeError(f"cannot assign {kind.__name__.lower()} before Module.__init__() call")
                self._forget(name)
                self.__dict__[table][name] = value
                return
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                if table == "_parameters" and value is not None:
                    raise TypeError(
                        f"cannot assign {type(value).__name__} as parameter {name!r} (Parameter or None expected)"
                    )
                self.__dict__[table][name] = value
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def _forget(self, name: str) -> bool:
        found = False
        for table in ("_parameters", "_buffers", "_modules"):
            found |= self.__dict__[table].pop(name, self) is not self
        self.__dict__.pop(name, None)
        return found

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """登记一个不训练的 Tensor；``persistent=False`` 则不进 ``state_dict``。"""
        self._forget(name)
        self._buffers[name] = tensor
        self.__dict__["_transient"].discard(name)
        if not persistent:
            self.__dict__["_transient"].add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """登记一个参数；``None`` 表示占位。"""
        self._forget(name)
        self._parameters[name] = param

    def register_module(self, name: str, module: Module | None) -> None:
        """登记一个子模块。"""
        self._forget(name)
        self._modules[name] = module

    add_module = register_module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """前向；由子类实现。"""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """前向，连同登记的钩子。"""
        for pre_hook in self.__dict__["_forward_pre_hooks"]:
            changed = pre_hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in self.__dict__["_forward_hooks"]:
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """前向之后调用 ``hook(module, args, output)``；返回值不为 ``None`` 则替换输出。"""
        self.__dict__["_forward_hooks"] = [*self.__dict__["_forward_hooks"], hook]
        return _ListHandle(self, "_forward_hooks", hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """前向之前调用 ``hook(module, args)``；返回值不为 ``None`` 则替换参数。"""
        self.__dict__["_forward_pre_hooks"] = [*self.__dict__["_forward_pre_hooks"], hook]
        return _ListHandle(self, "_forward_pre_hooks", hook)

    # ---- 遍历

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """直接的子模块。"""
        yield from ((n, m) for n, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        """直接的子模块。"""
        yield from (m for _, m in self.named_children())

    def named_modules(self, memo: set[int] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """自己与所有后代，每个只出现一次。"""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """自己与所有后代。"""
        yield from (m for _, m in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """全部参数；共用的参数只出现一次（``remove_duplicate``）。"""
        yield from self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """全部参数。"""
        yield from (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """全部缓冲区。"""
        yield from self._named("_buffers", prefix, recurse, True)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """全部缓冲区。"""
        yield from (b for _, b in self.named_buffers(recurse=recurse))

    def _named(self, table: str, prefix: str, recurse: bool, unique: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self._paths(prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[table].items():
                if value is None or (unique and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def _paths(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """与 ``named_modules`` 相同，但共用的模块每条路径都出现。"""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._paths(f"{prefix}.{name}" if prefix else name)

    def get_submodule(self, target: str) -> Module:
        """按点分路径取子模块。"""
        module: Any = self
        for part in filter(None, target.split(".")):
            module = getattr(module, part)
        return module  # type: ignore[no-any-return]

    # ---- 状态

    def state_dict(self, *, prefix: str = "") -> dict[str, Tensor]:
        """全部参数与持久缓冲区，名字到（不在图上的）Tensor；与参数共享内存。"""
        result = {}
        for path, module in self._paths(prefix.rstrip(".")):
            transient = module.__dict__["_transient"]
            for name, value in {**module._parameters, **module._buffers}.items():
                if value is not None and name not in transient:
                    result[f"{path}.{name}" if path else name] = value.detach()
        return result

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> LoadResult:
        """按名字装入数值。

        Args:
            state_dict: 名字到 Tensor。
            strict: 名字必须一一对应。
            assign: 直接换成给来的 Tensor，而不是拷进现有内存。

        Returns:
            缺的名字与多的名字。

        Raises:
            RuntimeError: 名字对不上（``strict``）或形状不同；一次列出全部问题。
        """
        own = self.state_dict()
        missing = [n for n in own if n not in state_dict]
        unexpected = [n for n in state_dict if n not in own]
        problems = [
            f"size mismatch for {n}: checkpoint {tuple(state_dict[n].shape)}, model {tuple(own[n].shape)}"
            for n in own
            if n in state_dict and state_dict[n].shape != own[n].shape
        ]
        if strict and missing:
            problems.append(f"Missing key(s) in state_dict: {missing}")
        if strict and unexpected:
            problems.append(f"Unexpected key(s) in state_dict: {unexpected}")
        if problems:
            details = "\n\t".join(problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{details}")
        for path, module in self._paths(""):
            for name, value in {**module._parameters, **module._buffers}.items():
                full = f"{path}.{name}" if path else name
                if value is not None and full in own and full in state_dict:
                    _load(value, state_dict[full], assign)
        return LoadResult(missing, unexpected)

    def train(self, mode: bool = True) -> Any:
        """切换训练状态（连同所有后代）。"""
        for module in self.modules():
            module.__dict__["training"] = mode
        return self

    def eval(self) -> Any:
        """切换到评估状态。"""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """清掉全部参数的梯度。"""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """设定全部参数是否需要梯度。"""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """对所有后代与自己调用 ``fn``，先子后父。"""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """换 dtype（只换浮点的参数与缓冲区）；设备只能是 CPU。"""
        with no_grad():
            for module in self.modules():
                for value in [*module._parameters.values(), *module._buffers.values()]:
                    if value is not None and value.is_floating_point():
                        value.array = value.detach().to(*args, **kwargs).array
                        value.grad = None if value.grad is None else value.grad.to(*args, **kwargs)
        return self

    def float(self) -> Any:
        """换成 float32。"""
        return self.to(dtypes.float32)

    def double(self) -> Any:
        """换成 float64。"""
        return self.to(dtypes.float64)

    def extra_repr(self) -> str:
        """打印时括号里的内容；子类可改写。"""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        name = type(self).__name__
        return f"{name}({self.extra_repr()})" if not lines else name + "(\n  " + "\n  ".join(lines) + "\n)"


def _load(target: Tensor, source: Tensor, assign: bool) -> None:
    if assign:
        target.array = source.array
    else:
        target.array[...] = np.asarray(source.array, dtype=target.array.dtype)
        target.touch()


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """清掉一个参数的梯度：置 ``None``，或就地填 0。"""
    if set_to_none:
        parameter.grad = None
    elif parameter.grad is not None:
        parameter.grad = Tensor.wrap(np.zeros_like(parameter.grad.array))


class _ListHandle(RemovableHandle):
    """Module 的钩子存在 ``__dict__`` 的列表里。"""

    def remove(self) -> None:
        """摘掉钩子。"""
        hooks = self.owner.__dict__[self.attribute]
        self.owner.__dict__[self.attribute] = [h for h in hooks if h is not self.hook]
