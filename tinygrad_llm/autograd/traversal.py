"""一趟反传：从各个输出出发，按创建次序倒着走过每个节点。

流入：起点与它们的梯度；流出：叶子的 ``.grad``，或另存的梯度。下一站：``engine.py``。

「创建次序的倒序」就是一个拓扑序——不用递归，也不依赖集合的遍历次序，逐位可复现。
梯度只累加在叶子的 ``.grad`` 上；中间结果的梯度只活在这一趟反传里。
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.autograd import anomaly, graph, observer
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.hooks import as_tensor
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.writes import clock
from tinygrad_llm.ops import elementwise, reduce, shape
from tinygrad_llm.ops.bfloat16 import extras, is_low, narrowed, same_dtype, widened


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
    have = g.shape
    if have == shape_:
        return g
    extra = len(have) - len(shape_)
    if extra > 0 and have[extra:] == shape_ and type(g) is np.ndarray:  # 最常见的一种：只多出前面的轴
        if extra == 1:
            return g[0] if have[0] == 1 else np.add.reduce(g, 0)
        return g.sum(axis=tuple(range(extra)))
    try:
        return shape.expand(g, shape=shape_) if not have else _reshaped_like(g, shape_)
    except ValueError:
        raise RuntimeError(f"invalid gradient: got shape {tuple(g.shape)}, the input has {shape_}") from None


def _reshaped_like(g: Any, shape_: tuple[int, ...]) -> Any:
    extra = len(g.shape) - len(shape_)
    if extra < 0 or any(n != m for n, m in zip(g.shape[extra:], shape_, strict=True) if m != 1):
        return shape.expand(g, shape=shape_)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape_) if n == 1 and g.shape[i + extra] != 1)
    return shape.reshape(reduce.sum(g, dim=axes), shape=shape_)


_new, _ndarray = object.__new__, np.ndarray


class Traversal:
    """一趟反传。

    Attributes:
        create_graph: 反传自身是否也记图（梯度是 Tensor 而不是数组）。
        retain_graph: 走过的节点是否留着反向要用的值。
        writes_grad: 叶子的梯度可以直接放进 ``.grad``：不记图，也不另存、不挑选。
        is_plain: 没有任何特别的要求，可以走最短的路。
        only: 只执行这些节点；``None`` 表示全部。
        pending: 还没轮到的节点收到的梯度。
        direct: 第一份梯度已经直接放进 ``.grad`` 的叶子：原先没有 ``.grad``，也没有钩子。
        leaves: 其余叶子收到的梯度：``[叶子, 梯度, 梯度的内存是否归我们]``，按首次收到的次序。
        owned: ``pending`` 里由我们相加得到、可以就地累加的那几份属于哪些节点。
        heap: 等着执行的节点，最晚创建的在前。
        capture: 把收齐的梯度另存一份的节点（``grad`` 要的中间结果）。
        captured: 另存的梯度。
    """

    def __init__(
        self, *, create_graph: bool, retain_graph: bool, only: set[Node] | None = None, capture: set[Node] | None = None
    ) -> None:
        self.create_graph, self.retain_graph, self.only = create_graph, retain_graph, only
        self.capture = capture or set()
        self.writes_grad = not (create_graph or only is not None or self.capture)
        self.is_plain = self.writes_grad and extras.users <= extras.complex
        self.pending: dict[Node, Any] = {}
        self.direct: set[Any] = set()
        self.leaves: dict[int, list[Any]] = {}
        self.owned: set[Node] = set()
        self.heap: list[tuple[int, Node]] = []
        self.captured: dict[Node, Any] = {}

    def run(self) -> None:
        """按创建次序从后往前走。引擎里最热的循环：最常见的情形（第一份梯度，形状与 dtype 都相符）就地办完。"""
        pending, heap, retain = self.pending, self.heap, self.retain_graph
        pop, push, is_plain = heapq.heappop, heapq.heappush, self.is_plain
        visit = observer.observed(self) if extras.users else self.visit
        while heap:
            node = pop(heap)[1]
            g = pending.pop(node)
            plan = node.plan
            if node.hooks or not (plan.is_simple and is_plain):
                visit(node, g)
                continue
            saved = node.saved
            if saved is None or node.time != clock.time:
                saved = node.checked_saved()
            if not retain and plan.holds:
                node.saved = None
            edges = node.edges
            for position, vjp, count, slots in plan.rules:
                if count == 1:
                    found = vjp(g, saved[slots[0]])
                elif count == 0:
                    found = vjp(g)
                else:
                    found = vjp(g, *[saved[slot] for slot in slots])
                edge = edges[position]
                is_node = edge.is_node
                like = edge if is_node else edge.array
                have, wanted = found.shape, like.shape
                if have != wanted:
                    found = found[0] if have[1:] == wanted and have[0] == 1 else unbroadcast(found, wanted)
                if found.dtype is not like.dtype:
                    found = narrowed(found, like.dtype)
                if is_node:
                    if edge not in pending:
                        pending[edge] = found
                        push(heap, (edge.order, edge))
                        continue
                elif edge.kept_grad is None and edge.hooks is None:
                    self.first(edge, found, g)
                    continue
                self.accumulate(edge, found, g)

    def visit(self, node: Node, g: Any) -> None:
        """一个节点的反向，一般情形：有钩子、要另存、只走一部分、记图或正在记录。"""
        if node.plan.is_region and self.is_plain and not node.hooks and self.add_region(node, g):
            return
        hooks, is_wanted, goes_on = node.hooks, node in self.capture, self.only is None or node in self.only
        if not (is_wanted or goes_on):
            return
        if is_wanted and goes_on:  # 与 torch 一致：梯度还要往前走，另存的就是钩子换掉之前的
            self.captured[node] = g
        if hooks:
            g = hooks.on_gradient(g, self.create_graph)
        if not goes_on:
            self.captured[node] = g
            return
        if self.only is not None:
            node.check_partial()
        outputs = ()
        if hooks and (hooks.before or hooks.after):
            outputs = hooks.before_node(tuple(as_tensor(one) for one in node.grad_outputs(g)))
            g = node.with_grad_outputs(g, outputs if self.create_graph else _arrays(outputs))
            if g is None:
                return
        found = list(node.vjp_graph(g) if self.create_graph else node.vjp(g))
        if switch.anomaly and switch.check_nan:
            anomaly.refuse_nan(node, found)
        if not self.retain_graph and node.plan.holds:
            node.saved = None
        if hooks and hooks.after:
            grads = hooks.after_node(tuple(as_tensor(one) for one in _by_position(node, found)), outputs)
            found = list(enumerate(grads if self.create_graph else _arrays(grads)))
        if extras.users and switch.recorder is not None:
            switch.recorder.step(self, node, g, found)
            return
        deliver = self.deliver_tensor if self.create_graph else self.deliver
        for i, grad in found:
            edge = node.edges[i]
            if edge is not None and grad is not None:
                deliver(edge, grad, g)

    def add_region(self, node: Node, g: Any) -> bool:
        """``node`` 取的是一块区域：把梯度直接加到那一块上，其余的 0 只写一次。

        Returns:
            是否办成；叶子、重复的下标走一般的路。
        """
        edge, key = node.edges[0], node.attrs["key"]
        if not edge.is_node or not shape.is_basic(key):
            return False
        if edge not in self.pending:
            whole = self.pending[edge] = np.zeros(edge.shape, edge.dtype)
            whole[key] = g
            heapq.heappush(self.heap, (edge.order, edge))
        else:
            if edge not in self.owned:
                self.pending[edge] = np.array(self.pending[edge])
            self.pending[edge][key] += g
        self.owned.add(edge)
        return True

    def deliver(self, edge: Any, g: Any, source: Any) -> None:
        """把一份梯度（数组）还原成输入的形状与 dtype，交给一条边；已经有了就相加。"""
        like = edge if edge.is_node else edge.array
        g = unbroadcast(g, like.shape)
        if g.dtype is not like.dtype:
            g = narrowed(g, like.dtype)
        if edge.is_node and edge not in self.pending:
            self.pending[edge] = g
            heapq.heappush(self.heap, (edge.order, edge))
        else:
            self.accumulate(edge, g, source)

    def first(self, leaf: Any, g: Any, source: Any) -> None:
        """叶子的第一份梯度，直接放进 ``.grad``。"""
        leaf.kept_grad = fresh = _new(graph.tensor_type)
        fresh.array = kept(g, g is not source and g.base is None, leaf.grad_buffer)
        self.direct.add(leaf)

    def put(self, leaf: Any, g: Any) -> None:
        """叶子备好了放梯度的地方（见 ``parallel/ring.py``）：每一份都当即放进去。"""
        if leaf.kept_grad is None:
            self.first(leaf, g, g)
        elif leaf.grad_buffer.is_grad_of(leaf):
            leaf.grad_buffer.add(g)
        else:
            self.leaves[id(leaf)] = [leaf, g, False]

    def accumulate(self, edge: Any, g: Any, source: Any) -> None:
        """一条边的又一份梯度：加到已有的上面；叶子的第一份也可以交到这里。

        Args:
            edge: 节点或叶子。
            g: 这份梯度；不是 ``source`` 也不是谁的视图时，内存归我们，可以就地累加。
            source: 产生它的节点收到的梯度，可能还有别人在用。
        """
        if not edge.is_node and id(edge) not in self.leaves:
            is_ours = g is not source and g.base is None
            if edge.grad_buffer is not None and self.writes_grad and edge.hooks is None:
                self.put(edge, g)
            elif edge in self.direct:
                np.add(edge.kept_grad.array, g, out=edge.kept_grad.array)
            elif self.is_plain and edge.kept_grad is None and edge.hooks is None:  # 与 ``run`` 同样的次序相加，逐位相同
                self.first(edge, g, source)
            else:
                self.leaves[id(edge)] = [edge, g, is_ours]
            return
        if extras.low_precision and is_low(g.dtype):
            self.accumulate_low(edge, g)
            return
        if edge.is_node:
            have = self.pending[edge]
            if edge in self.owned:
                np.add(have, g, out=have)
            else:
                self.pending[edge] = _sum(have, g, source)
                if g.ndim:
                    self.owned.add(edge)
            return
        slot = self.leaves[id(edge)]
        if slot[2] and g.ndim:
            np.add(slot[1], g, out=slot[1])
        else:
            slot[1], slot[2] = _sum(slot[1], g, source), True

    def accumulate_low(self, edge: Any, g: Any) -> None:
        """同 ``accumulate``，16 位浮点：在 float32 里相加，舍入一次。"""
        if edge.is_node:
            self.pending[edge] = narrowed(widened(self.pending[edge]) + widened(g), g.dtype)
        else:
            slot = self.leaves[id(edge)]
            slot[1], slot[2] = narrowed(widened(slot[1]) + widened(g), g.dtype), True

    def deliver_tensor(self, edge: Any, g: Any, source: Any) -> None:
        """同 ``deliver``，但梯度是 Tensor，相加也记在图上。"""
        like = edge if isinstance(edge, Node) else edge.array
        if g.array.shape != like.shape:
            g = unbroadcast(g, like.shape)
        if not same_dtype(g.array.dtype, like.dtype):
            g = elementwise.cast(g, dtype=like.dtype)
        if isinstance(edge, Node):
            if edge not in self.pending:
                heapq.heappush(self.heap, (edge.order, edge))
            self.pending[edge] = elementwise.add(self.pending[edge], g) if edge in self.pending else g
            return
        slot = self.leaves.get(id(edge))
        if slot is None:
            self.leaves[id(edge)] = [edge, g, False]
        else:
            slot[1] = elementwise.add(slot[1], g)


def kept(g: Any, is_ours: bool, buffer: Any) -> Any:
    """叶子的第一份梯度放在哪里：备好的 ``buffer``；没有则就用 ``g``，内存不归我们再复制一份。

    与参数同样的排布，``p.grad.view(-1)`` 才行。
    """
    if buffer is not None:
        if g is not buffer.array:
            buffer.clear()
        return buffer.add(g)
    return g if is_ours and type(g) is _ndarray and g.flags.c_contiguous else np.array(g, order="C")


def _sum(first: Any, g: Any, source: Any) -> Any:
    """两份梯度之和；``g`` 的内存归我们时就写在那里。"""
    if g.ndim and g is not source and g.base is None:
        return np.add(first, g, out=g)
    return first + g


def _by_position(node: Node, found: Iterable[tuple[int, Any]]) -> list[Any]:
    """钩子要看的各输入的梯度，已还原成输入的形状。"""
    grads: list[Any] = [None] * len(node.edges)
    for i, grad in found:
        edge = node.edges[i]
        if edge is not None and grad is not None:
            grads[i] = unbroadcast(grad, (edge if isinstance(edge, Node) else edge.array).shape)
    return grads


def _arrays(grads: Iterable[Any]) -> tuple[Any, ...]:
    """钩子看过的梯度，从 Tensor 换回数组。"""
    return tuple(None if g is None else g.array for g in grads)
