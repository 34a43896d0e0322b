"""反向钩子：一个 Module 的全部输入（或输出）的梯度凑齐了，才叫用户的钩子。

流入：前向的输入与输出；流出：换成「恒等」之后的输入与输出。下一站：``module_state.py``。

做法：全部输入一同经过一个恒等的算子。它的反向要等各个输出的梯度都到齐才做，正好在那里调用钩子。
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd.function import Function
from tinygrad_llm.autograd.mode import is_grad_enabled
from tinygrad_llm.tensor import Tensor


class BackwardHookFunction(Function):
    """``n`` 个张量原样通过；反向交给 ``settle``，由它把收到的 ``n`` 份梯度换成交出去的。"""

    @staticmethod
    def forward(ctx: Any, settle: Any, *tensors: Any) -> Any:
        """原样通过；不需要梯度的仍不需要。"""
        ctx.settle = settle
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """没有收到的梯度是 ``None``。"""
        return (None, *ctx.settle(grads))


class BackwardHook:
    """一次前向的反向钩子。

    Args:
        module: 钩子看到的 Module。
        hooks: ``hook(module, grad_input, grad_output)``，输入的梯度凑齐之后调用。
        pre_hooks: ``hook(module, grad_output)``，输出的梯度凑齐之后调用。
    """

    def __init__(
        self, module: Any, hooks: Sequence[Callable[..., Any]], pre_hooks: Sequence[Callable[..., Any]]
    ) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: Any = None
        self.watches_inputs = False
        self.n_inputs = 0

    def setup_input(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """把输入换成经过恒等之后的输入；没有一个需要梯度就原样返回。"""
        self.n_inputs = len(args)
        self.watches_inputs = _traced(args)
        if not self.watches_inputs:
            return args
        zeros = [(a.array.shape, a.array.dtype) if isinstance(a, Tensor) else None for a in args]
        return _through(args, self._inputs_ready, zeros)  # 与 torch 一致：没有收到梯度的输入得到 0，输出得到 None

    def setup_output(self, result: Any) -> Any:
        """把输出换成经过恒等之后的输出。"""
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                f"but received {type(result)}",
                stacklevel=4,
            )
        outputs = result if isinstance(result, tuple) else (result,)
        if not _traced(outputs):
            return result
        passed = _through(outputs, self._outputs_ready, [None] * len(outputs))
        if not isinstance(result, tuple):
            return passed[0]
        return passed if type(result) is tuple else type(result)(*passed)

    def _outputs_ready(self, grads: list[Any]) -> list[Any]:
        self.grad_outputs = tuple(grads)
        for hook in self.pre_hooks:
            changed = hook(self.module, self.grad_outputs)
            if changed is not None:
                _check_count("Backward pre hook", "grad_output", changed, self.grad_outputs)
                self.grad_outputs = changed
        ready = self.grad_outputs
        if not self.watches_inputs:
            self._call_without_inputs()
        return list(ready)

    def _call_without_inputs(self) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients.",
            stacklevel=5,
        )
        for hook in self.hooks:
            changed = hook(self.module, (None,) * self.n_inputs, self.grad_outputs)
            if changed is not None and not (isinstance(changed, tuple) and all(g is None for g in changed)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None "
                    "for all gradients."
                )
        self.grad_outputs = None

    def _inputs_ready(self, grads: list[Any]) -> list[Any]:
        if self.grad_outputs is None:  # 梯度没有经过输出就到了输入，例如二阶导
            return grads
        found = tuple(grads)
        for hook in self.hooks:
            changed = hook(self.module, found, self.grad_outputs)
            if changed is not None:
                _check_count("Backward hook", "grad_input", changed, found)
                found = changed
        self.grad_outputs = None
        return list(found)


def _traced(values: Sequence[Any]) -> bool:
    return is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _through(
    values: tuple[Any, ...], ready: Callable[[list[Any]], list[Any]], absent: Sequence[Any]
) -> tuple[Any, ...]:
    """让 ``values`` 里的张量一同经过恒等的算子。

    Args:
        values: 前向的输入或输出。
        ready: 反向凑齐时调用，由它决定交出去的梯度。
        absent: 没有收到梯度的位置上放什么：``None``，或 ``(形状, dtype)`` 的零。

    Returns:
        经过之后的 ``values``。
    """
    at = [i for i, value in enumerate(values) if isinstance(value, Tensor)]

    def settle(received: Sequence[Any]) -> list[Any]:
        found = dict(zip(at, received, strict=True))
        grads = [_zeros(like) if found.get(i) is None else found[i] for i, like in enumerate(absent)]
        final = ready(grads)
        return [final[i] for i in at]

    passed = list(values)
    outputs = BackwardHookFunction.apply(settle, *[values[i] for i in at])
    for i, output in zip(at, outputs, strict=True):
        passed[i] = output
    return tuple(passed)


def _zeros(like: Any) -> Any:
    return None if like is None else Tensor.wrap(np.zeros(like[0], like[1]))


def _check_count(what: str, name: str, given: Any, expected: Any) -> None:
    if len(given) != len(expected):
        counts = f"got {len(given)}, but expected {len(expected)}"
        raise RuntimeError(f"{what} returned an invalid number of {name}, {counts}")
