"""函数收到的操作数：检查是不是 Tensor、统一 dtype、拒绝没有定义的 dtype。

流入：Tensor、数组或 Python 数；流出：同一种 dtype 的 Tensor，或与 torch 同类的异常。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.function import Function
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.arithmetic import as_float, match
from tinygrad_llm.methods.scalars import as_element
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops.bfloat16 import same_dtype


def is_operand(value: Any) -> bool:
    """是不是 Tensor、数组或 Python 数；不是就该由运算符返回 ``NotImplemented``。"""
    return isinstance(value, (graph.tensor_type, np.ndarray, np.generic, bool, int, float, complex))


def tensors(name: str, *values: Any) -> None:
    """要求每个操作数都是 Tensor。

    Raises:
        TypeError: 有一个不是。
    """
    for value in values:
        if not isinstance(value, graph.tensor_type):
            raise TypeError(f"{name}(): expected a Tensor, got {type(value).__name__}")


def constant(value: Any, dtype: Any) -> Any:
    """Python 数变成 0 维 Tensor；超出整数类型的范围时按位截断，与 torch 一致。

    Raises:
        RuntimeError: 复数放不进实数类型。
    """
    if isinstance(value, graph.tensor_type):
        return value
    if isinstance(value, complex):
        return graph.tensor_type.wrap(as_element(value, dtype))
    with np.errstate(over="ignore"):
        return graph.tensor_type.wrap(np.asarray(value).astype(dtype))


def number(name: str, value: Any, dtype: Any) -> Any:
    """放得进 ``dtype`` 的 Python 数；无符号类型的负数按位截断。

    Raises:
        RuntimeError: 整数超出 ``dtype`` 的范围。
    """
    value = value.item() if isinstance(value, np.generic) else value
    if dtype.kind not in "iu" or isinstance(value, float):
        return value
    limits = np.iinfo(dtype)
    if value > limits.max or value < -limits.max - 1:
        raise RuntimeError(f"{name}: value {value} cannot be converted to {dtype} without overflow")
    return int(np.asarray(value).astype(dtype))


def together(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """两个操作数（至多一个是数）统一成同一种 dtype 的两个 Tensor。

    Raises:
        TypeError: 两个都不是 Tensor，或有一个既不是 Tensor 也不是数。
    """
    if not any(isinstance(x, graph.tensor_type) for x in (a, b)):
        raise TypeError(f"{name}(): expected a Tensor, got {type(a).__name__} and {type(b).__name__}")
    pair = match(a, b)
    if pair is None:
        raise TypeError(f"{name}(): expected Tensors or numbers, got {type(a).__name__} and {type(b).__name__}")
    dtype = next(x.array.dtype for x in pair if isinstance(x, graph.tensor_type))
    return constant(pair[0], dtype), constant(pair[1], dtype)


def floats(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """同 ``together``，结果总是浮点或复数；整数各自直接变成缺省浮点类型，不先统一成整数。"""
    common, _ = pair = together(name, a, b)
    if common.array.dtype.kind in "fc":
        return pair
    wide = dtypes.get_default_dtype().numpy
    kept = [x if isinstance(x, graph.tensor_type) else constant(x, wide) for x in (a, b)]
    return as_float(kept[0]), as_float(kept[1])


def unified(*values: Any) -> list[Any]:
    """若干个 Tensor 统一 dtype：有维的与 0 维的各自先统一，再按 torch 的规则相遇。"""
    groups = [[v.array for v in values if (v.array.ndim == 0) == zero] for zero in (False, True)]
    kinds = [np.empty((0,) * (i == 0), _widest(group)) for i, group in enumerate(groups) if group]
    dtype = kinds[0].dtype if len(kinds) == 1 else dtypes.promote(*kinds)
    return [v if same_dtype(v.array.dtype, dtype) else apply(ew.cast, (v,), {"dtype": dtype}) for v in values]


def _widest(arrays: list[Any]) -> Any:
    widest = arrays[0]
    for other in arrays[1:]:
        widest = np.empty(other.shape, dtypes.promote(widest, other))
    return widest.dtype


def refuse(name: str, x: Any, kinds: str) -> None:
    """拒绝 NumPy 类别（``c``、``f``、``i``、``u``、``b``）属于 ``kinds`` 的 Tensor。

    Raises:
        NotImplementedError: dtype 属于 ``kinds``。
    """
    if x.array.dtype.kind in kinds:
        raise NotImplementedError(f"{name}: not implemented for {dtypes.of(x.array)}")


class _NoDerivative(Function):
    """结果在图上，但 torch 没有给出这个函数的导数：反传到这里就报错，而不是悄悄当作常数。"""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """原样交出结果。"""
        ctx.error = args[0]
        return args[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """反传到这里的人以为它可导。"""
        raise ctx.error


def no_derivative(error: Exception, result: Any, *inputs: Any) -> Any:
    """标记 ``result`` 对 ``inputs`` 没有导数：反传时抛出 ``error``。"""
    if any(x.needs_grad for x in inputs):
        result = _NoDerivative.apply(error, result, *inputs)
        result.one_of_many = result.viewed_in_no_grad = False  # 它是新算出来的，不是谁的视图，可以就地改写
    return result
