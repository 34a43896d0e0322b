"""记录者：引擎报来的每一步，连同当时的数，记进一份 ``Trace``。

流入：``mode.Recorder`` 的各个调用；流出：填好的 ``Trace``。下一站：``trace.py``。

反向的每条边由它交给引擎相加：交之前看和是多少，交之后再看。记下的次序因此就是引擎真正相加的次序，不必另算一遍来猜。
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from time import perf_counter_ns
from types import FrameType
from typing import Any

import numpy as np

from tinygrad_llm.autograd.function_node import OutputNode, Saved
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.traversal import unbroadcast
from tinygrad_llm.autograd.writes import clock, written_since
from tinygrad_llm.ops.bfloat16 import narrowed, same_dtype
from tinygrad_llm.ops.op import Array, Op
from tinygrad_llm.tensor import Tensor
from tinygrad_llm.tracing.arrays import Snapshot, Summary, dtype_name
from tinygrad_llm.tracing.names import Call, Modules, locals_of, variable
from tinygrad_llm.tracing.trace import (
    Accumulation,
    Backward,
    EdgeRecord,
    Event,
    NodeRecord,
    Step,
    Trace,
    Value,
    nothing,
)

_ROOM = 256 << 20
"""拖到有人看时才算的概要，先留的拷贝一共至多多少字节；再多就当场算。"""


class _Seen:
    """一个还活着的张量此刻是哪个值。

    Attributes:
        tensor: 弱引用；张量没了，同一个 id 就可能是别的张量。
        memory: 底下的数组的 id；``.data`` 可以换掉它。
        time: 看到它时就地写入的总次数。
        value: 哪个值。
    """

    __slots__ = ("memory", "tensor", "time", "value")

    def __init__(self, tensor: Tensor, value: Value) -> None:
        self.tensor, self.memory, self.time, self.value = weakref.ref(tensor), id(tensor.array), clock.time, value


class _Pass:
    """进行中的一趟反传。

    Attributes:
        record: 记到哪里；起点不在记录里的为 ``None``。
        sums: 各条边（节点或叶子的 id）至今的和。
        parts: 多输出的自定义算子，各输出收到的梯度。
        mark: 上一步完成的时刻。
    """

    def __init__(self) -> None:
        self.record: Backward | None = None
        self.sums: dict[int, Snapshot] = {}
        self.parts: dict[Node, dict[int, Snapshot]] = {}
        self.mark = 0


class Recorder:
    """见 ``mode.Recorder``。

    Args:
        trace: 记到哪里。
        opener: 打开记录的栈帧：找变量名找到它为止。
    """

    def __init__(self, trace: Trace, opener: FrameType | None) -> None:
        self.trace, self.opener = trace, opener
        self.modules = Modules()
        self._seen: dict[int, _Seen] = {}
        self._by_node: dict[Node, NodeRecord] = {}
        self._outputs: dict[Node, Value] = {}
        self._passes: list[_Pass] = []
        self._last: tuple[tuple[int, ...], list[Value]] | None = None
        self._finished: tuple[Any, list[tuple[Any, Backward, Accumulation]]] = (None, [])
        self._mark = 0
        self._room = _ROOM

    # ---- 前向

    def before(self) -> None:
        """一次算子调用就要开始。"""
        self._mark = perf_counter_ns()

    def forward(self, op: Op, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成。"""
        elapsed_ns = perf_counter_ns() - self._mark
        if self._passes and not switch.grad_enabled:
            return  # 钩子与自定义算子的反向里的运算，属于反向的那一步
        node = output.node
        needs = [False] * len(args) if node is None else list(node.plan.needs)
        self._add(op, op.name, args, attrs, [output], node, needs, elapsed_ns)

    def function(self, cls: Any, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        """一次自定义算子的调用完成。"""
        elapsed_ns = perf_counter_ns() - self._mark
        tensors = [one for one in outputs if isinstance(one, Tensor)]
        if not tensors or (self._passes and not switch.grad_enabled):
            return
        found = [one.node for one in tensors if one.node is not None]
        node = found[0].public if found else None
        needs = [False] * len(args) if node is None else [edge is not None for edge in node.edges]
        attrs = {f"arg{i}": a for i, a in enumerate(args) if not isinstance(a, Tensor) and a is not None}
        given = [a if isinstance(a, Tensor) else None for a in args]
        self._add(cls, cls.__name__, given, attrs, tensors, node, needs, elapsed_ns)

    def _add(
        self,
        declared: Any,
        name: str,
        args: Sequence[Any],
        attrs: dict[str, Any],
        outputs: Sequence[Tensor],
        node: Any,
        needs: list[bool],
        elapsed_ns: int,
    ) -> None:
        trace, call = self.trace, Call(sys._getframe(2))
        inputs: list[int | None] = []
        known: list[tuple[Any, Value]] = []
        for a in args:
            value = None if a is None else self._known(a, call)
            inputs.append(None if value is None else value.id)
            if value is not None:
                known.append((a.array if isinstance(a, Tensor) else a, value))
        new = [self._output(one) for one in outputs]
        known += [(one.array, value) for one, value in zip(outputs, new, strict=True)]
        n_bytes, saved = self._saved(declared, node, known)
        record = NodeRecord(
            len(trace.nodes), name, inputs, new[0].id, needs, self.modules.path, elapsed_ns, n_bytes, attrs,
            call.location, declared, [one.id for one in new], None if saved is None else node, saved, trace,
        )  # fmt: skip
        for value in new:
            value.producer = record.id
        trace.nodes.append(record)
        trace.events.append(Event("forward", record.id))
        if node is not None:
            self._by_node[node] = record
        self._name(call, new)

    def _saved(self, declared: Any, node: Any, known: list[tuple[Any, Value]]) -> tuple[int, list[Any] | None]:
        """节点为反向留下的数组共几个字节；数组都不大，就连同留下的值。

        留下的值里，输入与输出换成记录里的拷贝：优化器此后会就地改写参数，重算反向还要用原来的数。
        """
        limit, n_bytes = self.trace.limit, 0
        is_small = all(type(value.data) is np.ndarray for _, value in known)
        counted: list[Any] = []
        kept: list[Any] = []
        for one in () if node is None or node.saved is None else node.saved:
            array = one if type(one) is np.ndarray else _array_of(one)
            if array is not None and not any(array is other for other in counted):
                counted.append(array)
                n_bytes += array.nbytes
                is_small = is_small and array.size <= limit
            copies = [value.data for other, value in known if other is array] if array is one else []
            kept.append(copies[0] if copies and isinstance(declared, Op) else one)
        return n_bytes, kept if is_small else None

    def _known(self, a: Any, call: Call) -> Value:
        """一个参数是哪个值；没见过的新立一个。"""
        if not isinstance(a, Tensor):
            array = np.asarray(a)
            return self._new(None, "constant", array, False)
        if a.node is not None and a.node in self._outputs:
            return self._outputs[a.node]
        seen = self._seen.get(id(a))
        if seen is not None and seen.tensor() is a:
            if seen.memory == id(a.array) and (seen.time == clock.time or not written_since(a.array, seen.time)):
                return seen.value
            name, owner = seen.value.name, seen.value.module
        else:
            path = self.modules.parameters.get(id(a))
            owner = self.modules.path if path is None else path.rpartition(".")[0]
            name = variable(a, call.frame, self.opener) if path is None else path
        value = self._new(name, "leaf" if a.needs_grad else "constant", a.array, a.needs_grad)
        value.module = owner
        self._seen[id(a)] = _Seen(a, value)
        return value

    def _living(self, tensor: Any) -> Value | None:
        """按身份记着的张量是哪个值；没有则为 ``None``。"""
        seen = self._seen.get(id(tensor))
        return seen.value if seen is not None and seen.tensor() is tensor else None

    def _output(self, tensor: Tensor) -> Value:
        value = self._new(None, "result", tensor.array, tensor.needs_grad)
        if tensor.node is not None:
            self._outputs[tensor.node] = value
        else:
            self._seen[id(tensor)] = _Seen(tensor, value)
        return value

    def _new(self, name: str | None, kind: str, array: Array, needs_grad: bool) -> Value:
        trace = self.trace
        kept = self._kept(array)
        value = Value(
            len(trace.values),
            name,
            "",
            kind,
            array.shape,
            dtype_name(array),
            needs_grad,
            kept,
            module=self.modules.path,
        )
        trace.values.append(value)
        return value

    def _kept(self, array: Array) -> Snapshot:
        """此刻的内容：不大的是拷贝，大的是概要；概要先留拷贝、以后再算的，一共只留这么多。"""
        if array.size <= self.trace.limit:
            return array.copy("K")
        found = Summary(array, self._room > 0)
        self._room -= found.waiting_bytes
        return found

    def _name(self, call: Call, new: list[Value]) -> None:
        """给结果记上变量名；库里的一次调用做了几步，只有最后的（解包时是最后几步）才是。"""
        names, values, last = call.target, new, self._last
        if not isinstance(names, tuple):
            self._last = None
            return
        if last is not None and last[0] == call.key and not self._is_stored(last[1], names, call.receiver):
            values = [*last[1], *new]
            for value in last[1]:
                value.name = None
        self._last = (call.key, values)
        for name, value in zip(reversed(names), reversed(values), strict=False):
            value.name = None if name.startswith("_") else name

    def _is_stored(self, values: list[Value], names: tuple[str, ...], receiver: Any) -> bool:
        """上一次的结果是否已经存进变量：循环里的同一行又执行了一次，而不是同一次调用的下一步。"""
        scope = receiver.f_locals
        return all(
            self._value_of(scope.get(name)) is value
            for name, value in zip(reversed(names), reversed(values), strict=False)
        )

    def _value_of(self, tensor: Any) -> Value | None:
        """一个张量此刻是哪个值；不是张量、没见过，则为 ``None``。"""
        if not isinstance(tensor, Tensor):
            return None
        return self._living(tensor) if tensor.node is None else self._outputs.get(tensor.node)

    def _name_rest(self, frame: FrameType | None) -> None:
        """字节码看不出名字的（``up = x.chunk(2)[0]``），看此刻谁在变量里。"""
        for name, tensor in locals_of(frame, self.opener):
            value = self._value_of(tensor)
            if value is not None and value.name is None:
                value.name = name

    def written(self, tensor: Any, result: Any) -> None:
        """``result`` 刚被就地写进 ``tensor``：此后它就是 ``result`` 那个值，名字不变。"""
        old = self._living(tensor) or self._outputs.get(tensor.node)
        name = None if old is None else old.name
        value = self._living(result) if result.node is None else self._outputs.get(result.node)
        if value is None or value.kind != "result" or value.id != len(self.trace.values) - 1:
            value = self._new(name, "leaf" if tensor.needs_grad else "constant", tensor.array, tensor.needs_grad)
        value.name = name or value.name
        if self._last is not None and value in self._last[1]:
            self._last = None
        self._seen[id(tensor)] = _Seen(tensor, value)

    # ---- 反向

    def begin(self, work: Any, outputs: Sequence[Any]) -> None:
        """一趟反传就要开始。"""
        self._name_rest(sys._getframe(1))
        self._last, one = None, _Pass()
        roots: list[tuple[int, Snapshot]] = []
        for output in outputs:
            edge = output.node or output
            seed = one.sums[id(edge)] = self._kept(_array(_received(work, edge)))
            root = self._outputs.get(edge) if edge.is_node else self._known(output, Call(sys._getframe(1)))
            if root is not None:
                roots.append((root.id, seed))
        if roots:
            one.record = Backward(len(self.trace.backwards), *roots[0], [], roots)
            self.trace.backwards.append(one.record)
            self.trace.events.append(Event("seed", backward=one.record.id))
        self._passes.append(one)
        one.mark = perf_counter_ns()

    def step(self, work: Any, node: Any, g: Any, found: Sequence[tuple[int, Any]]) -> None:
        """一个节点的 VJP 已经算好：把各份梯度交给输入，记下每次相加的前后。"""
        one = self._passes[-1]
        elapsed_ns = perf_counter_ns() - one.mark
        step = self._step(one, node, g)
        for position, raw in found:
            edge = node.edges[position]
            if edge is not None and raw is not None:
                elapsed_ns += self._deliver(work, step, position, edge, raw, g)
        if step is not None:
            step.time_ns = elapsed_ns
        one.mark = perf_counter_ns()

    def _step(self, one: _Pass, node: Any, g: Any) -> Step | None:
        """立起一步；记录之外的节点、多输出算子的转手的小节点没有自己的一步。"""
        arrived = one.sums.pop(id(node), None)
        is_hooked = bool(node.hooks and (node.hooks.tensor or node.hooks.before))
        incoming = self._kept(_array(g)) if arrived is None or is_hooked else arrived
        if node in self._outputs:
            self._outputs[node].grad = incoming
        if isinstance(node, OutputNode):
            one.parts.setdefault(node.public, {})[node.output_nr] = incoming
            return None
        record, backward = self._by_node.get(node), one.record
        if record is None or backward is None:
            return None
        parts = None
        if node in one.parts:
            given = one.parts.pop(node)
            parts = [given.get(i) for i in range(len(record.outputs))]
            incoming = next(part for part in parts if part is not None)
        before_hooks = arrived if is_hooked else None
        step = Step(len(backward.steps), record.id, incoming, 0, [], before_hooks, parts, record)
        backward.steps.append(step)
        self.trace.events.append(Event("backward", backward=backward.id, step=step.index))
        return step

    def _deliver(self, work: Any, step: Step | None, position: int, edge: Any, raw: Any, g: Any) -> int:
        """交出一份梯度，返回引擎用的时间。"""
        one = self._passes[-1]
        before, like = one.sums.get(id(edge)), edge if edge.is_node else edge.array
        array = raw if type(raw) is np.ndarray else _array(raw)
        kept = self._kept(array)
        is_whole = array.shape == like.shape and same_dtype(array.dtype, like.dtype)
        contribution = kept if is_whole else None
        if contribution is None and before is not None:
            contribution = self._kept(narrowed(unbroadcast(array, like.shape), like.dtype))
        start_ns = perf_counter_ns()
        (work.deliver_tensor if work.create_graph else work.deliver)(edge, raw, g)
        elapsed_ns = perf_counter_ns() - start_ns
        if before is None and contribution is not None:
            after = contribution
        else:
            after = self._kept(_array(_received(work, edge)))
        one.sums[id(edge)] = after
        if step is not None and (value := step.record.inputs[position]) is not None:
            axes = () if array.shape == like.shape else _summed(array.shape, like.shape)
            given = contribution if contribution is not None else after
            step.edges.append(EdgeRecord(position, value, kept, given, before, after, array.shape, axes, step))
        return elapsed_ns

    def end(self, work: Any) -> None:
        """一趟反传走完，叶子的梯度还没有放进 ``.grad``。"""
        one = self._passes.pop()
        self._finished = (work, [])
        for leaf, g, _ in work.leaves.values():
            value = self._living(leaf)
            if value is None or one.record is None:
                continue
            added = one.sums.get(id(leaf))
            if added is None or leaf.hooks:
                added = self._kept(_array(g))
            before = None if leaf.kept_grad is None else self._kept(leaf.kept_grad.array)
            if before is None:
                value.grad = added
            self._finished[1].append((leaf, one.record, Accumulation(value.id, before, added, before)))

    def accumulated(self, work: Any) -> None:
        """这趟反传的梯度都已累加到 ``.grad``。"""
        ended, leaves = self._finished
        for leaf, record, one in leaves if ended is work else ():
            one.after = one.added
            if one.before is not None or leaf.hooks:
                one.after = None if leaf.kept_grad is None else self._kept(leaf.kept_grad.array)
            self.trace.values[one.value].grad = one.after
            record.accumulated.append(one)

    # ---- 收尾

    def close(self) -> None:
        """记录到此为止。"""
        self._name_rest(self.opener)
        self.modules.stop()
        self.label()
        self.trace.settle = nothing

    def label(self) -> None:
        """给每个值一个各不相同的标签：变量名，没有则是算子名加号码；重复的加上第几次。"""
        used: set[str] = set()
        counts: dict[str, int] = {}
        for value in self.trace.values:
            stem = value.name
            if stem is None:
                stem = value.kind if value.producer is None else self.trace.nodes[value.producer].op
                counts[stem] = counts.get(stem, 0) + 1
                label = f"{stem}_{counts[stem]}"
            else:
                label = stem
            again = 2
            while label in used:
                label, again = f"{stem}_{again}", again + 1
            used.add(label)
            value.label = label


def _array(g: Any) -> Array:
    """梯度的数组；记图的反传里它是 Tensor。"""
    return g.array if isinstance(g, Tensor) else np.asarray(g)


def _array_of(value: Any) -> Array | None:
    """留下的或传入的一项里的数组；不是数组则为 ``None``。"""
    if isinstance(value, Saved):
        value = value.value
    if isinstance(value, Tensor):
        value = value.array
    return value if isinstance(value, np.ndarray) else None


def _received(work: Any, edge: Any) -> Any:
    """一条边在这趟反传里至今收到的梯度。"""
    return work.pending[edge] if edge.is_node else work.leaves[id(edge)][1]


def _summed(have: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """从 ``have`` 还原成 ``wanted`` 要对哪些轴求和。"""
    extra = len(have) - len(wanted)
    if extra < 0:
        return ()
    return (*range(extra), *(i + extra for i, n in enumerate(wanted) if n == 1 and have[i + extra] != 1))
