"""Tensor 的一元函数：三角、双曲、指数对数的各种写法、取整与特殊函数。

流入：Tensor；流出：同形状的 Tensor。整数先变成缺省浮点类型；取整类的函数对整数原样返回一份。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.arithmetic import as_float, unary
from tinygrad_llm.methods.operands import refuse, tensors
from tinygrad_llm.ops import complex as cx
from tinygrad_llm.ops import exponential as ex
from tinygrad_llm.ops import rounding as ro
from tinygrad_llm.ops import special_functions as sf
from tinygrad_llm.ops import trigonometry as tr
from tinygrad_llm.ops.op import Op
from tinygrad_llm.return_types import named_results

_NO_ATTRS: dict[str, Any] = {}
_FREXP = named_results("frexp", "mantissa", "exponent")


def _function(op: Op, meaning: str) -> Callable[[Any], Any]:
    """浮点函数的方法。"""

    def method(self: Any) -> Any:
        tensors(op.name, self)
        return unary(op, self)

    method.__doc__ = f"{meaning}。"
    return method


def _rounding(op: Op, meaning: str) -> Callable[[Any], Any]:
    """取整的方法。"""

    def method(self: Any) -> Any:
        tensors(op.name, self)
        refuse(op.name, self, "bc")
        return apply(op, (self,), _NO_ATTRS) if self.array.dtype.kind == "f" else self.clone()

    method.__doc__ = f"{meaning}；整数原样返回一份。"
    return method


class Elementwise:
    """逐元素函数。"""

    array: Any
    clone: Any

    tan = _function(tr.tan, "正切")
    asin = arcsin = _function(tr.asin, "反正弦")
    acos = arccos = _function(tr.acos, "反余弦")
    atan = arctan = _function(tr.atan, "反正切")
    sinh = _function(tr.sinh, "双曲正弦")
    cosh = _function(tr.cosh, "双曲余弦")
    asinh = arcsinh = _function(tr.asinh, "反双曲正弦")
    acosh = arccosh = _function(tr.acosh, "反双曲余弦")
    atanh = arctanh = _function(tr.atanh, "反双曲正切")
    sinc = _function(tr.sinc, "``sin πx / πx``，在 0 处为 1")
    exp2 = _function(ex.exp2, "``2ˣ``")
    expm1 = _function(ex.expm1, "``eˣ - 1``，在 0 附近保持精度")
    log2 = _function(ex.log2, "以 2 为底的对数")
    log10 = _function(ex.log10, "以 10 为底的对数")
    erfc = _function(sf.erfc, "余误差函数 ``1 - erf(x)``")
    erfinv = _function(sf.erfinv, "误差函数的反函数")
    lgamma = _function(sf.lgamma, "``ln |Γ(x)|``")
    digamma = _function(sf.digamma, "``ln Γ(x)`` 的导数")
    i0 = _function(sf.i0, "零阶变形 Bessel 函数")

    floor = _rounding(ro.floor, "向下取整")
    ceil = _rounding(ro.ceil, "向上取整")
    trunc = fix = _rounding(ro.trunc, "向 0 取整")

    def round(self, *, decimals: int = 0) -> Any:
        """舍入到 ``decimals`` 位小数，正中间取偶数。"""
        refuse("round", self, "biuc" if decimals else "bc")
        return apply(ro.round, (self,), {"decimals": decimals}) if self.array.dtype.kind == "f" else self.clone()

    def frac(self) -> Any:
        """小数部分，符号随自己。"""
        refuse("frac", self, "biuc")
        return self - self.trunc()

    def deg2rad(self) -> Any:
        """角度变弧度。"""
        refuse("deg2rad", self, "c")
        return as_float(self) * (math.pi / 180)

    def rad2deg(self) -> Any:
        """弧度变角度。"""
        refuse("rad2deg", self, "c")
        return as_float(self) * (180 / math.pi)

    def logit(self, eps: float | None = None) -> Any:
        """``ln(x / (1 - x))``；给了 ``eps`` 就先截断到 ``[eps, 1 - eps]``。"""
        return apply(ex.logit, (as_float(self),), {"eps": eps})

    def polygamma(self, n: Any) -> Any:
        """digamma 的 ``n`` 阶导数；函数的写法是 ``polygamma(n, x)``。

        Raises:
            RuntimeError: ``n`` 为负。
        """
        x, n = (self, n) if hasattr(self, "array") else (n, self)
        if n < 0:
            raise RuntimeError("polygamma(n, x) does not support negative n.")
        return x.digamma() if n == 0 else apply(sf.polygamma, (as_float(x),), {"n": n})

    def mvlgamma(self, p: int) -> Any:
        """``p`` 维的 ``ln Γₚ(x) = p(p-1)/4 · ln π + Σⱼ ln Γ(x - j/2)``，``j`` 从 0 到 ``p - 1``。

        Raises:
            RuntimeError: ``p`` 小于 1。
        """
        refuse("mvlgamma", self, "b")
        if p < 1:
            raise RuntimeError(f"mvlgamma: p has to be greater than or equal to 1, got {p}")
        shifts = np.arange(p, dtype=as_float(self).array.dtype) / -2
        return (as_float(self).unsqueeze(-1) + shifts).lgamma().sum(-1) + p * (p - 1) / 4 * math.log(math.pi)

    def frexp(self) -> Any:
        """拆成尾数与指数：``x = mantissa · 2 ** exponent``，尾数的绝对值落在 ``[½, 1)``。

        Raises:
            RuntimeError: 不是浮点类型。
        """
        if self.array.dtype.kind != "f":
            raise RuntimeError(f"frexp() only supports floating-point dtypes, got {dtypes.of(self.array)}")
        exponent = np.asarray(np.frexp(self.array)[1], np.int32)
        return _FREXP((apply(ro.mantissa, (self,), _NO_ATTRS), graph.tensor_type.wrap(exponent)))

    def nan_to_num(self, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Any:
        """NaN 换成 ``nan``（缺省 0），正负无穷大换成 ``posinf``、``neginf``（缺省为该类型的最大、最小值）。"""
        if self.array.dtype.kind == "c":
            return cx.view_as_complex(cx.view_as_real(self).nan_to_num(nan, posinf, neginf))
        if self.array.dtype.kind != "f":
            return self.clone()
        return apply(ro.nan_to_num, (self,), {"nan": nan, "posinf": posinf, "neginf": neginf})

    def hardshrink(self, lambd: float = 0.5) -> Any:
        """绝对值不超过 ``lambd`` 的变成 0。"""
        from tinygrad_llm.nn.activations import hardshrink

        return hardshrink(self, lambd)  # type: ignore[arg-type]

    def prelu(self, weight: Any) -> Any:
        """负的乘以 ``weight``：一个数，或每个通道一个。"""
        from tinygrad_llm.nn.activations import prelu

        return prelu(self, weight)  # type: ignore[arg-type]

    def positive(self) -> Any:
        """返回自己。

        Raises:
            RuntimeError: 布尔类型。
        """
        if self.array.dtype.kind == "b":
            raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
        return self

    __pos__ = positive
