"""元素类型：与 torch 同名，底下各对应一种 NumPy dtype。

流入与流出：``dtype`` 对象、NumPy dtype；以及两个类型相遇时结果是什么类型。
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import BFLOAT16, FLOAT32, extras, is_bfloat16, same_dtype


class dtype:  # noqa: N801  与 torch 同名
    """一种元素类型；每种只有一个实例，可用 ``is`` 或 ``==`` 比较。

    Attributes:
        name: 名字，如 ``"float32"``。
        itemsize: 每个元素的字节数。
        is_floating_point: 是否浮点。
        is_complex: 是否复数。
        is_signed: 是否有符号。
        is_unusual: 是否 16 位浮点或复数：引擎的近路不认它们，见 ``ops/bfloat16.py``。
    """

    def __init__(self, name: str) -> None:
        self.name, self._numpy = name, BFLOAT16 if name == "bfloat16" else np.dtype(name)
        self.itemsize = 2 if name == "bfloat16" else self._numpy.itemsize
        self.is_floating_point = self._numpy.kind == "f"
        self.is_complex = self._numpy.kind == "c"
        self.is_signed = self._numpy.kind in "fic"
        self.is_unusual = self.is_complex or (self.itemsize == 2 and self.is_floating_point)

    @property
    def numpy(self) -> Any:
        """对应的 NumPy dtype；取用 16 位浮点或复数，引擎从此就要留意它。"""
        if self.is_unusual:
            _announce(self)
        return self._numpy

    def to_real(self) -> dtype:
        """复数的实部的类型；实数就是自己。"""
        return {complex64: float32, complex128: float64}.get(self, self)

    def to_complex(self) -> dtype:
        """以自己为实部的复数类型；复数就是自己。

        Raises:
            RuntimeError: 整数与布尔没有对应的复数。
            TypeError: float16 对应的 complex32 这里没有。
        """
        if self is float16:
            raise TypeError("float16 has no complex dtype here (torch makes it complex32); use .float() first")
        if not (self.is_complex or self.is_floating_point):
            raise RuntimeError(f"Unknown Complex ScalarType for {self!r}")
        return {float64: complex128, complex128: complex128}.get(self, complex64)

    def __repr__(self) -> str:
        return f"torch.{self.name}"  # 与书上印的一样

    def __reduce__(self) -> str:
        return self.name


def _announce(found: dtype) -> None:
    """出现了 16 位浮点或复数：引擎的近路从此不走。"""
    if found.is_complex:
        extras.expect_complex()
    else:
        extras.expect_low_precision()


float16, float32, float64 = dtype("float16"), dtype("float32"), dtype("float64")
bfloat16 = dtype("bfloat16")
int8, int16, int32, int64 = dtype("int8"), dtype("int16"), dtype("int32"), dtype("int64")
uint8, uint16, uint32, uint64 = dtype("uint8"), dtype("uint16"), dtype("uint32"), dtype("uint64")
bool = dtype("bool")
complex64, complex128 = dtype("complex64"), dtype("complex128")
cfloat, cdouble = complex64, complex128
half, float, double, short, int, long = float16, float32, float64, int16, int32, int64

_BY_NUMPY = {
    d._numpy: d
    for d in (
        float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool, complex64,
        complex128,
    )
}  # fmt: skip
_BY_PYTHON: dict[type, dtype] = {
    builtins.float: float64, builtins.int: int64, builtins.bool: bool, builtins.complex: complex128,
}  # fmt: skip
_default = [float32]


def of(array: Any) -> dtype:
    """数组的元素类型。

    Raises:
        TypeError: 不支持的 NumPy dtype（例如字符串）。
    """
    try:
        found = _BY_NUMPY[array.dtype]
        if found is float32 and array.dtype.metadata is not None and is_bfloat16(array.dtype):
            found = bfloat16
        if found.is_unusual:
            _announce(found)
        return found
    except KeyError:
        raise TypeError(
            f"unsupported NumPy dtype {array.dtype}; supported: {[d.name for d in _BY_NUMPY.values()]}"
        ) from None


def get_default_dtype() -> dtype:
    """新建浮点张量的缺省类型。"""
    return _default[0]


def set_default_dtype(d: dtype) -> None:
    """设定新建浮点张量的缺省类型。

    Raises:
        TypeError: 不是浮点类型。
    """
    if not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    _default[0] = d


def default_complex() -> dtype:
    """Python 复数变成的类型：实部是缺省浮点类型。"""
    return complex128 if _default[0] is float64 else complex64


def as_numpy(d: dtype | None) -> Any:
    """``dtype`` → NumPy dtype；``None`` 原样传过，Python 的 ``float``、``int``、``bool`` 也行。

    Raises:
        TypeError: 不是 ``tinygrad_llm`` 的 dtype。
    """
    if d is None:
        return None
    found = _BY_PYTHON.get(d, d) if isinstance(d, type) else d
    if not isinstance(found, dtype):
        raise TypeError(f"dtype must be a tinygrad_llm.dtype, got {d!r}")
    return found.numpy


RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}
"""NumPy dtype 的类别，由低到高。"""


def promote(a: Any, b: Any) -> Any:
    """两个数组相遇时的结果类型，规则同 torch：先比类别（布尔 < 整数 < 浮点 < 复数），同类别时 0 维让着有维的。

    Args:
        a: 数组。
        b: 数组。

    Returns:
        NumPy dtype。

    Raises:
        RuntimeError: 宽于 8 位的无符号整数遇到另一种整数；torch 也没有规定结果。
    """
    if same_dtype(a.dtype, b.dtype):
        return a.dtype
    rank_a, rank_b = RANK[a.dtype.kind], RANK[b.dtype.kind]
    if rank_a != rank_b:
        if rank_a + rank_b == RANK["f"] + RANK["c"]:
            return _with_complex(a, b) if rank_a > rank_b else _with_complex(b, a)
        return a.dtype if rank_a > rank_b else b.dtype
    if (a.ndim == 0) != (b.ndim == 0):
        return b.dtype if a.ndim == 0 else a.dtype
    if is_bfloat16(a.dtype) or is_bfloat16(b.dtype):  # 与另一种 16 位浮点相遇也变成 float32
        return np.promote_types(FLOAT32, np.promote_types(a.dtype, b.dtype))
    if any(x.dtype.kind == "u" and x.dtype.itemsize > 1 for x in (a, b)):
        raise RuntimeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a.dtype} and {b.dtype}"
        )
    return np.promote_types(a.dtype, b.dtype)


def _with_complex(z: Any, x: Any) -> Any:
    """复数 ``z`` 与浮点 ``x`` 相遇：0 维让着有维的，都有维就取装得下两者的。"""
    extras.expect_complex()
    if z.ndim and not x.ndim:
        return z.dtype
    return of(x).to_complex().numpy if x.ndim and not z.ndim else np.promote_types(z.dtype, x.dtype)
