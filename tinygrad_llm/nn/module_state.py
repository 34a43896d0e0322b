"""存取：Module 的全部参数与持久缓冲区，变成一个字典，再从字典装回来。

流入：Module 或 ``state_dict``；流出：``state_dict`` 或装载的结果。文件格式见 ``common/safetensors.py``。
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.nn.parameter import Parameter, is_lazy
from tinygrad_llm.tensor import Tensor
from tinygrad_llm.utils.hooks import HookTable, RemovableHandle, register

if TYPE_CHECKING:
    from tinygrad_llm.nn.module import Module

EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """``load_state_dict`` 的结果。

    Attributes:
        missing_keys: 模型有、字典没有。
        unexpected_keys: 字典有、模型没有。
    """

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class StateDict(OrderedDict[str, Any]):
    """``state_dict()`` 的结果：有序字典，另带各个 Module 的版本。"""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._metadata: dict[str, dict[str, Any]] = OrderedDict()

    def __repr__(self) -> str:
        return repr(OrderedDict(self))  # 印出来与 torch 的一样


class State:
    """存取与它的钩子。"""

    _version: int = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: HookTable
    _state_dict_pre_hooks: HookTable
    _load_state_dict_pre_hooks: HookTable
    _load_state_dict_pre_hooks_with_module: dict[int, bool]
    _load_state_dict_post_hooks: HookTable

    def get_extra_state(self) -> Any:
        """``state_dict`` 里除参数与缓冲区之外的状态；与 ``set_extra_state`` 一同改写才有用。"""
        raise RuntimeError("Module.get_extra_state() should never be called unless a subclass defines it")

    def set_extra_state(self, state: Any) -> None:
        """装回 ``get_extra_state`` 的结果。"""
        raise RuntimeError("Module.set_extra_state() should never be called unless a subclass defines it")

    # ---- 存

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """全部参数与持久缓冲区，名字到 Tensor；与参数共享内存。

        Args:
            *args: ``destination``、``prefix``、``keep_vars``，不推荐按位置给。
            destination: 写进哪个字典；缺省新建一个。
            prefix: 名字的前缀，以 ``.`` 结尾。
            keep_vars: 给出参数本身，而不是不在图上的那一份。

        Returns:
            ``destination``。
        """
        if args:
            message = "Positional args are being deprecated, use kwargs instead (Module.state_dict)."
            warnings.warn(message, FutureWarning, stacklevel=2)
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            destination = given["destination"] if destination is None else destination
            prefix, keep_vars = prefix or given.get("prefix", ""), keep_vars or given.get("keep_vars", False)
        destination = StateDict() if destination is None else destination
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            destination = _after_saving(hook, self, destination, prefix, metadata)
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """把自己（不含后代）的状态写进 ``destination``；子类可改写。"""
        for name, value in self._local_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not State.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def _local_state(self) -> dict[str, Any]:
        """自己的参数与持久缓冲区。"""
        lasting = {k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}
        return {k: v for k, v in {**self._parameters, **lasting}.items() if v is not None}

    # ---- 取

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """按名字装入数值。

        Args:
            state_dict: 名字到 Tensor。
            strict: 名字必须一一对应。
            assign: 换成给来的 Tensor，而不是拷进现有内存；此后要重建优化器。

        Returns:
            缺的名字与多的名字。

        Raises:
            RuntimeError: 名字对不上（``strict``）或形状不同；一次列出全部问题，对得上的已经装入。
            TypeError: ``state_dict`` 不是字典。
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        local = StateDict(state_dict)  # 钩子可以改这一份
        local._metadata = {} if metadata is None else metadata
        keys, problems = IncompatibleKeys([], []), _Problems([])
        _load_tree(self, local, "", assign, local._metadata, keys, problems)
        if strict:
            _prepend(problems, "Unexpected", keys.unexpected_keys)
            _prepend(problems, "Missing", keys.missing_keys)
        if problems:
            details = "\n\t".join(problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{details}")
        return keys

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """装入自己（不含后代）的状态；子类可改写。"""
        for key, hook in self._load_state_dict_pre_hooks.items():
            owner = (self,) if key in self._load_state_dict_pre_hooks_with_module else ()
            hook(*owner, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = self._local_state()
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, value in own.items():
            if prefix + name in state_dict:
                problem = _load_one(self, name, value, state_dict[prefix + name], prefix + name, assign)
                error_msgs += [problem] if problem else []
            elif strict:
                missing_keys.append(prefix + name)
        extra = prefix + EXTRA_STATE
        takes_extra = type(self).set_extra_state is not State.set_extra_state
        if takes_extra and extra in state_dict:
            self.set_extra_state(state_dict[extra])
        elif takes_extra and strict:
            missing_keys.append(extra)
        if strict:
            known = {*own, EXTRA_STATE} if takes_extra else set(own)
            unexpected_keys += [k for k in state_dict if k.startswith(prefix) and not self._knows(k, prefix, known)]

    def _knows(self, key: str, prefix: str, own: set[str]) -> bool:
        first, dot, _ = key[len(prefix) :].partition(".")
        return first in (self._modules if dot else own)

    # ---- 钩子

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """存之前调用 ``hook(module, prefix, keep_vars)``。"""
        return register(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """存之后调用 ``hook(module, state_dict, prefix, local_metadata)``，只可就地改。"""
        hook._from_public_api = True  # type: ignore[attr-defined]  # 与 torch 同名：不许有返回值的那一种
        return register(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """同上，但返回值不为 ``None`` 时换掉整个字典。"""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered via "
                "register_state_dict_post_hook"
            )
        return register(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """装之前调用 ``hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)``。"""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        marks = [self._load_state_dict_pre_hooks_with_module] if with_module else []
        return register(self._load_state_dict_pre_hooks, hook, marks=marks)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """装之后调用 ``hook(module, incompatible_keys)``，可就地增删两张名单。"""
        return register(self._load_state_dict_post_hooks, hook)


_Problems = list[str]


def _after_saving(hook: Callable[..., Any], module: Any, destination: Any, prefix: str, metadata: Any) -> Any:
    changed = hook(module, destination, prefix, metadata)
    if changed is not None and getattr(hook, "_from_public_api", False):
        raise RuntimeError("state_dict post-hook must return None")
    return destination if changed is None else changed


def _load_tree(
    module: Any, state: Any, prefix: str, assign: bool, metadata: Any, keys: IncompatibleKeys, problems: _Problems
) -> None:
    """先装自己，再装后代。"""
    local = metadata.get(prefix[:-1], {})
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(state, prefix, local, True, keys.missing_keys, keys.unexpected_keys, problems)
    parts: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        parts.setdefault(key[len(prefix) :].partition(".")[0], {})[key] = value
    for name, child in module._modules.items():
        if child is not None:
            _load_tree(child, parts.get(name, {}), f"{prefix}{name}.", assign, metadata, keys, problems)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, keys) is not None:
            raise AssertionError(
                "Hooks registered with register_load_state_dict_post_hook are not expected to return new values; "
                "modify incompatible_keys in place."
            )


@no_grad
def _load_one(module: Any, name: str, own: Tensor, given: Any, key: str, assign: bool) -> str:
    """装一个 Tensor；装不下就返回原因。"""
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(given)}"
        )
    if is_lazy(own):  # 两边的大小都还不知道，没有什么可装
        return ""
    if own.ndim == 0 and given.shape == (1,):
        given = given[0]
    if given.shape != own.shape:
        return (
            f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
            f"the shape in current model is {own.shape}."
        )
    if not assign:
        if own.is_meta and not given.is_meta:
            message = f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter is a no-op"
            warnings.warn(message + " (did you mean to pass assign=True?)", stacklevel=2)
        own.copy_(given)
    elif isinstance(own, Parameter) and not isinstance(given, Parameter):
        setattr(module, name, Parameter(given, own.requires_grad))
    elif isinstance(own, Parameter):
        setattr(module, name, given.requires_grad_(own.requires_grad))
    else:
        setattr(module, name, given)
    return ""


def _prepend(problems: _Problems, kind: str, keys: list[str]) -> None:
    if keys:
        names = ", ".join(f'"{key}"' for key in keys)
        problems.insert(0, f"{kind} key(s) in state_dict: {names}. ")
