"""优化器的公共部分：参数组、状态、存取与钩子。

流入：参数与超参数；流出：``step`` 与 ``state_dict``。下一站：``adamw.py``。
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_llm.autograd import enable_grad, no_grad
from tinygrad_llm.nn.module_tree import clear_grad
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.complex_parameters import update_as_reals
from tinygrad_llm.optim.helpers import (  # noqa: F401  自己写的优化器从这里导入
    ParamsT,
    StateDict,
    _default_to_fused_or_foreach,
    _get_scalar_dtype,
    _get_value,
    _stack_if_compiling,
    _to_scalar,
    _use_grad_for_differentiable,
    _view_as_real,
)  # fmt: skip
from tinygrad_llm.tensor import Tensor
from tinygrad_llm.utils.hooks import HookTable, RemovableHandle, register

STEP_PRE: HookTable = OrderedDict()
STEP_POST: HookTable = OrderedDict()
"""对所有优化器生效的钩子：``step`` 之前与之后。"""

_TABLES = (
    "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks", "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)  # fmt: skip

required: Any = object()
"""写在 ``defaults`` 里，表示这个超参数没有缺省值，每组都要给。"""


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` 的装饰器：前后各叫一遍钩子，并记下叫过了，供学习率调度检查次序。"""

    @functools.wraps(step)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        given, hooks = (self, *args), vars(self)  # 包着别的优化器的，可以不经过 ``__init__``：没有钩子
        self._opt_called = None if self._opt_called is None else True
        for hook in [*STEP_PRE.values(), *hooks.get("_optimizer_step_pre_hooks", {}).values()]:
            changed = hook(self, given, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                given, kwargs = changed
        result = step(*given, **kwargs)
        for hook in [*hooks.get("_optimizer_step_post_hooks", {}).values(), *STEP_POST.values()]:
            hook(self, given, kwargs)
        return result

    run._marks_calls = True  # type: ignore[attr-defined]
    return run


class Optimizer:
    """优化器基类：子类写 ``update``（一个参数的公式），或改写整个 ``step``。

    Args:
        params: 参数、带名字的参数，或参数组（含 ``"params"`` 的字典，可覆盖任一超参数）。
        defaults: 超参数的缺省值。

    Attributes:
        param_groups: 参数组列表。
        state: 参数到它的状态。
        takes_complex: 参数是否可以是复数；更新公式按矩阵来算的不行。

    Raises:
        ValueError: 没有参数，参数不是叶子，或同一个参数出现在两个组里。
        TypeError: 参数不是 Tensor。
    """

    takes_complex: bool = True
    _opt_called: bool | None = None  # 有调度器在留意时，记 ``step`` 有没有被叫过
    _optimizer_step_pre_hooks: HookTable
    _optimizer_step_post_hooks: HookTable
    _optimizer_state_dict_pre_hooks: HookTable
    _optimizer_state_dict_post_hooks: HookTable
    _optimizer_load_state_dict_pre_hooks: HookTable
    _optimizer_load_state_dict_post_hooks: HookTable

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "step" in vars(cls):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.__dict__.update({name: OrderedDict() for name in _TABLES})
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, got Tensor"
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        given = list(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def _patch_step_function(self) -> None:
        """类的 ``step`` 是后来才换上去的，也叫钩子。"""
        cls = type(self)
        if not getattr(cls.step, "_marks_calls", False):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: OrderedDict() for name in _TABLES if name not in self.__dict__})
        self.__dict__.update(state)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"] + [""]
        return "\n".join(lines) + ")"

    # ---- 参数组

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """再加一个参数组。

        Raises:
            TypeError: 不是字典，参数装在集合里，或参数不是 Tensor。
            ValueError: 参数不是叶子、已在别的组里、缺了必需的超参数，或名字只给了一部分。
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        _unpack_names(param_group)
        for p in param_group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        fresh = {id(p) for p in param_group["params"]}
        if len(fresh) != len(param_group["params"]):
            warnings.warn("optimizer contains a parameter group with duplicate parameters", stacklevel=3)
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                raise ValueError("all optimizer param groups should be with/without names")
            if any(id(p) in fresh for p in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """清掉全部参数的梯度。"""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    # ---- 一步

    @_with_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """用现有梯度更新一步。

        Args:
            closure: 可选，重新计算损失并返回它。

        Returns:
            ``closure`` 的返回值。

        Raises:
            AssertionError: ``capturable=True``：CPU 上没有可捕获的图。
            RuntimeError: ``differentiable=True``：更新是就地的，不能再求导。
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad(), np.errstate(all="ignore"):
            for group in self.param_groups:
                _refuse(type(self).__name__, group)
                for p in group["params"]:
                    if p.grad is not None:
                        self._update_one(p, p.grad.array, group)
        return loss

    def _update_one(self, p: Tensor, grad: Array, group: dict[str, Any]) -> None:
        """在连续的内存上更新；参数本身不连续（例如转置来的）时，算完再写回。"""
        theta = np.asarray(p.array, order="C")
        grad = np.asarray(grad, order="C")
        state = self.state.get(p, {})
        downhill = -grad if group.get("maximize") else grad
        if theta.dtype.kind == "c":
            if not self.takes_complex:
                raise RuntimeError(f"{type(self).__name__} does not support complex parameters")
            update_as_reals(self.update, theta, downhill, state, group)
        else:
            self.update(theta, downhill, state, group)
        if state:
            self.state[p] = state
            _round(state)
        if theta is not p.array:
            p.array[...] = theta
        p.touch()

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """就地更新一个参数的数值；由子类实现。求最大时 ``grad`` 已经变了号。"""
        raise NotImplementedError

    # ---- 存取

    def state_dict(self) -> dict[str, Any]:
        """状态与超参数；参数以序号代替，与 torch 的格式相同。"""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        order: dict[int, int] = {}
        for i, p in enumerate(self._all()):
            order.setdefault(id(p), i)
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            groups.append({**packed, "params": [order[id(p)] for p in group["params"]]})
        state = {order[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """装入 ``state_dict`` 的结果（复制一份）；浮点的状态换成参数的 dtype。

        Raises:
            ValueError: 参数组的个数或大小不同。
        """
        given = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, given)
            given = given if changed is None else changed
        groups = copy.deepcopy(given["param_groups"])
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        owner = dict(zip((i for g in groups for i in g["params"]), self._all(), strict=True))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in given["state"].items():
            state[owner.get(key, key)] = _copied(owner[key], value) if key in owner else value
        for own, group in zip(self.param_groups, groups, strict=True):
            names = {"param_names": own["param_names"]} if "param_names" in own else {}
            group.update({**names, **group, "params": own["params"]})
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    # ---- 钩子

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """``step`` 之前调用 ``hook(optimizer, args, kwargs)``；要替换参数就返回 ``(args, kwargs)``。"""
        return register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """``step`` 之后调用 ``hook(optimizer, args, kwargs)``。"""
        return register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """存之前调用 ``hook(optimizer)``。"""
        return register(self._optimizer_state_dict_pre_hooks, hook, prepend=prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """存之后调用 ``hook(optimizer, state_dict)``；可就地改，也可返回新的字典。"""
        return register(self._optimizer_state_dict_post_hooks, hook, prepend=prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """装之前调用 ``hook(optimizer, state_dict)``；可就地改，也可返回新的字典。"""
        return register(self._optimizer_load_state_dict_pre_hooks, hook, prepend=prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """装之后调用 ``hook(optimizer)``。"""
        return register(self._optimizer_load_state_dict_post_hooks, hook, prepend=prepend)


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何优化器 ``step`` 之前调用 ``hook(optimizer, args, kwargs)``。"""
    return register(STEP_PRE, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何优化器 ``step`` 之后调用 ``hook(optimizer, args, kwargs)``。"""
    return register(STEP_POST, hook)


def _unpack_names(group: dict[str, Any]) -> None:
    """把 ``params`` 变成列表；给的是「名字、参数」时把名字另存一列。"""
    members = group["params"]
    if isinstance(members, set):
        raise TypeError("optimizer parameters need to be organized in ordered collections, please use a list")
    members = [members] if isinstance(members, Tensor) else list(members)
    names = [m[0] for m in members if isinstance(m, tuple)]
    if names and len(names) != len(members):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    group["params"] = [m[1] if isinstance(m, tuple) else m for m in members]
    if names:
        group["param_names"] = names


def _round(state: dict[str, Any]) -> None:
    """公式在 float32 里写进 bfloat16 的状态：舍入一次。"""
    for value in state.values() if extras.low_precision else ():
        if isinstance(value, Tensor):
            value.touch()


def _refuse(name: str, group: dict[str, Any]) -> None:
    if group.get("capturable"):
        raise AssertionError(f"{name}: capturable=True needs params on a GPU; tinygrad_llm runs on the CPU only")
    if group.get("differentiable"):
        raise RuntimeError(f"{name}: differentiable=True is not offered, params are updated in place; use torch_llm")


def _copied(p: Tensor, value: Any, key: Any = None) -> Any:
    """一份状态的拷贝；``step`` 之外的浮点 Tensor 换成参数的 dtype。"""
    if isinstance(value, Tensor):
        cast = key != "step" and p.is_floating_point()
        return value.to(p.dtype, copy=True) if cast else value.detach().clone()
    if isinstance(value, dict):
        return {k: _copied(p, v, k) for k, v in value.items()}
    return type(value)(_copied(p, v) for v in value) if isinstance(value, (list, tuple)) else value
