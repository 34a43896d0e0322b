"""自定义算子：``torch.autograd.Function`` 的写法。

流入：用户写的 ``forward`` 与 ``backward``；流出：像普通算子一样可用的 ``apply``。下一站：``tinygrad_llm/tensor.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.mode import enable_grad, no_grad, switch
from tinygrad_llm.autograd.writes import clock


class FunctionCtx:
    """前向留给反向的便签。

    Attributes:
        saved_tensors: ``save_for_backward`` 留下的 Tensor。
        needs_input_grad: 各输入是否需要梯度。
    """

    def __init__(self) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """留下反向要用的 Tensor（可以含 ``None``）。"""
        self.saved_tensors = tensors


class _UserWritten:
    """自定义算子没有求导表；引擎据此走一般路线，调用节点自己的 ``vjp``。"""

    is_joint = True
    holds = True
    watched = ()


_USER_WRITTEN = _UserWritten()


class _FunctionNode(Node):
    """自定义算子的节点：反向由用户的 ``backward`` 完成。"""

    __slots__ = ("ctx", "function", "result")

    def __init__(self, function: type[Function], ctx: FunctionCtx, edges: tuple[Any, ...], result: Any) -> None:
        self.function, self.ctx, self.result = function, ctx, result
        self.op, self.plan, self.attrs = None, _USER_WRITTEN, {}  # type: ignore[assignment]
        self.edges, self.saved = edges, []
        self.shape, self.dtype = result.array.shape, result.array.dtype
        self.order, self.hooks = graph.next_order(), None
        self.time = clock.time

    def name(self) -> str:
        """类名加 ``Backward``。"""
        return f"{self.function.__name__}Backward"

    def vjp(self, g: Any) -> list[tuple[int, Any]]:
        """调用用户的 ``backward``，把 Tensor 换回数组。"""
        with no_grad():
            # 用户可能把同一个 Tensor 还给几个输入，或直接还回留下的值：交出视图，引擎就知道内存不归自己
            found = self._call(graph.tensor_type.wrap(np.asarray(g)))
            return [(i, r.array.view()) for i, r in enumerate(found) if r is not None]

    def vjp_graph(self, g: Any) -> list[tuple[int, Any]]:
        """同上，但记图：用户的 ``backward`` 由可导的运算写成时即可求二阶导。

        前向留下的若是输出本身，这里换成接在图上的那一份；用完立即换回，图里不留引用环。
        """
        saved = self.ctx.saved_tensors
        attached = graph.tensor_type.from_edge(self.result.array, self)
        self.ctx.saved_tensors = tuple(attached if t is self.result else t for t in saved)
        try:
            with enable_grad():
                return list(enumerate(self._call(g)))
        finally:
            self.ctx.saved_tensors = saved

    def _call(self, g: Any) -> list[Any]:
        self.checked_saved()
        self.check_unwritten([t.array for t in self.ctx.saved_tensors if t is not None])
        result = self.function.backward(self.ctx, g)
        grads = list(result) if isinstance(result, tuple) else [result]
        if len(grads) != len(self.edges):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients "
                f"(expected {len(self.edges)}, got {len(grads)})"
            )
        return grads


class Function:
    """自定义算子的基类：子类写静态的 ``forward(ctx, ...)`` 与 ``backward(ctx, g)``，用 ``apply`` 调用。"""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """前向；在不记图的环境里执行。"""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """反向；返回与 ``forward`` 的输入等长的梯度（不可导的输入给 ``None``）。"""
        raise NotImplementedError("You must implement the backward function for custom autograd.Function.")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """执行前向并记一个节点。

        Args:
            *args: Tensor 或任意常数。

        Returns:
            单个结果 Tensor。

        Raises:
            TypeError: ``forward`` 没有返回单个 Tensor。
        """
        ctx = FunctionCtx()
        is_tensor = [isinstance(a, graph.tensor_type) for a in args]
        ctx.needs_input_grad = tuple(t and a.needs_grad for t, a in zip(is_tensor, args, strict=True))
        with no_grad():
            result = cls.forward(ctx, *args)
        if not isinstance(result, graph.tensor_type):
            raise TypeError(f"{cls.__name__}.forward must return one Tensor, got {type(result).__name__}")
        output = graph.tensor_type.wrap(result.array)
        if switch.grad_enabled and any(ctx.needs_input_grad):
            edges = tuple((a.node or a) if need else None for a, need in zip(args, ctx.needs_input_grad, strict=True))
            output.node = _FunctionNode(cls, ctx, edges, result)
            output.needs_grad = True
        return output
