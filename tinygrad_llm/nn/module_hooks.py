"""钩子：前向之前、前向之后与反向，以及对所有 Module 生效的全局钩子。

流入：``module(...)`` 的参数；流出：``forward`` 的结果，其间可被钩子替换。下一站：``module_backward.py``。
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tinygrad_llm.nn.module_backward import BackwardHook
from tinygrad_llm.nn.old_backward_hooks import BOTH, BOTH_EVERYWHERE, attach
from tinygrad_llm.utils.hooks import HookTable, RemovableHandle, register

FORWARD_PRE: HookTable = OrderedDict()
FORWARD: HookTable = OrderedDict()
BACKWARD_PRE: HookTable = OrderedDict()
BACKWARD: HookTable = OrderedDict()
WITH_KWARGS: dict[int, bool] = {}
ALWAYS: dict[int, bool] = {}
"""全局钩子；对所有 Module 生效，排在 Module 自己的钩子之前。"""
OLD_BACKWARD: HookTable = OrderedDict()
"""旧式的全局反向钩子。"""


class Hooks:
    """Module 的钩子与调用。"""

    forward: Callable[..., Any]
    _forward_pre_hooks: HookTable
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _forward_hooks: HookTable
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _backward_hooks: HookTable
    _backward_pre_hooks: HookTable
    _is_full_backward_hook: bool | None = None  # 已登记的反向钩子是不是新式的

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """前向，连同登记的钩子；一个钩子也没有时直接就是 ``forward``。"""
        if (
            self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
            or FORWARD or FORWARD_PRE or BACKWARD or BACKWARD_PRE or OLD_BACKWARD
        ):  # fmt: skip
            return _HookedCall(self, args, kwargs).run()
        return self.forward(*args, **kwargs)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """前向之前调用 ``hook(module, args)``；返回值不为 ``None`` 则替换参数。

        Args:
            hook: 钩子。
            prepend: 排在已有的钩子之前。
            with_kwargs: 调用 ``hook(module, args, kwargs)``，要替换就返回 ``(args, kwargs)``。
        """
        marks = [self._forward_pre_hooks_with_kwargs] if with_kwargs else []
        return register(self._forward_pre_hooks, hook, prepend=prepend, marks=marks)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """前向之后调用 ``hook(module, args, output)``；返回值不为 ``None`` 则替换输出。

        Args:
            hook: 钩子。
            prepend: 排在已有的钩子之前。
            with_kwargs: 调用 ``hook(module, args, kwargs, output)``。
            always_call: 前向抛出异常时也调用，那时 ``output`` 为 ``None``。
        """
        marks = [self._forward_hooks_with_kwargs] if with_kwargs else []
        marks += [self._forward_hooks_always_called] if always_call else []
        return register(self._forward_hooks, hook, prepend=prepend, marks=marks)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """输出的梯度凑齐后调用 ``hook(module, grad_output)``；返回值不为 ``None`` 则替换它。"""
        return register(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """输入的梯度凑齐后调用 ``hook(module, grad_input, grad_output)``；返回值可替换 ``grad_input``。

        Raises:
            RuntimeError: 已登记了旧式的反向钩子。
        """
        return self._register_backward(hook, True, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """旧式的反向钩子：只看得到最后一个算子的 ``grad_input``。

        Raises:
            RuntimeError: 已登记了 :meth:`register_full_backward_hook` 的钩子。
        """
        return self._register_backward(hook, False, False)

    def _register_backward(self, hook: Callable[..., Any], is_full: bool, prepend: bool) -> RemovableHandle:
        if self._is_full_backward_hook is (not is_full):
            raise RuntimeError(BOTH)
        self._is_full_backward_hook = is_full
        return register(self._backward_hooks, hook, prepend=prepend)


class _HookedCall:
    """带钩子的一次前向。"""

    def __init__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.module, self.args, self.kwargs = module, args, kwargs
        self.result: Any = None
        self.called: set[int] = set()

    def run(self) -> Any:
        """前向钩子、反向钩子各就各位；前向抛出异常时，``always_call`` 的钩子仍要叫到。"""
        finished = False
        try:
            self._forward()
            finished = True
        finally:
            if not finished:
                for key, hook in self._forward_hooks():
                    if self._always(key) and key not in self.called:
                        self._after(key, hook)
        return self.result

    def _forward(self) -> None:
        module = self.module
        own = list(module._backward_hooks.values())
        old = [*OLD_BACKWARD.values(), *(own if module._is_full_backward_hook is False else [])]
        hooks = [*BACKWARD.values(), *(own if module._is_full_backward_hook is not False else [])]
        pre_hooks = [*BACKWARD_PRE.values(), *module._backward_pre_hooks.values()]
        for key, hook in [*FORWARD_PRE.items(), *module._forward_pre_hooks.items()]:
            self._before(key, hook)
        backward = BackwardHook(module, hooks, pre_hooks) if hooks or pre_hooks else None
        if backward is not None:
            self.args = backward.setup_input(self.args)
        self.result = module.forward(*self.args, **self.kwargs)
        for key, hook in self._forward_hooks():
            self._after(key, hook)
        if backward is not None:
            self.result = backward.setup_output(self.result)
        if old:
            attach(module, old, self.args, self.result)

    def _forward_hooks(self) -> list[tuple[int, Callable[..., Any]]]:
        return [*FORWARD.items(), *self.module._forward_hooks.items()]

    def _always(self, key: int) -> bool:
        return key in ALWAYS or key in self.module._forward_hooks_always_called

    def _before(self, key: int, hook: Callable[..., Any]) -> None:
        if key not in self.module._forward_pre_hooks_with_kwargs:
            changed = hook(self.module, self.args)
            if changed is not None:
                self.args = changed if isinstance(changed, tuple) else (changed,)
            return
        changed = hook(self.module, self.args, self.kwargs)
        if changed is None:
            return
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise RuntimeError(
                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
            )
        self.args, self.kwargs = changed

    def _after(self, key: int, hook: Callable[..., Any]) -> None:
        self.called.add(key)
        if key in WITH_KWARGS or key in self.module._forward_hooks_with_kwargs:
            changed = hook(self.module, self.args, self.kwargs, self.result)
        else:
            changed = hook(self.module, self.args, self.result)
        self.result = self.result if changed is None else changed


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 前向之前调用 ``hook(module, args)``。"""
    return register(FORWARD_PRE, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """任何 Module 前向之后调用 ``hook(module, args, output)``，参数同 ``Module.register_forward_hook``。"""
    marks = ([WITH_KWARGS] if with_kwargs else []) + ([ALWAYS] if always_call else [])
    return register(FORWARD, hook, marks=marks)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 输出的梯度凑齐后调用 ``hook(module, grad_output)``。"""
    return register(BACKWARD_PRE, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 输入的梯度凑齐后调用 ``hook(module, grad_input, grad_output)``。

    Raises:
        RuntimeError: 已登记了旧式的。
    """
    if OLD_BACKWARD:
        raise RuntimeError(BOTH_EVERYWHERE)
    return register(BACKWARD, hook)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """任何 Module 的旧式反向钩子，同 ``Module.register_backward_hook``。

    Raises:
        RuntimeError: 已登记了新式的。
    """
    if BACKWARD:
        raise RuntimeError(BOTH_EVERYWHERE)
    return register(OLD_BACKWARD, hook)
