"""图：每次算子调用记一个 ``Node``。

流入：``apply`` 收到的算子与参数；流出：结果 Tensor 与它身后的节点。下一站：``engine.py``。

节点只指向**更早**的节点，只留数组、不留 Tensor，所以图里没有引用环，用完立即释放。
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.absent import absent
from tinygrad_llm.autograd import anomaly, observer
from tinygrad_llm.autograd.complex import refuse_complex
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.names import torch_name
from tinygrad_llm.autograd.node_api import NodeApi
from tinygrad_llm.autograd.precision import autocast_args, working_forward
from tinygrad_llm.autograd.writes import clock, written_since
from tinygrad_llm.ops.bfloat16 import extras, widened
from tinygrad_llm.ops.elementwise import cast
from tinygrad_llm.ops.meta import any_meta, without_data
from tinygrad_llm.ops.op import Op, Plan
from tinygrad_llm.ops.ordering import like_operands, spreads_to
from tinygrad_llm.ops.shape import copied

next_order = itertools.count(0, -1).__next__
"""下一个创建次序号：从 0 往下数，越晚越小。"""


class Node(NodeApi):
    """图上的一个节点：一次算子调用，以及反向时要用的东西。

    Attributes:
        op: 哪个算子。
        plan: 反向要执行求导表的哪几行。
        edges: 各输入的来处：``Node``（中间结果）、叶子 ``Tensor``，或 ``None``（不需要梯度）。
        saved: 前向留下的值，与 ``plan.sources`` 对应；反传用完即置空。
        time: 留下值的那一刻，就地写入的总次数（见 ``writes.py``）。
        attrs: 算子的属性。
        order: 创建次序，越晚越小：反传从最小的开始。
        hooks: 挂在它身上的钩子（见 ``hooks.py``）；没有则为 ``None`` 或假。
        shape: 输出的形状；到达这里的梯度要还原成它。
        dtype: 输出的 NumPy dtype。
    """

    __slots__ = (
        "__weakref__", "attrs", "dtype", "edges", "hooks", "op", "order", "plan", "saved", "shape", "time",
    )  # fmt: skip

    is_node = True  # 图的另一头可能是叶子 Tensor；那里同名的属性为假
    op: Op
    plan: Plan
    edges: Sequence[Any]
    attrs: dict[str, Any]
    saved: Sequence[Any] | None
    time: int
    order: int
    hooks: Any
    shape: tuple[int, ...]
    dtype: Any

    def name(self) -> str:
        """与 torch 的 ``grad_fn.name()`` 同样的写法。"""
        return torch_name(self)

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def checked_saved(self) -> Sequence[Any]:
        """取出留下的值；已释放或被就地改写过则报错。"""
        if self.saved is None:
            raise RuntimeError(
                f"Trying to backward through the graph a second time ({self.name()}): its saved values were freed. "
                "Specify retain_graph=True on the first backward call if you need a second one."
            )
        if self.time != clock.time:
            self.check_unwritten([self.saved[slot] for slot in self.plan.watched])
        if Node in map(type, self.saved):
            return [value.rebuilt() if type(value) is Node else value for value in self.saved]
        return self.saved

    def rebuilt(self) -> Any:
        """重算输出，见 ``Plan.rebuild``。"""
        forward, slots = self.plan.rebuild  # type: ignore[misc]  # 能重算的才会问到
        saved = self.checked_saved()
        return forward(*[saved[slot] for slot in slots])

    def check_unwritten(self, arrays: Iterable[Any]) -> None:
        """留下的数组此后被就地改写过则报错。"""
        for array in arrays:
            if isinstance(array, np.ndarray) and written_since(array, self.time):
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"{self.name()} saved a tensor of shape {array.shape}, and it was written to afterwards. "
                    f"Write to a clone() instead, or move the write after backward().{anomaly.origin(self)}"
                )

    def vjp(self, g: Any) -> Iterable[tuple[int, Any]]:
        """数组上的反向：输出的梯度 → 各输入的（位置，梯度）。"""
        saved = self.checked_saved()
        if extras.low_precision:  # 与前向一样，在 float32 里算；舍入由引擎在交给输入时做
            g, saved = widened(g), [widened(value) for value in saved]
        for position, vjp, _, slots in self.plan.rules:
            found = vjp(g, *[saved[slot] for slot in slots])
            yield from enumerate(found) if self.plan.is_joint else ((position, found),)

    def vjp_graph(self, g: Any) -> Iterable[tuple[int, Any]]:
        """Tensor 上的反向：同一张求导表，但边算边记图，供二阶导使用。"""
        values = dict(
            zip(self.plan.sources, self.checked_saved(), strict=False)
        )  # 只留一样时它出现两次，见 ``_picker``
        for name, value in values.items():
            if name == "y":
                values[name] = tensor_type.from_edge(value, self)
            elif name in self.op.inputs:
                values[name] = _reattach(value, self.edges[self.op.inputs.index(name)])
        if self.op.composed is not None:
            if not set(self.op.inputs) <= set(values):
                raise RuntimeError(
                    f"create_graph=True needs the inputs of {self.op.name}, which were not kept: the graph was built "
                    "inside autograd.first_order()"
                )
            return list(enumerate(self._vjp_composed(g, [values[name] for name in self.op.inputs])))
        found = []
        for position, vjp, _, slots in self.plan.rules:
            result = vjp(g, *[values[self.plan.sources[slot]] for slot in slots])
            if self.plan.is_joint:
                return list(enumerate(result))
            found.append((position, result))
        return found

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
    return tensor_type.wrap(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fc" else value


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
    if len(attrs) < len(op.attrs):
        attrs = {**op.defaults, **attrs}
    if extras.users:
        args = _prepared(op, args)
        if switch.composed and op.composed is not None:
            return _composed(op.composed, args, attrs)
        _begun(op)
    pool, edges, wanted, bit = [], [], 0, 1  # wanted 的第 i 位：第 i 个参数需要梯度
    for a in args:
        edge = None
        if isinstance(a, tensor_type):
            if a.base is not None:
                a.refreshed()
            if a.needs_grad:
                wanted |= bit
                edge = a.node or a
            a = a.array
        pool.append(a)
        edges.append(edge)
        bit += bit
    records = wanted and switch.grad_enabled
    forward = op.plain if op.plain is not None and not records else op.forward
    if extras.low_precision:
        forward = working_forward(op, forward, args, tensor_type)
    try:
        y = forward(*pool, **attrs)
    except RuntimeWarning:  # 用户把警告当作错误：inf 与 NaN 如实算下去，与 torch 一样不作声
        with np.errstate(all="ignore"):
            y = forward(*pool, **attrs)
    except ValueError as error:
        raise RuntimeError(_shape_message(op, pool, error) + anomaly.operands(edges)) from None
    except TypeError as error:
        raise RuntimeError(f"{op.name}: {error}") from None
    kept: Sequence[Any] = ()
    if op.keeps and type(y) is tuple:
        y, *kept = y
    if type(y) is not np.ndarray:
        y = np.asarray(y)
    if extras.meta and any_meta(a.array for a in args if isinstance(a, tensor_type)):
        y = without_data(y)
    if not (y.flags.c_contiguous or op.is_view or op.is_region or op is copied):
        y = _laid(y, pool)
    output = _new(tensor_type)
    output.array = y
    if op.is_view and (np.may_share_memory(y, pool[0]) or not y.size):  # 换形状有时不得不复制，那就不是视图
        output.watch(args[0], op, attrs)
    if records and (kind := y.dtype.kind) in "fc":
        plan = _plan(op, wanted | bit, kind)
        if plan is not None:
            pool.append(y)
            if plan.wants_more:
                shapes = [d.shape if type(d) is _ndarray else np.shape(d) for d in pool[:-1]]
                pool += [shapes, plan.needs, Destinations(edges), *[attrs[name] for name in op.attrs], *kept]
            _record(op, plan, edges, pool, attrs, output)
    if extras.users:
        _reported(op, args, attrs, output)
    return output


def _composed(function: Any, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """由普通算子写成的同一个函数；末一步即使只是换形状，结果也不是谁的视图：那个中间量没有别人看得见。"""
    y = function(*[_as_tensor(a) for a in args], **attrs)
    if isinstance(y.base, tensor_type):
        y.stand_alone()
    return y


def _laid(y: Any, pool: Sequence[Any]) -> Any:
    """逐元素运算的结果，换成 torch 会给它的内存次序：步长有 0 或有重复时，NumPy 排得不同。"""
    first = pool[0]
    if type(first) is _ndarray and first.strides == y.strides and first.shape == y.shape:
        return y  # 最常见的，见 ``like_operands``
    arrays = [x for x in pool if type(x) is _ndarray and x.ndim]
    return like_operands(y, *arrays) if arrays and spreads_to(y.shape, arrays) else y


def _plan(op: Op, wanted: int, kind: str) -> Plan | None:
    """反向执行求导表的哪几行、留下什么；输出的种类是浮点（``"f"``）或复数。"""
    if kind == "c":
        return op.complex_plan(wanted)
    return op.lean_plan(wanted) if op.composed is not None and switch.first_order else op.plan(wanted)


class Destinations:
    """VJP 里的 ``into``：参数事先备好 ``grad_buffer`` 的，梯度直接放进去，省一份内存与一次复制。

    Args:
        edges: 节点的各条边。
    """

    __slots__ = ("edges",)

    def __init__(self, edges: Sequence[Any]) -> None:
        self.edges = edges

    @property
    def may_overwrite(self) -> bool:
        """这趟反传之后图就释放：算子自己留下的中间量可以就地改写。"""
        return switch.frees_graph

    def __call__(self, i: int) -> Any:
        """第 i 个输入的梯度该放进哪里；此刻不能直接放（不是叶子、挂着钩子……）则为 ``None``。"""
        leaf = self.edges[i]
        if leaf is None or leaf.is_node or not switch.writes_grad or leaf.hooks:
            return None
        buffer = leaf.grad_buffer
        if buffer is None or buffer.is_grad_of(leaf):
            return buffer
        if leaf.kept_grad is not None:
            return None
        buffer.clear()  # ``.grad`` 是空的：这是第一份
        return buffer


_new, _ndarray = object.__new__, np.ndarray


def _record(
    op: Op,
    plan: Plan,
    edges: Sequence[Any],
    pool: Sequence[Any],
    attrs: dict[str, Any],
    output: Any,
) -> None:
    """记一个节点，接到 ``output`` 身后；``pool`` 是 ``Plan.pick`` 认得的候选。"""
    node = _new(Node)
    node.op, node.plan, node.edges, node.attrs, node.time, node.hooks = op, plan, edges, attrs, clock.time, None
    node.saved, node.order = plan.pick(pool), next_order()
    if switch.first_order and plan.is_joint and op.composed is not None:
        node.saved = _without_rebuildable(node)
    y = output.array
    node.shape, node.dtype = y.shape, y.dtype
    output.node, output.needs_grad = node, True


def _without_rebuildable(node: Node) -> Sequence[Any]:
    """要留的输入若能由算出它的节点重算，就改留那个节点：它反传时要用的东西反正留着，而且比这里晚释放。"""
    saved = list(node.saved or ())
    for slot in node.plan.watched:
        name, array = node.plan.sources[slot], saved[slot]
        edge = None if name == "y" else node.edges[node.op.inputs.index(name)]
        if type(edge) is not Node or edge.plan.rebuild is None:
            continue
        if edge.dtype is array.dtype and not written_since(array, edge.time):
            saved[slot] = edge
    return saved


def _cast(x: Any, dtype: Any) -> Any:
    return apply(cast, (x,), {"dtype": dtype})


def _prepared(op: Op, args: Sequence[Any]) -> Sequence[Any]:
    """平时不用的功能在算子执行之前要对参数做的事；返回（或许换过 dtype 的）参数。"""
    args = autocast_args(op, args, tensor_type, _cast)
    if extras.complex:
        refuse_complex(op, args, tensor_type)
    return args


def _begun(op: Op) -> None:
    """一个算子就要执行：告诉计时者与记录者；拆成普通算子的不算，由拆出的各个自己来说。"""
    observer.before(op)
    if switch.recorder is not None:
        switch.recorder.before()


def _reported(op: Op, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
    """平时不用的功能在算子执行之后要做的事。"""
    if switch.recorder is not None:
        switch.recorder.forward(op, args, attrs, output)
    if switch.anomaly and output.node is not None:
        anomaly.remember(output.node)
    if switch.tracer is not None:
        switch.tracer.forward(op, args, attrs, output)
    observer.after(op, args, (output,))


def _as_tensor(x: Any) -> Any:
    """数组与标量包成 Tensor：对照由 Tensor 的运算写成。"""
    return tensor_type.wrap(x) if isinstance(x, np.ndarray | np.generic) else x


def _shape_message(op: Op, data: Sequence[Any], error: ValueError) -> str:
    """哪个算子、各输入的形状；是广播不成的，说出是哪一根轴。"""
    shapes = [d.shape for d in data if isinstance(d, np.ndarray)]
    listed = ", ".join(str(d.shape) if isinstance(d, np.ndarray) else repr(d) for d in data)
    longest = max(map(len, shapes), default=0)
    for back in range(1, longest + 1) if "broadcast" in str(error) else ():
        sizes = [shape[-back] for shape in shapes if len(shape) >= back and shape[-back] != 1]
        if len(set(sizes)) > 1:
            both = " and ".join(str(n) for n in dict.fromkeys(sizes))
            return f"{op.name}: shapes {listed} cannot be broadcast: dimension -{back} has sizes {both}, none of them 1"
    return f"{op.name}: shapes {listed} do not fit together ({error})"


def __getattr__(name: str) -> Any:
    if name in ("increment_version", "save_on_cpu", "saved_tensors_hooks"):  # torch 把它们放在这里，用到才取
        return getattr(importlib.import_module("tinygrad_llm.autograd.saved"), name)
    raise absent(__name__, name)
