"""节点给用户看的一面：``grad_fn`` 上的名字、来处与钩子，与 torch 相同。

流入：图上的节点；流出：``next_functions``、``metadata`` 与钩子的句柄。引擎自己不用这里的东西。下一站：``hooks.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class NodeApi:
    """``graph.Node`` 的用户接口。

    Attributes:
        output_nr: 自己对应前向的第几个输出。
    """

    __slots__ = ()

    edges: Sequence[Any]
    hooks: Any
    output_nr = 0

    @property
    def public(self) -> Any:
        """``grad_fn`` 交给用户的节点；多输出的自定义算子的几个输出共有一个。"""
        return self

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """各输入的来处：（节点，第几个输出）；叶子是 ``AccumulateGrad``，不需要梯度的输入是 ``None``。"""
        return tuple(_source(edge) for edge in self.edges)

    @property
    def metadata(self) -> dict[Any, Any]:
        """用户随节点存放的东西。"""
        from tinygrad_llm.autograd import hooks

        return hooks.of(self).metadata

    def register_hook(self, fn: Callable[..., Any]) -> Any:
        """节点执行之后调用 ``fn(grad_inputs, grad_outputs)``；返回的元组替换各输入的梯度。"""
        from tinygrad_llm.autograd import hooks

        return hooks.add(hooks.of(self).after, fn)

    def register_prehook(self, fn: Callable[..., Any]) -> Any:
        """节点执行之前调用 ``fn(grad_outputs)``；返回的元组替换各输出的梯度。"""
        from tinygrad_llm.autograd import hooks

        return hooks.add(hooks.of(self).before, fn)

    def check_partial(self) -> None:
        """只对一部分输入反传时，轮到自己之前的检查；有的节点只能参加完整的反传。"""

    def grad_outputs(self, g: Any) -> tuple[Any, ...]:
        """节点级的钩子看到的各输出的梯度。"""
        return (g,)

    def with_grad_outputs(self, g: Any, grads: tuple[Any, ...]) -> Any:
        """换掉各输出的梯度之后，节点该收到什么。"""
        return grads[0]


class AccumulateGrad:
    """图的尽头：把梯度加到叶子的 ``.grad`` 上。引擎不用它，需要看图时现造。

    Attributes:
        variable: 叶子。
    """

    next_functions = ()

    def __init__(self, variable: Any) -> None:
        self.variable = variable

    def name(self) -> str:
        """与 torch 同名。"""
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return "<AccumulateGrad>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)

    @property
    def metadata(self) -> dict[Any, Any]:
        """用户随它存放的东西。"""
        from tinygrad_llm.autograd import hooks

        return hooks.of(self.variable).metadata

    def register_prehook(self, fn: Callable[..., Any]) -> Any:
        """累加之前、张量的钩子之后调用 ``fn(grad_outputs)``；返回的元组替换梯度。"""
        from tinygrad_llm.autograd import hooks

        return hooks.add(hooks.of(self.variable).before, fn)

    def register_hook(self, fn: Callable[..., Any]) -> Any:
        """累加之后、``register_post_accumulate_grad_hook`` 的钩子之后调用 ``fn((), grad_outputs)``。"""
        from tinygrad_llm.autograd import hooks

        return hooks.add(hooks.of(self.variable).after, fn)


def _source(edge: Any) -> tuple[Any, int]:
    if edge is None:
        return None, 0
    return (edge.public, edge.output_nr) if edge.is_node else (AccumulateGrad(edge), 0)
