"""逐元素函数的就地写法：``x.exp_()`` 把 ``x.exp()`` 写回 ``x``。

流入：Tensor 与参数；流出：自己。名字的清单在 ``NAMES``，方法由它生成；结果的类别比自己高（如浮点写进整数）就报错。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import elementwise as ew

NAMES = (
    "abs", "absolute", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "asin", "asinh", "atan", "atan2", "atanh", "ceil", "clamp_max", "clamp_min", "clip", "conj_physical", "copysign",
    "cos", "cosh", "deg2rad", "digamma", "divide", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "fix", "floor",
    "floor_divide", "fmod", "frac", "hypot", "i0", "igamma", "igammac", "ldexp", "lgamma", "log", "log10", "log1p",
    "log2", "logit", "multiply", "mvlgamma", "nan_to_num", "neg", "negative", "nextafter", "polygamma", "pow",
    "rad2deg", "reciprocal", "relu", "remainder", "round", "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinc", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "true_divide", "trunc", "xlogy", "eq", "ne", "lt", "le", "gt", "ge",
    "greater", "greater_equal", "less", "less_equal", "not_equal", "heaviside", "logical_and", "logical_not",
    "logical_or", "logical_xor", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "gcd", "lcm", "cumprod", "cumsum", "renorm",
)  # fmt: skip
"""torch 里有就地写法的逐元素函数。四则运算与另外几个写在 ``inplace.py``。"""

OPERATORS = {
    "__iand__": "__and__",
    "__ior__": "__or__",
    "__ixor__": "__xor__",
    "__ilshift__": "__lshift__",
    "__irshift__": "__rshift__",
}
"""增量赋值的运算符，到它对应的普通运算符。"""


def _write(tensor: Any, result: Any) -> Any:
    """写回。比较一类的结果不可导，但自己仍在图上，梯度是 0。"""
    if tensor.needs_grad and not result.needs_grad:
        result = apply(ew.where, (False, tensor.clone(), result.to(dtypes.of(tensor.array))), {})
    return tensor._put(result)


def _in_place(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self._kept(*args, *kwargs.values()), name)(*args, **kwargs)
        return result if result is NotImplemented else _write(self, result)

    method.__doc__ = f"``{name}`` 的就地写法。"
    return method


class InPlaceFunctions:
    """就地的逐元素函数；各方法由 ``NAMES`` 生成。"""

    dtype: Any

    def float_power_(self, exponent: Any) -> Any:
        """``float_power`` 的就地写法；结果是 float64，自己也得是。

        Raises:
            RuntimeError: 自己不是 float64。
        """
        if self.dtype != dtypes.float64:
            raise RuntimeError(f"float_power_: the base has dtype {self.dtype} but the result requires float64")
        return _in_place("float_power")(self, exponent)


for _name in NAMES:
    setattr(InPlaceFunctions, f"{_name}_", _in_place(_name))
for _name, _plain in OPERATORS.items():
    setattr(InPlaceFunctions, _name, _in_place(_plain))
