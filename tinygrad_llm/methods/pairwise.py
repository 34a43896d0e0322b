"""Tensor 的多元函数：两个或三个操作数逐元素相遇，以及四则运算的各种别名。

流入：Tensor、数组或 Python 数，先按 torch 的规则统一 dtype；流出：Tensor。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods import dividing
from tinygrad_llm.methods.arithmetic import Arithmetic, as_float, ordered
from tinygrad_llm.methods.old_order import numbers_first
from tinygrad_llm.methods.operands import (
    constant,
    floats,
    is_operand,
    no_derivative,
    refuse,
    tensors,
    together,
    unified,
)  # fmt: skip
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import exponential as ex
from tinygrad_llm.ops import rounding as ro
from tinygrad_llm.ops import special_functions as sf
from tinygrad_llm.ops import trigonometry as tr
from tinygrad_llm.ops.op import Op

_NO_ATTRS: dict[str, Any] = {}


def _floating(op: Op, meaning: str) -> Callable[[Any, Any], Any]:
    """两个 Tensor 的浮点函数；整数先变成缺省浮点类型。"""

    def method(self: Any, other: Any) -> Any:
        tensors(op.name, self, other)
        a, b = floats(op.name, self, other)
        return ordered(apply(op, (a, b), _NO_ATTRS), a, b)

    method.__doc__ = f"{meaning}。"
    return method


def _same_kind(op: Op, meaning: str, refused: str) -> Callable[[Any, Any], Any]:
    """两个 Tensor 的函数，结果类型就是统一后的类型；``refused`` 是 torch 没有实现的类别。"""

    def method(self: Any, other: Any) -> Any:
        tensors(op.name, self, other)
        a, b = together(op.name, self, other)
        refuse(op.name, a, refused)
        return ordered(apply(op, (a, b), _NO_ATTRS), a, b)

    method.__doc__ = f"{meaning}。"
    return method


class Pairwise:
    """两个或三个操作数的函数。"""

    array: Any
    dtype: Any

    atan2 = arctan2 = _floating(tr.atan2, "点 ``(other, self)`` 的幅角，落在 ``[-π, π]``")
    hypot = _same_kind(tr.hypot, "直角三角形的斜边 ``√(self² + other²)``", "biu")
    logaddexp = _same_kind(ex.logaddexp, "``ln(e^self + e^other)``", "biu")
    logaddexp2 = _same_kind(ex.logaddexp2, "``log₂(2^self + 2^other)``", "biu")
    nextafter = _same_kind(ro.nextafter, "朝 ``other`` 方向的下一个可表示的数", "biu")
    fmax = _same_kind(ew.fmax, "逐元素取大，一边是 NaN 就取另一边", "")
    fmin = _same_kind(ew.fmin, "逐元素取小，一边是 NaN 就取另一边", "")

    maximum = _same_kind(ew.maximum, "逐元素取大", "")
    minimum = _same_kind(ew.minimum, "逐元素取小", "")
    subtract, multiply, negative, absolute = Arithmetic.sub, Arithmetic.mul, Arithmetic.neg, Arithmetic.abs
    __div__, __rdiv__ = Arithmetic.__truediv__, Arithmetic.__rtruediv__

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Any:
        """``self / other``；``rounding_mode`` 为 ``"floor"`` 或 ``"trunc"`` 时再取整。"""
        return dividing.divide(self, other, rounding_mode)

    divide = div

    def true_divide(self, other: Any) -> Any:
        """``self / other``。"""
        return dividing.divide(self, other, None)

    def floor_divide(self, other: Any) -> Any:
        """商向下取整，即 ``//``；不可导。"""
        return dividing.floor_divide(self, other)

    def remainder(self, other: Any) -> Any:
        """余数，符号随除数，即 ``%``。"""
        return dividing.remainder(self, other)

    def clamp(self, min: Any = None, max: Any = None) -> Any:
        """截断到 ``[min, max]``；两端是数或 Tensor，可以只给一端。"""
        tensors("clamp", self)
        return dividing.clamp(self, min, max)

    clip = clamp

    def __floordiv__(self, other: Any) -> Any:
        return dividing.floor_divide(self, other) if is_operand(other) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Any:
        return dividing.floor_divide(other, self) if is_operand(other) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        return dividing.remainder(self, other) if is_operand(other) else NotImplemented

    def __rmod__(self, other: Any) -> Any:
        return dividing.remainder(other, self) if is_operand(other) else NotImplemented

    def xlogy(self, other: Any) -> Any:
        """``self · ln(other)``；``self`` 为 0 时是 0。"""
        return apply(ex.xlogy, floats("xlogy", self, other), _NO_ATTRS)

    def copysign(self, other: Any) -> Any:
        """``self`` 的大小、``other`` 的符号。"""
        tensors("copysign", self)
        return apply(ro.copysign, floats("copysign", self, other), _NO_ATTRS)

    def fmod(self, other: Any) -> Any:
        """余数，符号随被除数。"""
        tensors("fmod", self)
        a, b = together("fmod", self, other)
        refuse("fmod", a, "b")
        return apply(ro.fmod, (a, b), _NO_ATTRS)

    def ldexp(self, other: Any) -> Any:
        """``self · 2 ** other``。"""
        tensors("ldexp", self, other)
        if "c" in self.array.dtype.kind + other.array.dtype.kind or other.array.dtype.kind == "f":
            return self * other.to(dtypes.get_default_dtype() if other.array.dtype.kind in "iu" else None).exp2()
        return apply(ex.ldexp, (as_float(self), other.array), _NO_ATTRS)

    def float_power(self, exponent: Any) -> Any:
        """以 float64（复数以 complex128）计算的幂。"""
        return _double(self) ** _double(exponent)

    def heaviside(self, values: Any) -> Any:
        """阶跃函数：负数为 0，正数为 1，0 处取 ``values``；不可导。

        Raises:
            RuntimeError: 两边 dtype 不同。
        """
        tensors("heaviside", self, values)
        refuse("heaviside", self, "c")
        x, at_zero = self.array, values.array
        if x.dtype != at_zero.dtype:
            raise RuntimeError(f"heaviside: dtypes must be the same, got {dtypes.of(x)} and {dtypes.of(at_zero)}")
        result = apply(ew.where, (x == 0, at_zero, (x > 0).astype(x.dtype)), _NO_ATTRS)
        return no_derivative(_missing("heaviside"), result, self, values)

    def lerp(self, end: Any, weight: Any) -> Any:
        """线性插值 ``self + weight · (end - self)``。

        Raises:
            RuntimeError: ``end`` 或（有维的）``weight`` 的 dtype 与自己不同。
        """
        tensors("lerp", self, end)
        refuse("lerp", self, "biu")
        for name, x in (("end", end), ("weight", weight)):
            is_number = not isinstance(x, graph.tensor_type) or (name == "weight" and x.ndim == 0)
            if not is_number and x.dtype != self.dtype:
                raise RuntimeError(f"lerp: expected dtype {self.dtype} for `{name}` but got {x.dtype}")
        if not isinstance(weight, graph.tensor_type):
            weight = constant(weight, self.array.dtype)
        elif self.array.ndim or end.array.ndim:
            weight = weight.to(self.dtype)
        x, to, weight = unified(self, end, weight)  # 三个都是 0 维时，torch 照常提升 dtype
        return ordered(apply(ew.lerp, (x, to, weight), _NO_ATTRS), x, to, weight)

    @numbers_first("value", operands=2)
    def addcmul(self, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
        """``self + value · tensor1 · tensor2``。"""
        tensors("addcmul", self, tensor1, tensor2)
        x, a, b = unified(self, tensor1, tensor2)
        refuse("addcmul", x, "b")
        return ordered(x + a * b * (value if x.array.dtype.kind in "fc" else int(value)), x, a, b)

    @numbers_first("value", operands=2)
    def addcdiv(self, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
        """``self + value · tensor1 / tensor2``。

        Raises:
            RuntimeError: 两个都是整数。
        """
        tensors("addcdiv", self, tensor1, tensor2)
        if tensor1.array.dtype.kind not in "fc" and tensor2.array.dtype.kind not in "fc":
            raise RuntimeError(f"addcdiv: integer division is not supported, got {tensor1.dtype} and {tensor2.dtype}")
        x, a, b = unified(self, tensor1, tensor2)
        return ordered(x + a / b * value, x, a, b)

    def clamp_min(self, min: Any) -> Any:
        """小于 ``min`` 的换成 ``min``。"""
        return _one_bound(self, min, {"min": min})

    def clamp_max(self, max: Any) -> Any:
        """大于 ``max`` 的换成 ``max``。"""
        return _one_bound(self, max, {"max": max})

    def igamma(self, other: Any) -> Any:
        """正则化的下不完全 Γ 函数 ``P(self, other)``；只对 ``other`` 可导。"""
        return _one_sided(sf.igamma, "igamma: input", self, other)

    def igammac(self, other: Any) -> Any:
        """正则化的上不完全 Γ 函数 ``Q(self, other)``；只对 ``other`` 可导。"""
        return _one_sided(sf.igammac, "igammac: input", self, other)


def _double(x: Any) -> Any:
    if not is_operand(x):
        raise TypeError(f"float_power(): expected a Tensor or a number, got {type(x).__name__}")
    if not isinstance(x, graph.tensor_type):
        return x if isinstance(x, complex) else float(x)
    return x.to(dtypes.complex128 if x.array.dtype.kind == "c" else dtypes.float64)


def _one_bound(x: Any, bound: Any, bounds: dict[str, Any]) -> Any:
    tensors("clamp", x)
    if bound is None:
        raise TypeError("clamp_min() and clamp_max() expect a number or a Tensor, got None")
    return x.clamp(**bounds)


def _missing(name: str) -> RuntimeError:
    return RuntimeError(f"derivative for {name} is not implemented")


def _one_sided(op: Op, name: str, a: Any, b: Any) -> Any:
    """只对第二个操作数可导的函数；第一个需要梯度时，反传到它就报错。"""
    tensors(op.name, a, b)
    a, b = together(op.name, a, b)
    refuse(op.name, a, "biu")
    error = NotImplementedError(f"the derivative for '{name}' is not implemented.")
    return no_derivative(error, apply(op, (a, b), _NO_ATTRS), a)
