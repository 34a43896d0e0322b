"""反向传播：把图按创建次序倒着走一遍。

流入：输出 Tensor 与它的梯度；流出：叶子的 ``.grad``。下一站：``function.py``。

「创建次序的倒序」就是一个拓扑序——不用递归，也不依赖集合的遍历次序，逐位可复现。
梯度只累加在叶子的 ``.grad`` 上；中间结果的梯度只活在这一趟反传里。
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops import elementwise, reduce, shape


def unbroadcast(g: Any, shape_: tuple[int, ...]) -> Any:
    """把梯度还原成输入的形状：对被广播出来的轴求和；VJP 给得比输入小则先广播。

    Args:
        g: 梯度，数组或 Tensor。
        shape_: 输入的形状。

    Returns:
        形状为 ``shape_`` 的梯度。

    Raises:
        RuntimeError: 梯度的形状与输入无法对应。
    """
    if g.shape == shape_:
        return g
    try:
        return _reshaped_like(g, shape_)
    except ValueError:
        raise RuntimeError(f"invalid gradient: got shape {tuple(g.shape)}, the input has {shape_}") from None


def _reshaped_like(g: Any, shape_: tuple[int, ...]) -> Any:
    extra = len(g.shape) - len(shape_)
    if extra < 0 or any(n < m for n, m in zip(g.shape[extra:], shape_, strict=True) if m != 1):
        return shape.expand(g, shape=shape_)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape_) if n == 1 and g.shape[i + extra] != 1)
    return shape.reshape(reduce.sum(g, dim=axes, keepdim=True), shape=shape_)


class _Pass:
    """一趟反传。

    Attributes:
        create_graph: 反传自身是否也记图（梯度是 Tensor 而不是数组）。
        pending: 还没轮到的节点与它已收到的梯度；列表第二项记「这块内存归我们、可以就地累加」。
        leaves: 叶子收到的梯度，按首次收到的次序。
    """

    def __init__(self, *, create_graph: bool, retain_graph: bool, only: set[int] | None) -> None:
        self.create_graph, self.retain_graph, self.only = create_graph, retain_graph, only
        self.pending: dict[Node, list[Any]] = {}
        self.heap: list[tuple[int, Node]] = []
        self.leaves: dict[int, list[Any]] = {}
        self.captured: dict[int, Any] = {}

    def deliver(self, edge: Any, g: Any, owned: bool) -> None:
        """把一份梯度交给一条边；已经有了就相加。"""
        if isinstance(edge, Node):
            slot = self.pending.get(edge)
            if slot is None:
                self.pending[edge] = [g, owned]
                heapq.heappush(self.heap, (-edge.order, edge))
                return
        else:
            slot = self.leaves.get(id(edge))
            if slot is None:
                self.leaves[id(edge)] = [g, owned, edge]
                return
        if slot[1] and not self.create_graph and slot[0].ndim:
            np.add(slot[0], g, out=slot[0])
        else:
            total = elementwise.add(slot[0], g)
            slot[0], slot[1] = total if self.create_graph else np.asarray(total), True  # 0 维之和是标量，不是数组

    def run(self, capture: set[int]) -> None:
        """按创建次序从后往前走；``capture`` 里的节点把收齐的梯度另存一份。"""
        while self.heap:
            _, node = heapq.heappop(self.heap)
            g = self.pending.pop(node)[0]
            for hook in node.hooks or ():
                g = _call_hook(hook, g, self.create_graph)
            if id(node) in capture:
                self.captured[id(node)] = g
            if self.only is not None and id(node) not in self.only:
                continue
            grads = node.vjp_graph(g) if self.create_graph else node.vjp(g)
            if not self.retain_graph:
                node.free()
            self.spread(node, g, grads)

    def spread(self, node: Node, g: Any, grads: list[Any]) -> None:
        """还原形状与 dtype，再分发给各条边。"""
        for i, (edge, found) in enumerate(zip(node.edges, grads, strict=True)):
            if edge is None or found is None:
                grads[i] = None
                continue
            shape_, dtype = node.likes[i]
            result = found if found.shape == shape_ else unbroadcast(found, shape_)
            if self.create_graph:
                result = result if result.array.dtype == dtype else elementwise.cast(result, dtype=dtype)
                owned = False
            else:
                result = np.asarray(result, dtype=dtype)
                owned = result is not g and result.base is None and result.flags.writeable
            grads[i] = result
            self.deliver(edge, result, owned)
        if switch.tracer is not None:
            switch.tracer.backward(node, g, grads)


def _call_hook(hook: Callable[[Any], Any], g: Any, create_graph: bool) -> Any:
    """钩子看到的是 Tensor；返回值不为 ``None`` 时替换梯度。"""
    seen = g if create_graph else graph.tensor_type.wrap(g)
    changed = hook(seen)
    if changed is None:
        return g
    return changed if create_graph else changed.array


def _needed_nodes(roots: Sequence[Any], targets: Sequence[Any]) -> set[int]:
    """通向任一目标的节点：只有它们需要执行反向。"""
    seen: dict[int, Node] = {}
    stack = [t.node for t in roots if t.node is not None]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack += [edge for edge in node.edges if isinstance(edge, Node)]
    wanted = {id(t.node or t) for t in targets}
    needed: set[int] = set()
    for node in sorted(seen.values(), key=lambda n: n.order):
        if any(edge is not None and (id(edge) in wanted or id(edge) in needed) for edge in node.edges):
            needed.add(id(node))
    return needed


def _initial_gradient(output: Any, gradient: Any) -> Any:
    if not output.refreshed().needs_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if output.array.size != 1:
            shape_ = tuple(output.array.shape)
            raise RuntimeError(f"grad can be implicitly created only for scalar outputs, got shape {shape_}")
        return graph.tensor_type.wrap(np.ones_like(output.array))
    if gradient.array.shape != output.array.shape:
        raise RuntimeError(
            f"Mismatch in shape: gradient has shape {gradient.array.shape} and output has shape {output.array.shape}"
        )
    return gradient


def run_backward(
    outputs: Sequence[Any],
    gradients: Sequence[Any],
    *,
    inputs: Sequence[Any] | None,
    retain_graph: bool,
    create_graph: bool,
) -> _Pass:
    """从若干输出出发反传一趟，收集叶子（或指定输入）的梯度，不动 ``.grad``。"""
    starts = [_initial_gradient(o, g) for o, g in zip(outputs, gradients, strict=True)]
    only = None if inputs is None else _needed_nodes(outputs, inputs)
    work = _Pass(create_graph=create_graph, retain_graph=retain_graph, only=only)
    previous, switch.grad_enabled = switch.grad_enabled, create_graph
    try:
        for output, start in zip(outputs, starts, strict=True):
            work.deliver(output.node or output, start if create_graph else start.array, False)
        with np.errstate(all="ignore"):  # 梯度里的 inf 与 NaN 如实传下去，与 torch 一样不另外警告
            work.run({id(t.node) for t in inputs or () if t.node is not None})
        for slot in work.leaves.values():
            for hook in slot[2].hooks or ():
                slot[0], slot[1] = _call_hook(hook, slot[0], create_graph), False
    finally:
        switch.grad_enabled = previous
    return work


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *,
    inputs: Any = None,
) -> None:
    """反传，把梯度累加到叶子的 ``.grad``。

    Args:
        tensors: 一个或一串输出。
        grad_tensors: 各输出的梯度；标量输出可省略（取 1）。
        retain_graph: 是否留着图以便再次反传；缺省同 ``create_graph``。
        create_graph: 反传自身是否也记图。
        inputs: 只对这些 Tensor 累加（可以是中间结果）；缺省为全部叶子。

    Raises:
        RuntimeError: 输出不需要梯度、非标量输出没给梯度，或图已经释放。
    """
    outputs = _listed(tensors)
    gradients = [None] * len(outputs) if grad_tensors is None else _listed(grad_tensors)
    retain = create_graph if retain_graph is None else retain_graph
    targets = None if inputs is None else _listed(inputs)
    work = run_backward(outputs, gradients, inputs=targets, retain_graph=retain, create_graph=create_graph)
    allowed = None if targets is None else {id(t) for t in targets}
    for key, (g, owned, leaf) in work.leaves.items():
        if allowed is None or key in allowed:
            _accumulate(leaf, g, owned, create_graph)
    for interior in targets or ():
        if interior.node is not None and id(interior.node) in work.captured:
            _accumulate(interior, work.captured[id(interior.node)], False, create_graph)


def _accumulate(leaf: Any, g: Any, owned: bool, create_graph: bool) -> None:
    if create_graph:
        leaf.grad = g if leaf.grad is None else elementwise.add(leaf.grad, g)
    elif leaf.grad is None:
        leaf.grad = graph.tensor_type.wrap(g if owned else np.array(g))
    else:
        np.add(leaf.grad.array, g, out=leaf.grad.array)
        leaf.grad.version.writes += 1
    for hook in leaf.accumulate_hooks or ():
        hook(leaf)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """求 ``outputs`` 对 ``inputs`` 的梯度，不动任何 ``.grad``。

    Args:
        outputs: 一个或一串输出。
        inputs: 一个或一串 Tensor，可以是中间结果。
        grad_outputs: 各输出的梯度。
        retain_graph: 是否留着图；缺省同 ``create_graph``。
        create_graph: 为真时返回的梯度自身可再求导。
        allow_unused: 为真时，无关的输入得到 ``None`` 而不是报错。

    Returns:
        与 ``inputs`` 等长的梯度元组。

    Raises:
        RuntimeError: 某个输入不需要梯度，或与输出无关而 ``allow_unused`` 为假。
    """
    outs, targets = _listed(outputs), [t.refreshed() for t in _listed(inputs)]
    if not all(t.needs_grad for t in targets):
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    gradients = [None] * len(outs) if grad_outputs is None else _listed(grad_outputs)
    retain = create_graph if retain_graph is None else retain_graph
    work = run_backward(outs, gradients, inputs=targets, retain_graph=retain, create_graph=create_graph)
    results: list[Any] = []
    for i, target in enumerate(targets):
        if target.node is None:
            found = work.leaves[id(target)][0] if id(target) in work.leaves else None
        else:
            found = work.captured.get(id(target.node))
        if found is None and not allow_unused:
            raise RuntimeError(
                f"input {i} (shape {target.array.shape}) appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        results.append(found if found is None or create_graph else graph.tensor_type.wrap(np.array(found)))
    return tuple(results)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
