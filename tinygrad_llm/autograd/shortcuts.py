"""最常见的一元、二元算子的捷径：前向与记图就地办完，不经 ``graph.apply``。

流入：Tensor；流出：结果 Tensor 与它身后的节点，与 ``graph.apply`` 逐位相同。
追踪小图时，开销都在记图上。下一站：``engine.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import Node, next_order
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.writes import clock
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.ops.op import Op
from tinygrad_llm.ops.ordering import like_operands

_new, _ndarray = object.__new__, np.ndarray
_NO_ATTRS: dict[str, Any] = {}


def unary_method(op: Op, otherwise: Callable[[Op, Any], Any]) -> Callable[[Any], Any]:
    """一元算子的方法，等于 ``apply(op, (x,), {})``，但省去一切用不着的判断。

    Args:
        op: 没有属性、没有 ``keeps`` 的算子。
        otherwise: ``(op, x)``，不是最常见的情形（整数、视图、正在追踪）时改走这里。

    Returns:
        ``(x)`` → 结果。
    """
    forward, plans = op.forward, op.plans

    def method(x: Any) -> Any:
        if x.base is not None or extras.users or not x.needs_grad:
            return otherwise(op, x)
        array = x.array
        y = forward(array)
        if type(y) is not _ndarray:
            y = np.asarray(y)
        output = _new(graph.tensor_type)
        output.array = y
        if switch.grad_enabled:
            plan: Any = plans.get(0b11) or op.plan(0b11)
            node = output.node = _new(Node)
            node.op, node.plan, node.edges, node.attrs, node.hooks = op, plan, (x.node or x,), _NO_ATTRS, None
            node.saved, node.order, node.time = plan.pick((array, y)), next_order(), clock.time
            node.shape, node.dtype = y.shape, y.dtype
            output.needs_grad = True
        return output

    method.__doc__ = op.doc
    return method


def binary_method(
    op: Op, otherwise: Callable[[Op, Any, Any], Any], is_elementwise: bool = True
) -> Callable[[Any, Any], Any]:
    """二元算子的方法，等于 ``apply(op, (a, b), {})``；两个都是 Tensor、dtype 相同的情形就地办完。

    Args:
        op: 没有属性、没有 ``keeps``、两个输入都可导的算子。
        otherwise: ``(op, a, b)``，其余情形改走这里。
        is_elementwise: 逐元素的运算，结果的内存次序随操作数。

    Returns:
        ``(a, b)`` → 结果。
    """
    forward, plans = op.forward, op.plans

    def method(a: Any, b: Any) -> Any:
        if not isinstance(b, graph.tensor_type) or a.base is not None or b.base is not None or extras.users:
            return otherwise(op, a, b)
        left, right = a.array, b.array
        if left.dtype is not right.dtype:
            return otherwise(op, a, b)
        try:
            y = forward(left, right)
        except (ValueError, TypeError, RuntimeWarning):  # 一般路线会再遇到它，并说清是哪里不合
            return otherwise(op, a, b)
        if type(y) is not _ndarray:
            y = np.asarray(y)
        if y.ndim > 1 and is_elementwise and not left.flags.c_contiguous:
            y = like_operands(y, left, right)
        output = _new(graph.tensor_type)
        output.array = y
        need_a, need_b = a.needs_grad, b.needs_grad
        if (need_a or need_b) and switch.grad_enabled:
            wanted = 0b111 if need_a and need_b else 0b101 if need_a else 0b110  # 最高位是哨兵，见 ``Op.plan``
            plan: Any = plans.get(wanted) or op.plan(wanted)
            node = output.node = _new(Node)
            node.op, node.plan, node.attrs, node.hooks, node.time = op, plan, _NO_ATTRS, None, clock.time
            node.edges = (a.node or a if need_a else None, b.node or b if need_b else None)
            node.saved, node.order = plan.pick((left, right, y)) if plan.sources else (), next_order()
            node.shape, node.dtype = y.shape, y.dtype
            output.needs_grad = True
        return output

    method.__doc__ = op.doc
    return method
