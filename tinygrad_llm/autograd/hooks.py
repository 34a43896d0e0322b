"""钩子：挂在节点或叶子上、反传走到那里时执行的函数。

流入：用户的函数与一份梯度；流出：（可能换过的）梯度。次序与 torch 相同：张量的钩子 → 留下 ``.grad`` → 节点的前钩子 →
节点自己 → 节点的后钩子。
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph

Table = OrderedDict[int, Callable[..., Any]]


class Hooks:
    """一个节点或叶子上的全部钩子；一个也没有时为假。

    Attributes:
        tensor: ``hook(grad)``，返回值不为 ``None`` 则替换梯度。
        keep: 张量的钩子都执行之后，留下梯度的那一个（``retain_grad``）。
        before: ``hook(grad_outputs)``，节点执行之前。
        after: ``hook(grad_inputs, grad_outputs)``，节点执行之后。
        accumulated: ``hook(leaf)``，叶子的 ``.grad`` 累加之后。
        metadata: 用户随节点存放的东西。
    """

    __slots__ = ("accumulated", "after", "before", "keep", "metadata", "tensor")

    def __init__(self) -> None:
        self.tensor: Table = OrderedDict()
        self.keep: Callable[[Any], None] | None = None
        self.before: Table = OrderedDict()
        self.after: Table = OrderedDict()
        self.accumulated: Table = OrderedDict()
        self.metadata: dict[Any, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.tensor or self.keep or self.before or self.after or self.accumulated)

    def on_gradient(self, g: Any, create_graph: bool) -> Any:
        """梯度收齐之后：依次执行张量的钩子，最后留下它。执行途中登记或摘下的钩子，下一次反传才作数。

        Args:
            g: 梯度，数组；``create_graph`` 时是 Tensor。
            create_graph: 反传自身是否也记图。
        """
        for hook in tuple(self.tensor.values()):
            seen = as_tensor(g)
            changed = _accepted(hook, hook(seen), seen)
            g = changed if create_graph else changed.array
        if self.keep is not None:
            self.keep(as_tensor(g))
        return g

    def before_node(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """依次执行前钩子，返回（可能换过的）各输出的梯度。"""
        for hook in tuple(self.before.values()):
            grads = _accepted_tuple(hook, hook(grads), grads)
        return grads

    def after_node(self, grads: tuple[Any, ...], grad_outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """依次执行后钩子，返回（可能换过的）各输入的梯度。"""
        for hook in tuple(self.after.values()):
            grads = _accepted_tuple(hook, hook(grads, grad_outputs), grads)
        return grads

    def before_leaf(self, g: Any) -> Any:
        """叶子累加之前：前钩子看到的是一份梯度。"""
        (changed,) = self.before_node((as_tensor(g),))
        return changed if isinstance(g, graph.tensor_type) or changed is None else changed.array

    def after_leaf(self, leaf: Any, g: Any) -> None:
        """叶子累加之后。"""
        for hook in tuple(self.accumulated.values()):
            returned = hook(leaf)
            if returned is not None:
                kind = RuntimeError if isinstance(returned, graph.tensor_type) else TypeError
                raise kind("Tensor post accumulate grad hooks should return None.")
        self.after_node((), (as_tensor(g),))


def of(owner: Any) -> Hooks:
    """节点或叶子的钩子；还没有就先放一份空的。"""
    if owner.hooks is None:
        owner.hooks = Hooks()
    return owner.hooks  # type: ignore[no-any-return]


def add(table: Table, hook: Callable[..., Any]) -> Any:
    """登记一个钩子，返回摘掉它的句柄。"""
    from tinygrad_llm.utils.hooks import register  # 句柄是上层 Module 与优化器共用的那一种

    return register(table, hook)


def as_tensor(g: Any) -> Any:
    """钩子看到的总是 Tensor。"""
    return g if isinstance(g, graph.tensor_type) or g is None else graph.tensor_type.wrap(np.asarray(g))


def _name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__name__", type(hook).__name__)


def _accepted(hook: Callable[..., Any], changed: Any, seen: Any) -> Any:
    """钩子的返回值能否作梯度；``None`` 表示不换。"""
    if changed is None:
        return seen
    if not isinstance(changed, graph.tensor_type):
        raise TypeError(f"expected Variable, but hook returned '{type(changed).__name__}'")
    if seen is None:
        raise RuntimeError("can't replace a None gradient with a non-None value")
    if changed.dtype is not seen.dtype:
        was, got = seen.dtype, changed.dtype
        raise RuntimeError(f"hook '{_name(hook)}' has changed the type of value (was {was} got {got})")
    if changed.array.shape != seen.array.shape:
        was, got = seen.array.shape, changed.array.shape
        raise RuntimeError(f"hook '{_name(hook)}' has changed the size of value (was {was} got {got})")
    return changed


def _accepted_tuple(hook: Callable[..., Any], changed: Any, seen: Sequence[Any]) -> tuple[Any, ...]:
    if changed is None:
        return tuple(seen)
    if not isinstance(changed, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(changed).__name__}'")
    if len(changed) != len(seen):
        counts = f"got {len(changed)}, but expected {len(seen)}"
        raise RuntimeError(f"hook '{_name(hook)}' has returned an incorrect number of values ({counts})")
    pairs = zip(changed, seen, strict=True)
    return tuple(None if new is None else _accepted(hook, new, old) for new, old in pairs)
