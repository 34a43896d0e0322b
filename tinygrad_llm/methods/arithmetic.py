"""Tensor 的运算符、逐元素函数与比较。

流入：Tensor、数组或 Python 数；流出：Tensor。二元运算先按 torch 的规则统一 dtype，再交给算子。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply, binary_method, unary_method
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import linear
from tinygrad_llm.ops.op import Op

_NO_ATTRS: dict[str, Any] = {}


def unary(op: Op, x: Any) -> Any:
    """一元浮点函数；整数先变成缺省浮点类型。"""
    return apply(op, (as_float(x),), _NO_ATTRS)


def as_float(x: Any) -> Any:
    """整数与布尔 Tensor 变成缺省浮点类型；浮点原样返回。"""
    return x if x.array.dtype.kind == "f" else x.to(dtypes.get_default_dtype())


def binary(op: Op, a: Any, b: Any) -> Any:
    """二元运算：统一 dtype 后执行；遇到不认识的操作数返回 ``NotImplemented``。"""
    pair = match(a, b)
    return NotImplemented if pair is None else apply(op, pair, _NO_ATTRS)


def match(a: Any, b: Any) -> tuple[Any, Any] | None:
    """按 torch 的规则统一两个操作数的 dtype。

    Python 数不抬高同类别的 Tensor：``float32 张量 * 2.0`` 仍是 float32；整数张量遇到浮点数则变成缺省浮点类型。
    """
    cls = graph.tensor_type
    if isinstance(a, cls) and isinstance(b, cls):
        x, y = a.array, b.array
        if x.dtype == y.dtype:
            return a, b
        common = dtypes.promote(x, y)
        return _as_dtype(a, common), _as_dtype(b, common)
    tensor, other, flipped = (a, b, False) if isinstance(a, cls) else (b, a, True)
    if isinstance(other, (np.ndarray, np.generic)):
        plain = cls.wrap(other) if isinstance(other, np.ndarray) else other.item()  # NumPy 标量等同 Python 数
        return match(plain, tensor) if flipped else match(tensor, plain)
    if not isinstance(other, (bool, int, float)):
        return None
    kind = tensor.array.dtype.kind
    if isinstance(other, float) and kind != "f":
        tensor = tensor.to(dtypes.get_default_dtype())
    elif kind == "b" and not isinstance(other, bool):
        tensor = tensor.to(dtypes.int64)
    return (other, tensor) if flipped else (tensor, other)


def _as_dtype(t: Any, numpy_dtype: Any) -> Any:
    return t if t.array.dtype == numpy_dtype else apply(ew.cast, (t,), {"dtype": numpy_dtype})


def _plain(x: Any) -> Any:
    return x.array if isinstance(x, graph.tensor_type) else x


def _compare(function: Any, a: Any, b: Any) -> Any:
    if not isinstance(b, (graph.tensor_type, np.ndarray, np.generic, bool, int, float)):
        return NotImplemented
    try:
        return graph.tensor_type.wrap(np.asarray(function(a.array, _plain(b))))
    except ValueError as error:
        raise RuntimeError(f"comparison: {error}") from None


def matmul(a: Any, b: Any) -> Any:
    """矩阵乘法，一维参数按 torch 的规则补轴再去掉。

    Raises:
        RuntimeError: dtype 不同、零维，或内侧长度不等。
    """
    if not isinstance(b, graph.tensor_type):
        return NotImplemented
    x, y = a.array, b.array
    if x.ndim == 2 and 0 < y.ndim < 3 and x.shape[1] == len(y):
        return (_matmul if y.ndim == 2 else _mv)(a, b)
    if x.dtype != y.dtype:
        raise RuntimeError(f"matmul: expected both to have the same dtype, got {dtypes.of(x)} and {dtypes.of(y)}")
    if x.ndim == 0 or y.ndim == 0:
        raise RuntimeError(f"matmul: both arguments need to be at least 1D, got {x.ndim}D and {y.ndim}D")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise RuntimeError(f"matmul: mat1 and mat2 shapes cannot be multiplied ({x.shape} and {y.shape})")
    if x.ndim == 1:
        if y.ndim == 1:
            return _dot(a, b)
        return _mv(b.mT, a) if y.ndim == 2 else matmul(a.unsqueeze(0), b).squeeze(-2)
    if y.ndim == 1:
        return _mv(a, b) if x.ndim == 2 else matmul(a, b.unsqueeze(1)).squeeze(-1)
    if y.ndim == 2 and x.ndim > 2:  # 前面的轴并成一根：一次大矩阵运算，b 的梯度也不必先广播再求和
        rows = apply(linear.matmul, (a.reshape(-1, x.shape[-1]), b), _NO_ATTRS)
        return rows.reshape(*x.shape[:-1], y.shape[-1])
    return _matmul(a, b)


def _product(op: Op, a: Any, b: Any) -> Any:
    """矩阵乘法不替两边统一 dtype，与 torch 一致。"""
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(f"{op.name}: expected both to have the same dtype, got {a.dtype} and {b.dtype}")
    return apply(op, (a, b), _NO_ATTRS)


_matmul, _mv, _dot = (binary_method(op, _product) for op in (linear.matmul, linear.mv, linear.dot))


class Arithmetic:
    """运算符与逐元素方法。"""

    __array_ufunc__ = None  # 让 ndarray 遇到 Tensor 时退让，走 Tensor 的反向运算符
    array: Any

    __add__ = binary_method(ew.add, binary)

    def __radd__(self, other: Any) -> Any:
        return binary(ew.add, other, self)

    __sub__ = binary_method(ew.sub, binary)

    def __rsub__(self, other: Any) -> Any:
        return binary(ew.sub, other, self)

    __mul__ = binary_method(ew.mul, binary)
    __matmul__ = matmul

    def __rmul__(self, other: Any) -> Any:
        return binary(ew.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divide(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _integer_like(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _integer_like(np.floor_divide, other, self)

    def __mod__(self, other: Any) -> Any:
        return remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        return remainder(other, self)

    def __neg__(self) -> Any:
        return apply(ew.neg, (self,), _NO_ATTRS)

    def __pow__(self, exponent: Any) -> Any:
        return power(self, exponent)

    def __rpow__(self, base: Any) -> Any:
        pair = match(base, self)
        if pair is None:
            return NotImplemented
        left, right = pair
        return apply(ew.pow, (graph.tensor_type.wrap(np.asarray(left, right.array.dtype)), right), _NO_ATTRS)

    def __rmatmul__(self, other: Any) -> Any:
        return matmul(graph.tensor_type.wrap(np.asarray(other)), self)

    def __abs__(self) -> Any:
        return apply(ew.abs, (self,), _NO_ATTRS)

    def __eq__(self, other: object) -> Any:
        return _compare(np.equal, self, other)

    def __ne__(self, other: object) -> Any:
        return _compare(np.not_equal, self, other)

    def __lt__(self, other: Any) -> Any:
        return _compare(np.less, self, other)

    def __le__(self, other: Any) -> Any:
        return _compare(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return _compare(np.greater, self, other)

    def __ge__(self, other: Any) -> Any:
        return _compare(np.greater_equal, self, other)

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Any:
        return _compare(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> Any:
        return _compare(np.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Any:
        return _compare(np.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Any:
        return graph.tensor_type.wrap(np.invert(self.array))

    def add(self, other: Any, *, alpha: float = 1) -> Any:
        """``self + alpha · other``。"""
        return self + other if alpha == 1 else self + other * alpha

    def sub(self, other: Any, *, alpha: float = 1) -> Any:
        """``self - alpha · other``。"""
        return self - other if alpha == 1 else self - other * alpha

    def mul(self, other: Any) -> Any:
        """``self ⊙ other``。"""
        return self * other

    def div(self, other: Any) -> Any:
        """``self / other``。"""
        return self / other

    def pow(self, exponent: Any) -> Any:
        """``self ** exponent``。"""
        return power(self, exponent)

    def neg(self) -> Any:
        """``-self``。"""
        return -self

    def matmul(self, other: Any) -> Any:
        """矩阵乘法。"""
        return matmul(self, other)

    def maximum(self, other: Any) -> Any:
        """逐元素取大。"""
        return binary(ew.maximum, self, other)

    def minimum(self, other: Any) -> Any:
        """逐元素取小。"""
        return binary(ew.minimum, self, other)

    def exp(self) -> Any:
        """``eˣ``。"""
        return unary(ew.exp, self)

    def log(self) -> Any:
        """自然对数。"""
        return unary(ew.log, self)

    def log1p(self) -> Any:
        """``ln(1 + x)``。"""
        return unary(ew.log1p, self)

    def sqrt(self) -> Any:
        """平方根。"""
        return unary(ew.sqrt, self)

    def rsqrt(self) -> Any:
        """平方根的倒数。"""
        return unary(ew.rsqrt, self)

    def square(self) -> Any:
        """平方。"""
        return power(self, 2)

    def reciprocal(self) -> Any:
        """倒数。"""
        return 1 / self

    def sin(self) -> Any:
        """正弦。"""
        return unary(ew.sin, self)

    def cos(self) -> Any:
        """余弦。"""
        return unary(ew.cos, self)

    tanh = unary_method(ew.tanh, unary)

    def sigmoid(self) -> Any:
        """``1/(1 + e⁻ˣ)``。"""
        return unary(ew.sigmoid, self)

    def erf(self) -> Any:
        """误差函数。"""
        return unary(ew.erf, self)

    def relu(self) -> Any:
        """``max(x, 0)``。"""
        return apply(ew.relu, (self,), _NO_ATTRS)

    def abs(self) -> Any:
        """绝对值。"""
        return apply(ew.abs, (self,), _NO_ATTRS)

    def sign(self) -> Any:
        """符号。"""
        return apply(ew.sign, (self,), _NO_ATTRS)

    def clamp(self, min: float | None = None, max: float | None = None) -> Any:
        """截断到 ``[min, max]``。

        Raises:
            RuntimeError: 两端都没给。
        """
        if min is None and max is None:
            raise RuntimeError("clamp: at least one of 'min' or 'max' must not be None")
        fractional = any(isinstance(bound, float) for bound in (min, max))
        return apply(ew.clamp, (as_float(self) if fractional else self,), {"min": min, "max": max})

    def masked_fill(self, mask: Any, value: Any) -> Any:
        """把 ``mask`` 为真处换成 ``value``。

        Raises:
            RuntimeError: ``mask`` 不是布尔类型。
        """
        if mask.array.dtype.kind != "b":
            raise RuntimeError(f"masked_fill: mask must be a bool tensor, got {dtypes.of(mask.array)}")
        if isinstance(value, graph.tensor_type) and value.needs_grad:
            return apply(ew.where, (mask, value, self), _NO_ATTRS)
        return apply(ew.masked_fill, (self, mask), {"value": value.item() if hasattr(value, "item") else value})

    def logical_not(self) -> Any:
        """逐元素取非。"""
        return graph.tensor_type.wrap(np.logical_not(self.array))

    def isnan(self) -> Any:
        """是否 NaN。"""
        return graph.tensor_type.wrap(np.isnan(self.array))

    def isfinite(self) -> Any:
        """是否有限。"""
        return graph.tensor_type.wrap(np.isfinite(self.array))


def _divide(a: Any, b: Any) -> Any:
    pair = match(a, b)
    if pair is None:
        return NotImplemented
    a, b = pair
    tensor = a if isinstance(a, graph.tensor_type) else b
    if tensor.array.dtype.kind != "f":
        a, b = (as_float(x) if isinstance(x, graph.tensor_type) else x for x in (a, b))
    return apply(ew.div, (a, b), _NO_ATTRS)


def _integer_like(function: Any, a: Any, b: Any) -> Any:
    pair = match(a, b)
    if pair is None:
        return NotImplemented
    left, right = (_plain(x) for x in pair)
    if np.result_type(left, right).kind in "biu" and not np.all(right):
        raise RuntimeError("ZeroDivisionError: integer division or modulo by zero")
    with np.errstate(divide="ignore", invalid="ignore"):
        return graph.tensor_type.wrap(np.asarray(function(left, right)))


def remainder(a: Any, b: Any) -> Any:
    """余数，符号随除数（与 Python 的 ``%`` 相同）；浮点可导：``a - b · floor(a/b)``。"""
    pair = match(a, b)
    if pair is None:
        return NotImplemented
    if any(isinstance(x, graph.tensor_type) and x.needs_grad for x in pair):
        return pair[0] - pair[1] * _integer_like(np.floor_divide, *pair)
    return _integer_like(np.remainder, *pair)


def power(base: Any, exponent: Any) -> Any:
    """幂；指数是 Python 数时用更快的 ``pow_scalar``。"""
    exponent = exponent.item() if isinstance(exponent, np.generic) else exponent
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        if base.array.dtype.kind != "f" and isinstance(exponent, float):
            base = as_float(base)
        return apply(ew.pow_scalar, (base,), {"exponent": exponent})
    return binary(ew.pow, base, exponent)
