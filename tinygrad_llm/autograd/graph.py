"""图：每次算子调用记一个 ``Node``。

流入：``apply`` 收到的算子与参数；流出：结果 Tensor 与它身后的节点。下一站：``engine.py``。

节点只指向**更早**的节点，只留数组、不留 Tensor，所以图里没有引用环，用完立即释放。
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops.op import Op, Plan

_creation_order = itertools.count()


def next_order() -> int:
    """下一个创建次序号。"""
    return next(_creation_order)


class Version:
    """就地写入的次数；一块内存的所有视图共用一个。

    Attributes:
        writes: 写入次数。
    """

    writes = 0


class Node:
    """图上的一个节点：一次算子调用，以及反向时要用的东西。

    Attributes:
        op: 哪个算子。
        plan: 反向要执行求导表的哪几行。
        edges: 各输入的来处：``Node``（中间结果）、叶子 ``Tensor``，或 ``None``（不需要梯度）。
        likes: 各输入的 ``(形状, dtype)``，用来还原广播与换型。
        saved: 前向留下的值，与 ``plan.sources`` 对应；反传用完即置空。
        attrs: 算子的属性。
        order: 创建次序。
        versions: 留下的 Tensor 在留下那一刻的写入次数。
        hooks: 挂在输出梯度上的钩子。
    """

    __slots__ = ("attrs", "edges", "hooks", "likes", "op", "order", "plan", "saved", "versions")

    def __init__(
        self,
        op: Op,
        plan: Plan,
        edges: tuple[Any, ...],
        likes: list[tuple[tuple[int, ...], Any]],
        saved: list[Any],
        versions: list[tuple[Version, int]],
        attrs: dict[str, Any],
    ) -> None:
        self.op, self.plan, self.edges, self.likes = op, plan, edges, likes
        self.saved: list[Any] | None = saved
        self.versions, self.attrs = versions, attrs
        self.order = next_order()
        self.hooks: list[Callable[[Any], Any]] | None = None

    def name(self) -> str:
        """与 torch 的 ``grad_fn.name()`` 同样的写法。"""
        return "".join(part.capitalize() for part in self.op.name.split("_")) + "Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def checked_saved(self) -> list[Any]:
        """取出留下的值；已释放或被就地改写过则报错。"""
        if self.saved is None:
            raise RuntimeError(
                f"Trying to backward through the graph a second time ({self.name()}): its saved values were freed. "
                "Specify retain_graph=True on the first backward call if you need a second one."
            )
        for version, expected in self.versions:
            if version.writes != expected:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"{self.name()} saved a tensor at version {expected}, it is now at version {version.writes}. "
                    "Write to a clone() instead, or move the write after backward()."
                )
        return self.saved

    def vjp(self, g: Any) -> list[Any]:
        """数组上的反向：输出的梯度 → 各输入的梯度（不需要的为 ``None``）。"""
        saved = self.checked_saved()
        grads: list[Any] = [None] * len(self.edges)
        for index, rule, slots in self.plan.rules:
            result = rule(g, *[saved[slot] for slot in slots])
            if index < 0:
                grads = list(result)
            else:
                grads[index] = result
        return grads

    def vjp_graph(self, g: Any) -> list[Any]:
        """Tensor 上的反向：同一张求导表，但边算边记图，供二阶导使用。"""
        values = dict(zip(self.plan.sources, self.checked_saved(), strict=True))
        for name, value in values.items():
            if name == "y":
                values[name] = tensor_type.from_edge(value, self)
            elif name in self.op.inputs:
                values[name] = _reattach(value, self.edges[self.op.inputs.index(name)])
        if self.op.composed is not None:
            return self._vjp_composed(g, [values[name] for name in self.op.inputs])
        grads: list[Any] = [None] * len(self.edges)
        for index, rule, slots in self.plan.rules:
            result = rule(g, *[values[self.plan.sources[slot]] for slot in slots])
            if index < 0:
                grads = list(result)
            else:
                grads[index] = result
        return grads

    def _vjp_composed(self, g: Any, inputs: list[Any]) -> list[Any]:
        """融合算子没有可再求导的 VJP：改对 ``composed`` 求导。

        每个输入先过一个恒等节点，使「对第 i 个输入的偏导」不会混进「经由第 i 个输入流向第 j 个」的部分。
        """
        from tinygrad_llm.autograd.engine import grad

        wanted = [i for i, need in enumerate(self.plan.needs) if need]
        for i in wanted:
            inputs[i] = inputs[i].view(inputs[i].shape)
        y = self.op.composed(*inputs, **self.attrs)  # type: ignore[misc]  # 调用处已判过非 None
        found = grad(y, [inputs[i] for i in wanted], g, create_graph=True, allow_unused=True)
        grads: list[Any] = [None] * len(inputs)
        for i, result in zip(wanted, found, strict=True):
            grads[i] = result
        return grads

    def free(self) -> None:
        """丢掉留下的值；此后再反传会报错。"""
        self.saved = None


def _reattach(value: Any, edge: Any) -> Any:
    """把留下的数组接回图上；不需要梯度的输入就是常数。"""
    if edge is not None:
        return tensor_type.from_edge(value, edge)
    return tensor_type.wrap(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


tensor_type: Any = None


def register_tensor_type(cls: Any) -> Any:
    """类装饰器：``tensor.py`` 用它登记 ``Tensor``，使本模块不必反过来导入它。"""
    global tensor_type
    tensor_type = cls
    return cls


def apply(op: Op, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """执行一个算子，需要时记一个节点。

    Args:
        op: 算子。
        args: 位置参数：Tensor、数组、Python 数或 ``None``。
        attrs: 属性。

    Returns:
        结果 Tensor。

    Raises:
        RuntimeError: 形状或 dtype 不合；消息里写明算子与各输入的形状。
    """
    if op.defaults:
        attrs = {**op.defaults, **attrs}
    data = [a.array if isinstance(a, tensor_type) else a for a in args]
    try:
        y = op.forward(*data, **attrs)
    except ValueError as error:
        raise RuntimeError(_shape_message(op, data, error)) from None
    except TypeError as error:
        raise RuntimeError(f"{op.name}: {error}") from None
    kept = ()
    if op.keeps:
        y, *kept = y
    if type(y) is not np.ndarray:
        y = np.asarray(y)
    output = tensor_type.wrap(y)
    if op.is_view and np.may_share_memory(y, data[0]):  # 换形状有时不得不复制，那就不是视图
        output.watch(args[0], op, attrs)
    if switch.grad_enabled and y.dtype.kind == "f":
        plan = op.plan(tuple([isinstance(a, tensor_type) and a.refreshed().needs_grad for a in args]))
        if plan is not None:
            output.node = _record(op, plan, args, data, attrs, output, kept)
            output.needs_grad = True
    if switch.tracer is not None:
        switch.tracer.forward(op, args, attrs, output)
    return output


def _record(
    op: Op, plan: Plan, args: Sequence[Any], data: list[Any], attrs: dict[str, Any], output: Any, kept: Sequence[Any]
) -> Node:
    likes = [(d.shape, d.dtype) if type(d) is np.ndarray else ((), None) for d in data]
    pool = [output.array, [like[0] for like in likes], plan.needs, *[attrs[n] for n in op.attrs], *kept, *data]
    kept_inputs = [args[i] for i in plan.saved_inputs]
    versions = [(a.version, a.version.writes) for a in kept_inputs if isinstance(a, tensor_type)]
    if "y" in plan.sources:
        versions.append((output.version, output.version.writes))
    edges = tuple([(a.node or a) if need else None for a, need in zip(args, plan.needs, strict=True)])
    return Node(op, plan, edges, likes, [pool[i] for i in plan.picks], versions, attrs)


def _shape_message(op: Op, data: Sequence[Any], error: ValueError) -> str:
    shapes = ", ".join(str(d.shape) if isinstance(d, np.ndarray) else repr(d) for d in data)
    return f"{op.name}: shapes {shapes} do not fit together ({error})"
