"""逐元素算子的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, Row, binary, size, unary
from parity_tests.strategies import Draw, array, broadcastable, integers

Drawer = Callable[[Draw, bool], Case]


def _within(low: float, high: float, *edges: str) -> Drawer:
    """差分时取 ``[low, high]`` 里的数：离定义域的边远一些。"""

    def draw(draw: Draw, small: bool) -> Case:
        chosen = "inner" if small else draw(st.sampled_from(["inner", *edges]))
        shape = size(draw, small)
        if chosen != "inner":
            return [array(draw, shape, chosen)], {}
        return [np.asarray(low + (high - low) / 2 * (array(draw, shape, "angle") + 1))], {}

    return draw


def _attribute(inner: Drawer, name: str, *values: Any) -> Drawer:
    """再抽一个属性。"""

    def draw(draw: Draw, small: bool) -> Case:
        args, attrs = inner(draw, small)
        return args, {**attrs, name: draw(st.sampled_from(values))}

    return draw


def _quotient(draw: Draw, small: bool) -> Case:
    """被除数与除数；差分时商离整数至少 0.1，不会跨过跳跃。"""
    first, second = draw(broadcastable(2, 2 if small else 4, 1 if small else 0))
    if not small:
        domains = draw(st.sampled_from([("any", "nonzero"), ("ties", "ties"), ("large", "any")]))
        return [array(draw, s, d) for s, d in zip((first, second), domains, strict=True)], {}
    b = array(draw, second, "nonzero")
    shape = np.broadcast_shapes(first, second)
    return [np.asarray((array(draw, shape, "ties") + 0.5 + 0.4 * array(draw, shape, "angle")) * b), b], {}


def _zeta(draw: Draw, small: bool) -> Case:
    (s, q), attrs = binary(("positive", "positive"))(draw, small)
    return [np.asarray(s + 1.1), q], attrs


def _ldexp(draw: Draw, small: bool) -> Case:
    first, second = draw(broadcastable(2, 2 if small else 4, 1 if small else 0))
    return [array(draw, first), integers(draw, second, -3, 4)], {}


def _lerp(draw: Draw, small: bool) -> Case:
    return [array(draw, s) for s in draw(broadcastable(3, 2 if small else 4, 1 if small else 0))], {}


def _fill(draw: Draw, small: bool) -> Case:
    return [array(draw, size(draw, small)), array(draw, ())], {}


def _bounds(draw: Draw, small: bool) -> Case:
    """两端落在整数与半整数上，差分时的 ``x`` 落不到那里；可以只有一端。"""
    shapes = draw(broadcastable(3, 2 if small else 4, 1 if small else 0))
    x = array(draw, np.broadcast_shapes(*shapes), "smooth" if small else "ties")  # torch 的反传不认更小的 x
    low, high = (array(draw, s, "ties") for s in shapes[1:])
    which = draw(st.sampled_from(["both", "low", "high"]))
    return [x, None if which == "high" else low, None if which == "low" else np.asarray(high + 0.5 * small)], {}


def _not_finite(draw: Draw, small: bool) -> Case:
    x = array(draw, size(draw, small))
    if not small:
        x = np.where(np.abs(x) > 1, draw(st.sampled_from([np.nan, np.inf])) * np.sign(x), x)
    keys = draw(st.sampled_from([(), ("nan",), ("posinf", "neginf")]))
    return [x], dict.fromkeys(keys, 2.5)


class _Digamma(torch.autograd.Function):
    """torch 的 ψ，导数换成它的 ζ：torch 自己的 trigamma 只有九、十位有效数字，ζ 是准的。"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        """``ψ(x)``。"""
        ctx.save_for_backward(x)
        return torch.digamma(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """``ψ′(x) = ζ(2, x)``。"""
        return grad_outputs[0] * torch.special.zeta(2, ctx.saved_tensors[0])


def _polygamma(x: Any, n: int) -> Any:
    if n == 0:
        return _Digamma.apply(x)  # type: ignore[no-untyped-call]
    return (-1) ** (n + 1) * math.factorial(n) * torch.special.zeta(n + 1, x)


TRIGONOMETRY: dict[str, Row] = {
    "tan": Row(unary("angle", "any", "ties"), torch.tan),
    "asin": Row(_within(-0.8, 0.8, "any", "ties"), torch.asin),
    "acos": Row(_within(-0.8, 0.8, "any", "ties"), torch.acos),
    "atan": Row(unary("any", "large"), torch.atan),
    "atan2": Row(binary(("nonzero", "nonzero"), "any", "large"), torch.atan2),
    "hypot": Row(binary(("nonzero", "nonzero"), "ties", "large"), torch.hypot),
    "sinh": Row(unary("any", "large"), torch.sinh),
    "cosh": Row(unary("any", "large"), torch.cosh),
    "asinh": Row(unary("any", "large"), torch.asinh),
    "acosh": Row(_within(1.3, 4.0, "any", "ties"), torch.acosh),
    "atanh": Row(_within(-0.8, 0.8, "any", "ties"), torch.atanh),
    "sinc": Row(unary("nonzero", "large", "ties"), torch.sinc),
}  # fmt: skip

EXPONENTIAL: dict[str, Row] = {
    "exp2": Row(unary("any", "large"), torch.exp2),
    "expm1": Row(unary("any", "large"), torch.expm1),
    "log2": Row(unary("positive", "ties"), torch.log2),
    "log10": Row(unary("positive", "ties"), torch.log10),
    "ldexp": Row(_ldexp, lambda a, b: a * torch.exp2(b.to(a.dtype))),
    "logaddexp": Row(binary(("any", "any"), "large", "ties"), torch.logaddexp),
    "logaddexp2": Row(binary(("any", "any"), "large", "ties"), torch.logaddexp2),
    "xlogy": Row(binary(("any", "positive"), "ties"), torch.xlogy),
    "xlog1py": Row(binary(("any", "positive"), "ties"), torch.special.xlog1py),
    "logit": Row(
        _attribute(_within(0.1, 0.9, "any", "ties"), "eps", None, 0.0, 0.05), lambda x, eps: torch.logit(x, eps)
    ),
    "entr": Row(unary("positive", "ties"), torch.special.entr),
}  # fmt: skip

ROUNDING: dict[str, Row] = {
    "floor": Row(unary("smooth", "ties"), torch.floor),
    "ceil": Row(unary("smooth", "ties"), torch.ceil),
    "trunc": Row(unary("smooth", "ties"), torch.trunc),
    "round": Row(
        _attribute(unary("smooth", "ties", "large"), "decimals", 0, 1, -1),
        lambda x, decimals: torch.round(x, decimals=decimals),
    ),
    "angle": Row(unary("smooth", "ties"), torch.angle),
    "div_floor": Row(_quotient, lambda a, b: torch.div(a, b, rounding_mode="floor")),
    "div_trunc": Row(_quotient, lambda a, b: torch.div(a, b, rounding_mode="trunc")),
    "remainder": Row(_quotient, torch.remainder),
    "fmod": Row(_quotient, torch.fmod),
    "mantissa": Row(_within(0.55, 0.95, "any", "ties"), lambda x: torch.frexp(x).mantissa),
    "copysign": Row(binary(("smooth", "nonzero"), "ties"), torch.copysign),
    "nextafter": Row(binary(("smooth", "positive"), "ties"), torch.nextafter),
    "nan_to_num": Row(
        _not_finite,
        lambda x, nan=None, posinf=None, neginf=None: torch.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    ),
}  # fmt: skip

SPECIAL: dict[str, Row] = {
    "erfc": Row(unary("any", "large"), torch.erfc),
    "erfcx": Row(unary("any", "large"), torch.special.erfcx),
    "erfinv": Row(_within(-0.8, 0.8, "any", "ties"), torch.erfinv),
    "ndtri": Row(_within(0.1, 0.9, "any", "ties"), torch.special.ndtri),
    "log_ndtr": Row(unary("any", "large"), torch.special.log_ndtr),
    "lgamma": Row(unary("positive", "ties", "any"), torch.lgamma),
    "digamma": Row(unary("positive", "ties", "any"), _Digamma.apply),
    "polygamma": Row(_attribute(unary("positive"), "n", 0, 1, 2, 3), _polygamma),
    "zeta": Row(_zeta, torch.special.zeta),
    "igamma": Row(binary(("positive", "positive"), "ties"), torch.igamma),
    "igammac": Row(binary(("positive", "positive"), "ties"), torch.igammac),
    "i0": Row(unary("any", "large", "ties"), torch.i0),
    "i0e": Row(unary("nonzero", "large", "ties"), torch.special.i0e),
    "i1": Row(unary("nonzero", "large", "ties"), torch.special.i1),
    "i1e": Row(unary("nonzero", "large", "ties"), torch.special.i1e),
}  # fmt: skip

ROWS: dict[str, Row] = {
    **TRIGONOMETRY,
    **EXPONENTIAL,
    **ROUNDING,
    **SPECIAL,
    "fmax": Row(binary(("smooth", "positive"), "ties"), torch.fmax),
    "fmin": Row(binary(("smooth", "positive"), "ties"), torch.fmin),
    "lerp": Row(_lerp, torch.lerp),
    "fill": Row(_fill, torch.fill),
    "clamp_between": Row(_bounds, torch.clamp),
}
