"""``torch.special``：特殊函数的名字空间。

流入：Tensor（个别函数的一个参数可以是数）；流出：Tensor。多数是方法的别名，算子的求导表在
``ops/special_functions.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.functions import FUNCTIONS
from tinygrad_llm.methods.arithmetic import unary
from tinygrad_llm.methods.operands import floats, no_derivative, tensors
from tinygrad_llm.ops import exponential as ex
from tinygrad_llm.ops import special_functions as sf
from tinygrad_llm.ops.op import Op
from tinygrad_llm.tensor import Tensor

digamma, erf, erfc, erfinv, exp2, expm1, i0, log1p, logit, logsumexp, polygamma, sinc, xlogy = (
    FUNCTIONS[name]
    for name in (
        "digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "log1p", "logit", "logsumexp", "polygamma", "sinc",
        "xlogy",
    )
)  # fmt: skip
expit, gammaln, multigammaln, psi, round = (
    FUNCTIONS[name] for name in ("sigmoid", "lgamma", "mvlgamma", "digamma", "round")
)
softmax, log_softmax = FUNCTIONS["softmax"], FUNCTIONS["log_softmax"]
gammainc, gammaincc = FUNCTIONS["igamma"], FUNCTIONS["igammac"]


def _function(op: Op, meaning: str) -> Callable[[Any], Any]:
    def function(input: Tensor) -> Tensor:
        tensors(op.name, input)
        return unary(op, input)  # type: ignore[no-any-return]

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"{meaning}。"
    return function


entr = _function(ex.entr, "熵的一项 ``-x ln x``；在 0 处为 0，负数处为 ``-inf``")
erfcx = _function(sf.erfcx, "缩放的余误差函数 ``exp(x²) erfc(x)``")
ndtri = _function(sf.ndtri, "标准正态分布函数的反函数")
log_ndtr = _function(sf.log_ndtr, "标准正态分布函数的对数，左尾不下溢")
i0e = _function(sf.i0e, "``e^-|x| I₀(x)``")
i1 = _function(sf.i1, "一阶变形 Bessel 函数")
i1e = _function(sf.i1e, "``e^-|x| I₁(x)``")


def ndtr(input: Tensor) -> Tensor:
    """标准正态分布函数 ``Φ(x) = erfc(-x/√2) / 2``，左尾有完整的相对精度。"""
    tensors("ndtr", input)
    return erfc(input * (-1 / math.sqrt(2))) / 2  # type: ignore[no-any-return]


def xlog1py(input: Any, other: Any) -> Tensor:
    """``input · ln(1 + other)``；``input`` 为 0 时是 0。"""
    return apply(ex.xlog1py, floats("xlog1py", input, other), {})  # type: ignore[no-any-return]


def zeta(input: Any, other: Any) -> Tensor:
    """Hurwitz ζ 函数 ``Σₖ (other + k)^(-input)``；只对 ``other`` 可导。"""
    s, q = floats("zeta", input, other)
    error = NotImplementedError("the derivative for 'zeta' is not implemented.")
    return no_derivative(error, apply(sf.zeta, (s, q), {}), s)  # type: ignore[no-any-return]


__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc", "gammaln",
    "i0", "i0e", "i1", "i1e", "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr",
    "ndtri", "polygamma", "psi", "round", "sinc", "softmax", "xlog1py", "xlogy", "zeta",
]  # fmt: skip
