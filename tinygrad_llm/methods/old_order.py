"""系数写在前面的旧写法：``x.add_(alpha, other)``、``x.addcmul_(value, a, b)``、``x.addmm(beta, alpha, a, b)``。

流入：方法；流出：也认旧写法的方法。torch 仍认它们，并警告一声；许多公开的优化器是这样写的。
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from tinygrad_llm.autograd import graph

F = TypeVar("F", bound=Callable[..., Any])


def numbers_first(*names: str, operands: int = 1) -> Callable[[F], F]:
    """装饰器：多出来的位置参数是写在前面的系数。

    Args:
        *names: 系数的名字，依次；少给几个时，给的是前几个。
        operands: 系数之后有几个操作数。
    """

    def decorate(method: F) -> F:
        @functools.wraps(method)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            extra = len(args) - operands
            if 0 < extra <= len(names) and not kwargs:
                kwargs = {name: _number(value) for name, value in zip(names, args[:extra], strict=False)}
                args = args[extra:]
                name = method.__name__
                message = f"{name}: numbers before the tensors are deprecated, use {name}(..., {', '.join(kwargs)}=...)"
                warnings.warn(message, UserWarning, stacklevel=2)
            return method(self, *args, **kwargs)

        return cast(F, run)

    return decorate


def _number(value: Any) -> Any:
    """系数；0 维的张量也行。

    Raises:
        TypeError: 有维的张量。
    """
    if not isinstance(value, graph.tensor_type):
        return value
    if value.ndim:
        raise TypeError(f"a number was expected before the tensors, got a tensor of shape {tuple(value.shape)}")
    return value.item()
