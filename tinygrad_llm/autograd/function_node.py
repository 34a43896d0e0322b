"""自定义算子在图上的节点：反向时调用用户写的 ``backward``，并核对它交回的梯度。

流入：各输出的梯度；流出：各输入的梯度。留下的 Tensor 也在这里取回。下一站：``engine.py``。

引擎里一个节点只有一个输出。前向有几个输出时，每个输出另有一个小节点（``OutputNode``）：它把收到的梯度放在主节点上，
再把「第几个输出有梯度」这一记号传过去，主节点因此排在全部小节点之后。记号是一个向量，几份相加就是「哪些到了」。
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.inference import refuse_saved
from tinygrad_llm.autograd.saved import Packed, packed
from tinygrad_llm.autograd.writes import clock

Kind = tuple[tuple[int, ...], Any]
"""一个输出的形状与 dtype。"""


class _UserWritten:
    """自定义算子没有求导表；引擎据此走一般路线，调用节点自己的 ``vjp``。"""

    is_joint, is_simple, is_region = True, False, False
    watched = ()

    def __init__(self, holds: bool) -> None:
        self.holds = holds


_HOLDS: Any = _UserWritten(holds=True)
_PASSES_ON: Any = _UserWritten(holds=False)


class Saved:
    """``save_for_backward`` 的一项。

    Attributes:
        value: 留下的 Tensor；是自己的输出或被 ``saved_tensors_hooks`` 换过的，则是数组或 ``Packed``。
        edge: 取回时接到图上的哪里。
        output: 是自己的第几个输出；不是输出则为 ``None``。留下输出自己会形成引用环，所以只留它的数组。
    """

    __slots__ = ("edge", "output", "value")

    def __init__(self, tensor: Any, output: int | None) -> None:
        refuse_saved(tensor)
        self.output, self.edge = output, None
        value = packed(tensor.array)
        if output is None:
            self.edge = (tensor.node or tensor) if tensor.needs_grad else None
            value = value if type(value) is Packed else tensor
        self.value = value

    def array(self) -> Any:
        """留下的数组，用来核对是否被改写过；换过的不核对。"""
        return self.value.array if isinstance(self.value, graph.tensor_type) else self.value

    def restored(self, node: FunctionNode) -> Any:
        """取回的 Tensor，接在图上。"""
        if isinstance(self.value, graph.tensor_type):
            return self.value
        array = self.value.unpacked() if type(self.value) is Packed else self.value
        edge = self.edge if self.output is None else node.edge_of(self.output)
        return graph.tensor_type.wrap(array) if edge is None else graph.tensor_type.from_edge(array, edge)


class FunctionNode(Node):
    """自定义算子的节点；每个 ``Function`` 子类另有一个以它命名的子类，名字与 torch 相同。

    Attributes:
        function: ``Function`` 的子类。
        ctx: 前向留下的便签；``grad_fn`` 上没有的属性到它那里去找。
        is_tensor: 各输入是不是 Tensor。
        kinds: 各输出的形状与 dtype；不是 Tensor 的输出为 ``None``。
        outputs: 各输出的小节点，弱引用。
        received: 各输出收到、还没用掉的梯度；一趟反传里套着另一趟时，后来的先用。
    """

    __slots__ = ("ctx", "function", "is_tensor", "kinds", "outputs", "received")

    def __init__(self, function: Any, ctx: Any, edges: tuple[Any, ...], inputs: Sequence[Any]) -> None:
        self.function, self.ctx = function, ctx
        _fill(self, _HOLDS, edges, ((), np.dtype(np.float64)))
        self.is_tensor = [isinstance(a, graph.tensor_type) for a in inputs]
        self.kinds: list[Kind | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ctx, name)

    def name(self) -> str:
        """类名加 ``Backward``。"""
        return f"{self.function.__name__}Backward"

    def settle(self, kinds: list[Kind | None]) -> None:
        """前向做完，知道了有几个输出、各是什么样子。"""
        self.kinds = kinds
        self.outputs: list[Any] = [None] * len(kinds)
        self.received: list[list[Any]] = [[] for _ in kinds]
        alone = kinds[0] if len(kinds) == 1 else None
        self.shape, self.dtype = alone or ((len(kinds),), np.dtype(np.float64))

    def edge_of(self, i: int) -> Node:
        """第 ``i`` 个输出来自的节点：只有一个输出就是自己。"""
        if len(self.kinds) == 1:
            return self
        node = None if self.outputs[i] is None else self.outputs[i]()
        if node is None:
            node = OutputNode(self, i)
            self.outputs[i] = weakref.ref(node)  # 小节点指着主节点，反过来只能是弱引用
        return node

    def restored(self) -> tuple[Any, ...]:
        """``ctx.saved_tensors``。

        Raises:
            RuntimeError: 图已经释放，或留下的 Tensor 被就地改写过。
        """
        saved = self.checked_saved()
        if self.time != clock.time:
            self.check_unwritten([one.array() for one in saved if one is not None])
        return tuple(None if one is None else one.restored(self) for one in saved)

    def grad_outputs(self, g: Any) -> tuple[Any, ...]:
        """各输出的梯度；没有收到的为 ``None``。"""
        if len(self.kinds) == 1:
            return (g,)
        arrived = g.array if isinstance(g, graph.tensor_type) else g
        return tuple(grads[-1] if here else None for grads, here in zip(self.received, arrived, strict=True))

    def with_grad_outputs(self, g: Any, grads: tuple[Any, ...]) -> Any:
        """前钩子换过各输出的梯度：放回原处。"""
        if len(self.kinds) == 1:
            return grads[0]
        for i, changed in enumerate(grads):
            if changed is not None:
                self.received[i][-1] = changed
        return g

    def check_partial(self) -> None:
        """``Function`` 可以声明自己只能参加完整的反传。"""
        refusal = getattr(self.function, "refuses_partial", None)
        if refusal is not None:
            raise RuntimeError(refusal)

    def vjp(self, g: Any) -> list[tuple[int, Any]]:
        """调用用户的 ``backward``，把 Tensor 换回数组。"""
        # 用户可能把同一个 Tensor 还给几个输入，或直接还回留下的值：交出视图，引擎就知道内存不归自己
        return [(i, r.array.view()) for i, r in enumerate(self._call(g)) if r is not None]

    def vjp_graph(self, g: Any) -> list[tuple[int, Any]]:
        """同上，但记图：用户的 ``backward`` 由可导的运算写成时即可求二阶导。"""
        return list(enumerate(self._call(g)))

    def _call(self, g: Any) -> list[Any]:
        given = [self._materialized(i, one) for i, one in enumerate(self.grad_outputs(g))]
        if len(self.kinds) > 1:
            for i, one in enumerate(self.grad_outputs(g)):
                if one is not None:
                    self.received[i].pop()
        result = self.function.derivative()(self.ctx, *given)
        return self._checked(list(result) if isinstance(result, tuple) else [result])

    def _materialized(self, i: int, g: Any) -> Any:
        """用户的 ``backward`` 看到的第 ``i`` 个梯度。"""
        kind = self.kinds[i]
        if g is None and kind is not None and self.ctx.materialize_grads:
            return graph.tensor_type.wrap(np.zeros(*kind))
        return g if g is None or isinstance(g, graph.tensor_type) else graph.tensor_type.wrap(np.asarray(g))

    def _checked(self, grads: list[Any]) -> list[Any]:
        """个数、类型与形状都要与输入对得上；多出来的 ``None`` 不计。"""
        n = len(self.edges)
        if len(grads) > n and all(g is None for g in grads[n:]):
            grads = grads[:n]
        if len(grads) != n:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {n}, got {len(grads)})"
            )
        for i, g in enumerate(grads):
            if g is not None:
                self._check_one(i, g)
        return [g if edge is not None else None for g, edge in zip(grads, self.edges, strict=True)]

    def _check_one(self, i: int, g: Any) -> None:
        if not self.is_tensor[i]:
            raise RuntimeError(
                f"function {self.name()} returned a gradient different than None at position {i + 1}, but the "
                "corresponding forward input was not a Variable"
            )
        if not isinstance(g, graph.tensor_type):
            raise RuntimeError(f"expected Variable or None (got {type(g).__name__})")
        edge = self.edges[i]
        if edge is None:
            return
        have, want = g.array.shape, edge.shape if edge.is_node else edge.array.shape
        ending = have[len(have) - len(want) :]
        if len(have) < len(want) or any(w not in (1, h) for w, h in zip(want, ending, strict=True)):
            raise RuntimeError(
                f"Function {self.name()} returned an invalid gradient at index {i} - got {list(have)} but expected "
                f"shape compatible with {list(want)}"
            )


class OutputNode(Node):
    """多输出的自定义算子的一个输出：把梯度放在主节点上，只传一个记号过去。

    Attributes:
        output_nr: 第几个输出。
    """

    __slots__ = ("output_nr",)

    def __init__(self, hub: FunctionNode, i: int) -> None:
        self.output_nr = i
        _fill(self, _PASSES_ON, (hub,), hub.kinds[i])

    @property
    def public(self) -> Any:
        """``grad_fn`` 是主节点。"""
        return self.edges[0]

    def name(self) -> str:
        """与主节点同名。"""
        return str(self.edges[0].name())

    def vjp(self, g: Any) -> list[tuple[int, Any]]:
        """放下梯度，传出记号。"""
        hub = self.edges[0]
        hub.received[self.output_nr].append(g)
        arrived = np.zeros(hub.shape)
        arrived[self.output_nr] = 1
        return [(0, arrived)]

    def vjp_graph(self, g: Any) -> list[tuple[int, Any]]:
        """同上；记号是常数，不在图上。"""
        ((position, arrived),) = self.vjp(g)
        return [(position, graph.tensor_type.wrap(arrived))]


def _fill(node: Node, plan: Any, edges: Sequence[Any], kind: Any) -> None:
    """填上 ``Node`` 的各项。"""
    node.op, node.plan, node.attrs = None, plan, {}  # type: ignore[assignment]  # 没有算子
    node.edges, node.saved, node.hooks = edges, None, None
    node.shape, node.dtype = kind
    node.order, node.time = graph.next_order(), clock.time
