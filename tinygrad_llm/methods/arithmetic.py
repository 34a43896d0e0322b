"""Tensor 的运算符、逐元素函数与比较。

流入：Tensor、数组或 Python 数；流出：Tensor。二元运算先按 torch 的规则统一 dtype，再交给算子。
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.shortcuts import binary_method, unary_method
from tinygrad_llm.methods.old_order import numbers_first
from tinygrad_llm.methods.shaping import shaped
from tinygrad_llm.ops import complex as cx
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import linear
from tinygrad_llm.ops.bfloat16 import same_dtype
from tinygrad_llm.ops.op import Op
from tinygrad_llm.ops.ordering import like_operands

_NO_ATTRS: dict[str, Any] = {}


def unary(op: Op, x: Any) -> Any:
    """一元浮点函数；整数先变成缺省浮点类型。"""
    return apply(op, (as_float(x),), _NO_ATTRS)


def as_float(x: Any) -> Any:
    """整数与布尔 Tensor 变成缺省浮点类型；浮点与复数原样返回。"""
    return x if x.array.dtype.kind in "fc" else x.to(dtypes.get_default_dtype())


def binary(op: Op, a: Any, b: Any) -> Any:
    """二元运算：统一 dtype 后执行；遇到不认识的操作数返回 ``NotImplemented``。"""
    pair = match(a, b)
    return NotImplemented if pair is None else ordered(apply(op, pair, _NO_ATTRS), *pair)


def ordered(y: Any, *operands: Any) -> Any:
    """操作数有一个不按行连续时，逐元素运算的结果的内存次序照 torch 的规则。"""
    tensors = graph.tensor_type
    if y.array.ndim > 1 and isinstance(operands[0], tensors) and isinstance(operands[1], tensors):
        for t in operands:
            if not t.array.flags.c_contiguous:
                y.array = like_operands(y.array, *[x.array for x in operands])
                break
    return y


def _difference(op: Op, a: Any, b: Any) -> Any:
    _refuse_bool(a, b)
    return binary(op, a, b)


def _refuse_bool(*operands: Any) -> None:
    if any(isinstance(x, bool) or (isinstance(x, graph.tensor_type) and x.array.dtype.kind == "b") for x in operands):
        raise RuntimeError("Subtraction with a bool tensor is not supported: use `^`, `~` or logical_not() instead.")


def match(a: Any, b: Any) -> tuple[Any, Any] | None:
    """按 torch 的规则统一两个操作数的 dtype。

    Python 数不抬高同类别的 Tensor：``float32 张量 * 2.0`` 仍是 float32；整数张量遇到浮点数则变成缺省浮点类型。
    """
    cls = graph.tensor_type
    if isinstance(a, cls) and isinstance(b, cls):
        x, y = a.array, b.array
        if same_dtype(x.dtype, y.dtype):
            return a, b
        common = dtypes.promote(x, y)
        return _as_dtype(a, common), _as_dtype(b, common)
    tensor, other, flipped = (a, b, False) if isinstance(a, cls) else (b, a, True)
    if isinstance(other, (np.ndarray, np.generic)):
        plain = cls.wrap(other) if isinstance(other, np.ndarray) else other.item()  # NumPy 标量等同 Python 数
        return match(plain, tensor) if flipped else match(tensor, plain)
    if not isinstance(other, (bool, int, float, complex)):
        return None
    kind = tensor.array.dtype.kind
    if isinstance(other, float) and kind not in "fc":
        tensor = tensor.to(dtypes.get_default_dtype())
    elif isinstance(other, complex):
        if kind != "c":
            tensor = tensor.to(tensor.dtype.to_complex() if kind == "f" else dtypes.default_complex())
    elif kind == "b" and not isinstance(other, bool):
        tensor = tensor.to(dtypes.int64)
    elif kind in "iu" and tensor.array.dtype.itemsize < 8 and not isinstance(other, bool):
        other = int(np.asarray(other).astype(tensor.array.dtype))  # 装不下就按位截断，与 torch 一致
    return (other, tensor) if flipped else (tensor, other)


def _as_dtype(t: Any, numpy_dtype: Any) -> Any:
    return t if same_dtype(t.array.dtype, numpy_dtype) else apply(ew.cast, (t,), {"dtype": numpy_dtype})


def matmul(a: Any, b: Any) -> Any:
    """矩阵乘法，一维参数按 torch 的规则补轴再去掉。

    Raises:
        RuntimeError: dtype 不同、零维，或内侧长度不等。
    """
    if not isinstance(b, graph.tensor_type):
        return NotImplemented
    x, y = a.array, b.array
    if x.ndim == 2:  # 最常见的两种先办；形状或 dtype 不合时 ``_product`` 会说清
        if y.ndim == 2:
            return _mm(a, b)
        if y.ndim == 1:
            return _mv(a, b)
    elif x.ndim == 1 and 0 < y.ndim < 3:
        return _vm(a, b) if y.ndim == 2 else _dot(a, b)
    _check_product(x, y)
    if x.ndim == 1:
        return shaped(matmul(a.unsqueeze(0), b), (*y.shape[:-2], y.shape[-1]))
    if y.ndim == 1:
        return shaped(matmul(a, b.unsqueeze(1)), x.shape[:-1])
    if y.ndim == 2 and x.ndim > 2:  # 前面的轴并成一根：一次大矩阵运算，b 的梯度也不必先广播再求和
        rows = _mm(a.reshape(math.prod(x.shape[:-1]), x.shape[-1]), b)
        return shaped(rows, (*x.shape[:-1], y.shape[-1]))
    return _matmul(a, b)


def _check_product(x: Any, y: Any) -> None:
    """矩阵乘法不替两边统一 dtype，与 torch 一致；autocast 会换型，那时不查。"""
    if not same_dtype(x.dtype, y.dtype) and switch.autocast is None:
        raise RuntimeError(f"matmul: expected both to have the same dtype, got {dtypes.of(x)} and {dtypes.of(y)}")
    if x.ndim == 0 or y.ndim == 0:
        raise RuntimeError(f"matmul: both arguments need to be at least 1D, got {x.ndim}D and {y.ndim}D")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise RuntimeError(f"matmul: mat1 and mat2 shapes cannot be multiplied ({x.shape} and {y.shape})")


def _product(op: Op, a: Any, b: Any) -> Any:
    _check_product(a.array, b.array)
    return apply(op, (a, b), _NO_ATTRS)


_matmul, _mm, _mv, _vm, _dot = (
    binary_method(op, _product, False) for op in (linear.matmul, linear.mm, linear.mv, linear.vm, linear.dot)
)


class Arithmetic:
    """运算符与逐元素方法。"""

    __array_ufunc__ = None  # 让 ndarray 遇到 Tensor 时退让，走 Tensor 的反向运算符
    array: Any

    __add__ = binary_method(ew.add, binary)

    def __radd__(self, other: Any) -> Any:
        return binary(ew.add, other, self)

    __sub__ = binary_method(ew.sub, _difference)

    def __rsub__(self, other: Any) -> Any:
        return _difference(ew.sub, other, self)

    __mul__ = binary_method(ew.mul, binary)
    __matmul__ = matmul

    def __rmul__(self, other: Any) -> Any:
        return binary(ew.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divide(other, self)

    def __neg__(self) -> Any:
        return apply(ew.neg, (self,), _NO_ATTRS)

    def __pow__(self, exponent: Any) -> Any:
        return power(self, exponent)

    def __rpow__(self, base: Any) -> Any:
        return power(base, self)

    def __rmatmul__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            other = graph.tensor_type.wrap(other)
        return matmul(other, self) if isinstance(other, graph.tensor_type) else NotImplemented

    def __abs__(self) -> Any:
        return self.abs()

    @numbers_first("alpha")
    def add(self, other: Any, *, alpha: float = 1) -> Any:
        """``self + alpha · other``。"""
        return self + other if alpha == 1 else operator.add(*_scaled(self, other, alpha))

    @numbers_first("alpha")
    def sub(self, other: Any, *, alpha: float = 1) -> Any:
        """``self - alpha · other``。

        Raises:
            RuntimeError: 有一边是布尔类型。
        """
        return subtract(self, other, alpha)

    def mul(self, other: Any) -> Any:
        """``self ⊙ other``。"""
        return self * other

    def pow(self, exponent: Any) -> Any:
        """``self ** exponent``。"""
        return self**exponent

    def neg(self) -> Any:
        """``-self``。"""
        return -self

    def matmul(self, other: Any) -> Any:
        """矩阵乘法。"""
        return matmul(self, other)

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
        return 1 / (1 + (-self).exp()) if self.array.dtype.kind == "c" else unary(ew.sigmoid, self)

    def erf(self) -> Any:
        """误差函数。"""
        return unary(ew.erf, self)

    def relu(self) -> Any:
        """``max(x, 0)``。

        Raises:
            RuntimeError: 布尔类型。
        """
        if self.array.dtype.kind == "b":
            raise RuntimeError("Boolean inputs not supported for relu")
        return apply(ew.relu, (self,), _NO_ATTRS)

    def abs(self) -> Any:
        """绝对值；复数的模。

        Raises:
            NotImplementedError: 布尔类型。
        """
        kind = self.array.dtype.kind
        if kind == "b":
            raise NotImplementedError("abs: not implemented for bool")
        return apply(cx.complex_abs if kind == "c" else ew.abs, (self,), _NO_ATTRS)

    def sign(self) -> Any:
        """符号。"""
        return apply(ew.sign, (self,), _NO_ATTRS)

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


def subtract(a: Any, b: Any, alpha: float) -> Any:
    """``a - alpha · b``；torch 不许减布尔。

    Raises:
        RuntimeError: 有一边是布尔类型。
    """
    _refuse_bool(a, b)
    return a - b if alpha == 1 else operator.sub(*_scaled(a, b, alpha))


def _scaled(a: Any, b: Any, alpha: Any) -> tuple[Any, Any]:
    """统一 dtype 之后的 ``a`` 与 ``alpha · b``；``alpha`` 不改变结果的类型。"""
    pair = match(a, b)
    if pair is None:
        raise TypeError(f"expected Tensors or numbers, got {type(a).__name__} and {type(b).__name__}")
    a, b = pair
    kind = next(x.array.dtype.kind for x in pair if isinstance(x, graph.tensor_type))
    if isinstance(alpha, float) and kind not in "fc":
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and kind != "c":
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    return a, b & bool(alpha) if kind == "b" else b * alpha


def _divide(a: Any, b: Any) -> Any:
    pair = match(a, b)
    if pair is None:
        return NotImplemented
    tensor = next(x for x in pair if isinstance(x, graph.tensor_type))
    if tensor.array.dtype.kind not in "fc":  # 各自直接变成浮点：先统一成 uint8 会把 -1 变成 255
        kept = [x if isinstance(x, graph.tensor_type) else y for x, y in zip((a, b), pair, strict=True)]
        pair = tuple(as_float(x) if isinstance(x, graph.tensor_type) else x for x in kept)
    return ordered(apply(ew.div, pair, _NO_ATTRS), *pair)


def power(base: Any, exponent: Any) -> Any:
    """幂；指数是 Python 数时用更快的 ``pow_scalar``。

    Raises:
        RuntimeError: 整数的负数次幂。
    """
    exponent = exponent.item() if isinstance(exponent, np.generic) else exponent
    if isinstance(exponent, (int, float, complex)):
        return _scalar_power(base, exponent)
    pair = match(base, exponent)
    if pair is None:
        return NotImplemented
    left, right = pair
    if right.array.dtype.kind == "b":
        raise NotImplementedError("pow: not implemented for bool")
    if not isinstance(left, graph.tensor_type):
        left = graph.tensor_type.wrap(np.asarray(left).astype(right.array.dtype))
        right = right.contiguous()  # 底是数时，torch 的结果按行连续
    return ordered(apply(ew.pow, (left, right), _NO_ATTRS), left, right)


def _scalar_power(base: Any, exponent: Any) -> Any:
    if base.array.dtype.kind != "f" or isinstance(exponent, complex):
        base, _ = match(base, exponent) or (base, exponent)
        kind = base.array.dtype.kind
        if kind in "biu" and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        if kind in "iu" and exponent > np.iinfo(base.array.dtype).max:
            raise RuntimeError(f"pow: exponent {exponent} cannot be converted to {base.dtype} without overflow")
        if kind == "b":  # 布尔的布尔次幂
            return base.clone() if exponent else ~(base & False)
    return apply(ew.pow_scalar, (base,), {"exponent": exponent})
