"""Tensor 的比较、逻辑、位运算与判断：结果不可导。

流入：Tensor、数组或 Python 数，先按 torch 的规则统一 dtype；流出：布尔或整数 Tensor。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.methods.arithmetic import match
from tinygrad_llm.methods.operands import constant, is_operand, refuse, tensors, together
from tinygrad_llm.ops.bfloat16 import same_dtype
from tinygrad_llm.ops.ordering import like_operands

_QUIET = np.errstate(all="ignore")
_ORDERS = np.less, np.less_equal, np.greater, np.greater_equal


def _arrays(a: Any, b: Any) -> Any:
    """统一 dtype 的两个数组；不认识的操作数返回 ``None``。"""
    cls = graph.tensor_type
    if isinstance(a, cls) and isinstance(b, cls) and same_dtype(a.array.dtype, b.array.dtype):
        return a.array, b.array
    pair = match(a, b)
    if pair is None:
        return None
    dtype = (pair[0] if isinstance(pair[0], cls) else pair[1]).array.dtype
    return constant(pair[0], dtype).array, constant(pair[1], dtype).array


def _result(name: str, function: Any, a: Any, b: Any) -> Any:
    try:
        y = np.asarray(function(a, b))
    except ValueError:
        raise RuntimeError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast") from None
    if y.ndim > 1 and not (a.flags.c_contiguous and b.flags.c_contiguous):
        y = like_operands(y, a, b)
    return graph.tensor_type.wrap(y)


def _compare(function: Any, a: Any, b: Any) -> Any:
    arrays = _arrays(a, b)
    if arrays is None:
        return NotImplemented
    if arrays[0].dtype.kind == "c" and function in _ORDERS:
        name = f"{function.__name__}(): complex numbers have no order"
        raise NotImplementedError(f"{name}, got {dtypes.of(arrays[0])} of shapes {arrays[0].shape}, {arrays[1].shape}")
    return _result(function.__name__, function, *arrays)


def _comparison(function: Any, symbol: str) -> Callable[[Any, Any], Any]:
    """比较的方法：与运算符相同，只是不认识的操作数当场报错。"""

    def method(self: Any, other: Any) -> Any:
        tensors(function.__name__, self)
        result = _compare(function, self, other)
        if result is NotImplemented:
            raise TypeError(f"{function.__name__}(): expected a Tensor or a number, got {type(other).__name__}")
        return result

    method.__doc__ = f"逐元素比较 ``self {symbol} other``。"
    return method


def _logical(function: Any, meaning: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        tensors(function.__name__, self, other)
        return _compare(function, self, other)

    method.__doc__ = f"逐元素逻辑{meaning}；统一 dtype 之后，非 0 即真。"
    return method


def _bits(name: str, function: Any, a: Any, b: Any, kinds: str = "fc") -> Any:
    a, b = together(name, a, b)
    refuse(name, a, kinds)
    return _result(name, function, a.array, b.array)


def _bitwise(function: Any, meaning: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return _bits(function.__name__, function, self, other)

    method.__doc__ = f"按位{meaning}。"
    return method


def _shift_left(x: Any, count: Any) -> Any:
    """移出去的位丢掉；位数为负或不小于字长时结果为 0，与 torch 一致。"""
    width = 8 * x.dtype.itemsize
    inside = (count >= 0) & (count < width)
    return np.where(inside, np.left_shift(x, np.where(inside, count, 0)), 0).astype(x.dtype)


def _shift_right(x: Any, count: Any) -> Any:
    """算术右移；位数为负或过大时移到只剩符号。"""
    most = 8 * x.dtype.itemsize - (x.dtype.kind == "i")
    if x.dtype.kind == "u":
        return np.where((count < most), np.right_shift(x, np.minimum(count, most - 1)), 0).astype(x.dtype)
    return np.right_shift(x, np.where((count < 0) | (count > most), most, count).astype(x.dtype))


def _symbol(method: Any) -> Callable[[Any, Any], Any]:
    """位运算的运算符：不认识的操作数返回 ``NotImplemented``，由 Python 报 ``TypeError``。"""

    def operator(self: Any, other: Any) -> Any:
        return method(self, other) if is_operand(other) else NotImplemented

    return operator


def _reflected(method: Any) -> Callable[[Any, Any], Any]:
    return _symbol(lambda self, other: method(other, self))


def _test(function: Any, meaning: str, refused: str = "") -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        if refused:
            refuse(refused, self, "c")
        return graph.tensor_type.wrap(np.asarray(function(self.array)))

    method.__doc__ = f"逐元素判断：{meaning}。"
    return method


class Comparing:
    """比较与逻辑。"""

    array: Any

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

    eq, ne = _comparison(np.equal, "=="), _comparison(np.not_equal, "!=")
    lt, le = _comparison(np.less, "<"), _comparison(np.less_equal, "<=")
    gt, ge = _comparison(np.greater, ">"), _comparison(np.greater_equal, ">=")
    not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge

    logical_and, logical_or = _logical(np.logical_and, "与"), _logical(np.logical_or, "或")
    logical_xor = _logical(np.logical_xor, "异或")
    logical_not = _test(np.logical_not, "是不是 0")

    bitwise_and, bitwise_or = _bitwise(np.bitwise_and, "与"), _bitwise(np.bitwise_or, "或")
    bitwise_xor = _bitwise(np.bitwise_xor, "异或")

    def bitwise_left_shift(self, other: Any) -> Any:
        """左移 ``other`` 位。"""
        return _bits("bitwise_left_shift", _shift_left, self, other, "cfb")

    def bitwise_right_shift(self, other: Any) -> Any:
        """算术右移 ``other`` 位。"""
        return _bits("bitwise_right_shift", _shift_right, self, other, "cfb")

    def bitwise_not(self) -> Any:
        """按位取反；布尔取非。"""
        refuse("bitwise_not", self, "cf")
        return graph.tensor_type.wrap(np.asarray(np.invert(self.array)))

    def gcd(self, other: Any) -> Any:
        """最大公约数，非负。"""
        tensors("gcd", self, other)
        return _bits("gcd", np.gcd, self, other, "cfb")

    def lcm(self, other: Any) -> Any:
        """最小公倍数，非负。"""
        tensors("lcm", self, other)
        return _bits("lcm", np.lcm, self, other, "cfb")

    __and__, __or__, __xor__ = _symbol(bitwise_and), _symbol(bitwise_or), _symbol(bitwise_xor)
    __lshift__, __rshift__ = _symbol(bitwise_left_shift), _symbol(bitwise_right_shift)
    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__
    __rlshift__, __rrshift__ = _reflected(bitwise_left_shift), _reflected(bitwise_right_shift)

    def __invert__(self) -> Any:
        if self.array.dtype.kind in "fc":
            raise TypeError(f"~ is only implemented on integer and Boolean-type tensors, got {dtypes.of(self.array)}")
        return self.bitwise_not()

    isnan, isfinite = _test(np.isnan, "NaN"), _test(np.isfinite, "有限")
    isinf = _test(np.isinf, "无穷大")
    isposinf = _test(lambda x: x == np.inf, "正无穷大", "isposinf")
    isneginf = _test(lambda x: x == -np.inf, "负无穷大", "isneginf")
    isreal = _test(np.isreal, "虚部为 0；实数处处为真")
    signbit = _test(lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0, "符号位是 1，``-0.0`` 也算", "signbit")

    def is_nonzero(self) -> bool:
        """唯一的元素不是 0。

        Raises:
            RuntimeError: 元素不止一个，或一个也没有。
        """
        if self.array.size != 1:
            raise RuntimeError(f"Boolean value of Tensor with {self.array.size} values is ambiguous")
        return bool(self.array.item())

    @_QUIET
    def isclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
        """``|self - other| ≤ atol + rtol · |other|``，或者相等。

        Raises:
            RuntimeError: dtype 不同，或容差为负。
        """
        tensors("isclose", self, other)
        a, b = self.array, other.array
        if a.dtype != b.dtype:
            raise RuntimeError(f"isclose: {dtypes.of(a)} did not match {dtypes.of(b)}")
        if rtol < 0 or atol < 0:
            raise RuntimeError(f"isclose: rtol and atol must not be negative, got {rtol} and {atol}")
        close = _result("isclose", np.equal, a, b).array
        if a.dtype.kind not in "fc":
            a, b = (x.astype(dtypes.get_default_dtype().numpy) for x in (a, b))
        gap = np.abs(a - b)
        close = close | (np.isfinite(gap) & (gap <= atol + np.abs(rtol * b)))
        return graph.tensor_type.wrap(np.asarray(close | (np.isnan(a) & np.isnan(b)) if equal_nan else close))

    def allclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        """是否处处接近。"""
        tensors("allclose", self, other)
        return bool(self.isclose(other, rtol, atol, equal_nan).array.all())

    def equal(self, other: Any) -> bool:
        """形状与值是否完全相同。"""
        tensors("equal", self, other)
        return self.array.shape == other.array.shape and bool((self == other).array.all())
