"""取整的除法、余数与截断：Tensor、数组与 Python 数混着来。

流入：两个操作数；流出：Tensor。运算符 ``//``、``%`` 与同名方法、函数都落到这里。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.arithmetic import match, ordered
from tinygrad_llm.methods.operands import no_derivative, number, refuse, together, unified
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import rounding as ro

_NO_ATTRS: dict[str, Any] = {}
_ROUNDED = {"floor": ro.div_floor, "trunc": ro.div_trunc}


def divide(a: Any, b: Any, rounding_mode: str | None) -> Any:
    """``a / b``，再按 ``rounding_mode`` 取整。

    Raises:
        RuntimeError: ``rounding_mode`` 不是 ``None``、``"trunc"`` 或 ``"floor"``；或整数除以 0。
    """
    if rounding_mode is None:
        return a / b
    if rounding_mode not in _ROUNDED:
        raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor', got {rounding_mode!r}")
    pair = together("div", a, b)
    refuse("div", pair[0], "b")
    return apply(_ROUNDED[rounding_mode], pair, _NO_ATTRS)


def floor_divide(a: Any, b: Any) -> Any:
    """商向下取整；torch 没有给它导数，反传到这里就报错。"""
    pair = together("floor_divide", a, b)
    refuse("floor_divide", pair[0], "b")
    result = graph.tensor_type.wrap(apply(ro.div_floor, pair, _NO_ATTRS).array)
    return no_derivative(RuntimeError("derivative for floor_divide is not implemented"), result, *pair)


def remainder(a: Any, b: Any) -> Any:
    """余数，符号随除数（与 Python 的 ``%`` 相同）。"""
    pair = together("remainder", a, b)
    refuse("remainder", pair[0], "b")
    return apply(ro.remainder, pair, _NO_ATTRS)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """截断到 ``[low, high]``；两端都是数，或都是 Tensor，可以只给一端。

    Raises:
        RuntimeError: 两端都没给。
        TypeError: 一端是数，另一端是有维的 Tensor。
    """
    given = [bound for bound in (low, high) if bound is not None]
    if not given:
        raise RuntimeError("clamp: at least one of 'min' or 'max' must not be None")
    if all(isinstance(bound, graph.tensor_type) for bound in given):
        return _clamp_between(x, low, high, given)
    low, high = _number(low), _number(high)
    for bound in (low, high):
        x = x if bound is None else match(x, bound)[0]  # type: ignore[index]  # 数总能与 Tensor 相遇
    refuse("clamp", x, "b")
    low, high = (bound if bound is None else number("clamp", bound, x.array.dtype) for bound in (low, high))
    return apply(ew.clamp, (x,), {"min": low, "max": high})


def _number(bound: Any) -> Any:
    """数；不需要梯度的 0 维 Tensor 也算数。"""
    if isinstance(bound, np.generic) or (isinstance(bound, graph.tensor_type) and not (bound.ndim or bound.needs_grad)):
        return bound.item()
    if bound is not None and not isinstance(bound, (bool, int, float)):
        raise TypeError(f"clamp(): expected both bounds to be numbers or both to be Tensors, got {bound!r}")
    return bound


def _clamp_between(x: Any, low: Any, high: Any, given: list[Any]) -> Any:
    x, *bounds = unified(x, *given)
    if len(bounds) == 2:
        refuse("clamp", x, "b")
        return ordered(apply(ew.clamp_between, (x, *bounds), _NO_ATTRS), x, *bounds)
    both = (x, *bounds, None) if high is None else (x, None, *bounds)
    return ordered(apply(ew.clamp_between, both, _NO_ATTRS), x, *bounds)
