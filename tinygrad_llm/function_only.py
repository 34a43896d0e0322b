"""torch 里只有函数、没有方法的逐元素函数，以及就地方法的函数写法。

流入：Tensor；流出：Tensor。其余函数由方法生成，见 ``functions.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.arithmetic import subtract
from tinygrad_llm.methods.operands import constant, tensors
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.tensor import Tensor

IN_PLACE = (
    "abs_", "acos_", "acosh_", "addmv_", "arccos_", "arccosh_", "arcsin_", "arcsinh_", "arctan_", "arctanh_",
    "as_strided_", "asin_", "asinh_", "atan_", "atanh_", "ceil_", "clamp_", "clamp_max_", "clamp_min_", "clip_",
    "conj_physical_", "cos_", "cosh_", "deg2rad_", "detach_", "erf_", "erfc_", "exp2_", "exp_", "expm1_", "fill_",
    "fix_", "floor_", "frac_", "gcd_", "i0_", "index_put_", "lcm_", "ldexp_", "log10_", "log1p_", "log2_", "log_",
    "logit_", "nan_to_num_", "neg_", "negative_", "rad2deg_", "reciprocal_", "relu_", "resize_as_", "round_", "rsqrt_",
    "sigmoid_", "sin_", "sinc_", "sinh_", "sqrt_", "square_", "tan_", "tanh_", "trunc_", "xlogy_", "zero_",
)  # fmt: skip
"""torch 里也有函数写法的就地方法。"""


def rsub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``other - alpha · input``。"""
    tensors("rsub", input)
    return subtract(other, input, alpha)  # type: ignore[no-any-return]


def fill(input: Tensor, value: Any) -> Tensor:
    """形状与 dtype 同 ``input``，处处是 ``value``；``value`` 是 0 维 Tensor 时可导。

    Raises:
        RuntimeError: ``value`` 不是 0 维。
    """
    value = constant(value, input.array.dtype)
    if value.ndim:
        raise RuntimeError(f"fill only supports 0-dimension value tensor but got {value.ndim} dimensions")
    return apply(ew.fill, (input, value), {})  # type: ignore[no-any-return]


def real(input: Tensor) -> Tensor:
    """实部；实数返回自己。"""
    return input.real  # type: ignore[no-any-return]


def _function(name: str) -> Callable[..., Any]:
    method = getattr(Tensor, name)

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        tensors(name, input)
        return method(input, *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


IN_PLACE_FUNCTIONS: dict[str, Callable[..., Any]] = {name: _function(name) for name in IN_PLACE}
