"""自定义算子：``torch.autograd.Function`` 的写法。

流入：用户写的 ``forward`` 与 ``backward``；流出：像普通算子一样可用的 ``apply``。下一站：``function_node.py``。
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.autograd import graph, observer
from tinygrad_llm.autograd.function_node import FunctionNode, Saved
from tinygrad_llm.autograd.mode import no_grad, switch
from tinygrad_llm.autograd.writes import clock


class FunctionCtx:
    """前向留给反向的便签；用户也可以随意添上属性。

    Attributes:
        needs_input_grad: 各输入是否需要梯度。
        materialize_grads: 没有收到梯度的输出，是补零还是给 ``None``。
        to_save: ``save_for_backward`` 交来的 Tensor，前向做完才取走。
        dirty_tensors: 被就地改写过的输入。
        non_differentiable: 不可导的输出。
        node: 自己属于哪个节点，弱引用；前向做完之前为 ``None``。
    """

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads: bool = True
    to_save: tuple[Any, ...] = ()
    dirty_tensors: tuple[Any, ...] = ()
    non_differentiable: tuple[Any, ...] = ()
    node: weakref.ref[FunctionNode] | None = None

    def save_for_backward(self, *tensors: Any) -> None:
        """留下反向要用的 Tensor（可以含 ``None``）。"""
        self.to_save = tensors

    def mark_dirty(self, *args: Any) -> None:
        """声明这些输入被就地改写过；它们必须也是输出。"""
        self.dirty_tensors = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """声明这些输出不可导；``backward`` 收到的相应梯度总是 0。"""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """没有收到梯度的输出，``backward`` 看到零（缺省）还是 ``None``。"""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """``save_for_backward`` 留下的 Tensor。

        Raises:
            RuntimeError: 图已经释放，或其中有的被就地改写过。
        """
        node = None if self.node is None else self.node()
        return () if node is None else node.restored()


class Function:
    """自定义算子的基类：子类写静态的 ``forward`` 与 ``backward``，用 ``apply`` 调用。

    ``forward(ctx, ...)`` 自己在便签上留东西；也可以写成 ``forward(...)`` 加 ``setup_context(ctx, inputs, output)``。
    """

    node_type: type[FunctionNode] = FunctionNode

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.node_type = type(f"{cls.__name__}Backward", (FunctionNode,), {"__slots__": ()})

    def __init__(self) -> None:
        raise RuntimeError(f"{type(self).__name__} should not be instantiated: its methods are static, use apply")

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """前向；在不记图的环境里执行。"""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """前向不收 ``ctx`` 时，由它在便签上留下反向要用的东西。"""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """反向；返回与 ``forward`` 的输入等长的梯度（不可导的输入给 ``None``）。"""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @classmethod
    def derivative(cls) -> Callable[..., Any]:
        """用户写的反向：``backward``，或它的别名 ``vjp``。

        Raises:
            RuntimeError: 两个都写了。
        """
        if cls.vjp is Function.vjp:
            return cls.backward
        if cls.backward is not Function.backward:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. "
                "You should only implement one of them."
            )
        return cls.vjp

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """执行前向并记一个节点。

        Args:
            *args: Tensor 或任意常数；列表里的 Tensor 不求导。
            **kwargs: 按 ``forward`` 的签名排到位置参数之后；写了 ``setup_context`` 时，缺省值也一并排上。

        Returns:
            ``forward`` 的返回值：一个或一个元组，其中的 Tensor 接在图上，别的原样交出。

        Raises:
            TypeError: 关键字参数排不成位置参数。
        """
        is_split = cls.setup_context is not Function.setup_context
        if kwargs or is_split:
            args = _positional(cls.forward, args, kwargs, is_split)
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, graph.tensor_type) and a.requires_grad for a in args)
        edges = tuple((a.node or a) if need else None for a, need in zip(args, ctx.needs_input_grad, strict=True))
        observer.before(cls)
        recorder, switch.recorder = switch.recorder, None  # 里面的运算合起来是一步，不另报
        if recorder is not None:
            recorder.before()
        try:
            with no_grad():
                result = cls.forward(*args) if is_split else cls.forward(ctx, *args)
                if is_split:
                    cls.setup_context(ctx, args, result)
        finally:
            switch.recorder = recorder
        raw = result if isinstance(result, tuple) else (result,)
        _check_dirty(ctx, raw)
        wanted = switch.grad_enabled and any(ctx.needs_input_grad)
        outputs = _recorded(cls, ctx, edges, args, raw) if wanted else _plain(ctx, args, raw)
        if recorder is not None:
            recorder.function(cls, args, outputs)
        observer.after(cls, args, outputs)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]


def _positional(forward: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], is_split: bool) -> Any:
    """关键字参数排成位置参数：反向的梯度按位置对应。"""
    bound = inspect.signature(forward).bind(*args if is_split else (None, *args), **kwargs)
    if is_split:
        bound.apply_defaults()
    if bound.kwargs:
        name = next(iter(bound.kwargs))
        raise TypeError(f"forward() got an unexpected keyword argument {name!r}, or one before it is missing")
    return bound.args if is_split else bound.args[1:]


def _check_dirty(ctx: FunctionCtx, raw: Sequence[Any]) -> None:
    returned = {id(r) for r in raw}
    if any(id(t) not in returned for t in ctx.dirty_tensors):
        raise RuntimeError(
            "Some elements marked as dirty during the forward method were not returned as output. "
            "The inputs that are modified inplace must all be outputs of the Function."
        )


def _plain(ctx: FunctionCtx, args: Sequence[Any], raw: Sequence[Any]) -> list[Any]:
    """不记图时的输出：原样返回的输入换成它的视图，别的照旧。"""
    inputs, dirty = {id(a) for a in args}, {id(t) for t in ctx.dirty_tensors}
    return [_detached(r) if id(r) in inputs - dirty else r for r in raw]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, graph.tensor_type) else value


def _recorded(cls: Any, ctx: FunctionCtx, edges: tuple[Any, ...], args: Sequence[Any], raw: Sequence[Any]) -> list[Any]:
    """把前向的结果接到图上；返回的是新的 Tensor，节点留下的旧 Tensor 因此不会反过来指着它。"""
    node = cls.node_type(cls, ctx, edges, args)
    tensors = [isinstance(r, graph.tensor_type) for r in raw]
    node.settle([(r.array.shape, r.array.dtype) if t else None for r, t in zip(raw, tensors, strict=True)])
    inputs, dirty = {id(a) for a in args}, {id(t) for t in ctx.dirty_tensors}
    constant = {id(t) for t in ctx.non_differentiable}
    outputs, places = [], {}
    for i, (r, is_tensor) in enumerate(zip(raw, tensors, strict=True)):
        if not is_tensor or id(r) in constant or r.array.dtype.kind not in "fc":
            outputs.append(_detached(r) if id(r) in inputs or (is_tensor and r.needs_grad) else r)
            continue
        output = graph.tensor_type.from_edge(r.array, node.edge_of(i))
        if id(r) in dirty:
            output = r.write(output)
        elif id(r) in inputs or r.base is not None:
            output.one_of_many = True  # 视图：就地改写它会绕过用户的 ``backward``，与 torch 一样不许
        if id(r) in dirty or id(r) not in inputs:
            places[id(r)] = i
        outputs.append(output)
    node.saved = [_saved(t, places, i) for i, t in enumerate(ctx.to_save)]
    node.time = clock.time
    ctx.node = weakref.ref(node)
    ctx.to_save = ctx.dirty_tensors = ctx.non_differentiable = ()
    return outputs


def _saved(tensor: Any, places: dict[int, int], i: int) -> Saved | None:
    if tensor is None:
        return None
    if not isinstance(tensor, graph.tensor_type):
        given = type(tensor).__name__
        raise TypeError(f"save_for_backward can only save variables, but argument {i} is of type {given}")
    return Saved(tensor, places.get(id(tensor)))


class _DelayedError(Function):
    """原样通过；反传到这里就报错。"""

    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Any:
        return tensors

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """装饰 ``backward``：它只能求一阶导；求二阶导时报错，而不是给出错误的值。"""

    @functools.wraps(fn)
    def wrapper(ctx: Any, *grad_outputs: Any) -> Any:
        with no_grad():
            found = fn(ctx, *grad_outputs)
        if not (switch.grad_enabled and any(_needs(g) for g in grad_outputs)):
            return found
        grads = found if isinstance(found, tuple) else (found,)
        return _DelayedError.apply(*[None if g is None else g.detach().requires_grad_() for g in grads])

    return wrapper


def _needs(value: Any) -> bool:
    return isinstance(value, graph.tensor_type) and value.requires_grad
