"""半精度：16 位浮点的算子怎样算，``amp.autocast`` 怎样替算子选精度。

流入：算子与它的参数；流出：该用的参数与前向函数。只在出现过 16 位浮点或打开了 autocast 时才用得着。
下一站：``graph.py``。

16 位浮点一律换成 float32 算，结果舍入一次：这正是 torch 在 CPU 上的做法，累加不会在半精度里丢掉尾数。
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops.bfloat16 import FLOAT32, is_low, narrowed, same_dtype, widened
from tinygrad_llm.ops.op import Op

Function = TypeVar("Function", bound=Callable[..., Any])


def working_forward(op: Op, plain: Callable[..., Any], args: Sequence[Any], tensor_type: Any) -> Callable[..., Any]:
    """参数里有 16 位浮点时，把前向 ``plain`` 换成「放宽、计算、舍入」的；否则就是原来的。

    几个浮点参数的类型不一时，结果取其中 16 位的那一种（归一化的权重常是 float32）；两种 16 位并存则不舍入。
    """
    if op.is_view or op.name in ("cast", "index"):  # 切片是视图：放宽会变成拷贝，写它就写不进原来的内存
        return plain
    lows = [a.array.dtype for a in args if isinstance(a, tensor_type) and is_low(a.array.dtype)]
    if not lows:
        return plain
    target = lows[0] if all(same_dtype(lows[0], d) for d in lows) else FLOAT32

    def forward(*pool: Any, **attrs: Any) -> Any:
        if op.name in ("add", "sub"):  # torch 在这里先把 Python 数也舍入，乘除则不
            pool = tuple([narrowed(a, target) if isinstance(a, (int, float)) else a for a in pool])
        result = plain(*[widened(a) for a in pool], **attrs)
        if type(result) is not tuple:
            return _narrow(result, target)
        return (_narrow(result[0], target), *result[1:])

    return forward


def _narrow(y: Any, target: Any) -> Any:
    return narrowed(y, target) if np.asarray(y).dtype.kind == "f" else y


class Autocast:
    """一层 ``amp.autocast``。

    Attributes:
        dtype: 矩阵乘法用的 16 位浮点（NumPy dtype）。
        cached: 需要梯度的叶子换型之后的结果；同一个权重在一次前向里只换一次，梯度也在 16 位里相加，与 torch 一致。
    """

    def __init__(self, dtype: Any, cached: dict[int, tuple[Any, Any]] | None) -> None:
        self.dtype, self.cached = dtype, cached


def full_precision(function: Function) -> Function:
    """装饰器：autocast 之下，把 16 位浮点的参数换成 float32 再算（损失函数之类）。"""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if switch.autocast is None:
            return function(*args, **kwargs)
        outer, switch.autocast = switch.autocast, None
        try:
            return function(*[_wide(a) for a in args], **{name: _wide(a) for name, a in kwargs.items()})
        finally:
            switch.autocast = outer

    return wrapped  # type: ignore[return-value]


def _wide(a: Any) -> Any:
    return a.float() if hasattr(a, "array") and is_low(a.array.dtype) else a


LOWERED = frozenset({"matmul", "mm", "mv", "vm", "dot", "linear", "attention", "convolution", "conv_transpose"})
"""autocast 换成 16 位来算的算子：矩阵乘法那一类。"""
RAISED = frozenset(["cross_entropy", "prod"])
"""autocast 换成 float32 来算的算子。"""


def autocast_args(op: Op, args: Sequence[Any], tensor_type: Any, cast: Callable[[Any, Any], Any]) -> Sequence[Any]:
    """按 autocast 的规则替浮点参数换型。

    Args:
        op: 算子。
        args: 位置参数。
        tensor_type: Tensor 类。
        cast: ``(x, dtype)`` → 换了型的 Tensor，接在图上。

    Returns:
        换型之后的参数；float64 不动。
    """
    scope: Autocast | None = switch.autocast
    if scope is None or not (op.name in LOWERED or op.name in RAISED):
        return args
    wanted = scope.dtype if op.name in LOWERED else FLOAT32
    return [_cast_one(a, wanted, scope, tensor_type, cast) for a in args]


def _cast_one(a: Any, wanted: Any, scope: Autocast, tensor_type: Any, cast: Callable[[Any, Any], Any]) -> Any:
    if not isinstance(a, tensor_type) or a.array.dtype.kind != "f" or a.array.dtype == np.float64:
        return a
    if same_dtype(a.array.dtype, wanted):
        return a
    if scope.cached is None or a.node is not None or not a.needs_grad:
        return cast(a, wanted)
    found = scope.cached.get(id(a))
    if found is None or found[0] is not a:
        found = scope.cached[id(a)] = (a, cast(a, wanted))
    return found[1]
