"""逐元素函数：值、dtype、梯度、就地写法与报错都与 torch 相同，特殊函数准到几个 ulp。

表的每一行是一段两边通用的代码；算子本身的随机测试在 ``test_ops.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, same_gradient, table, values
from tinygrad_llm.function_only import IN_PLACE
from tinygrad_llm.methods.inplace_functions import NAMES

Case = Callable[[Any, Any], Any]
DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
INF, NAN = float("inf"), float("nan")


def _other(m: Any, x: Any) -> Any:
    """与 ``x`` 同形状的另一个操作数，非 0，有正有负。"""
    return m.linspace(-2.2, 2.5, x.numel(), dtype=x.dtype).view(*x.shape)


# x 的形状是 (2, 3, 4)
DIFFERENTIABLE: dict[str, Case] = {
    "trigonometry": lambda m, x: (x.tan(), (x / 5).asin(), m.arccos(x / 5), x.arctan(), x.sinc(), m.deg2rad(x),
        x.rad2deg()),
    "hyperbolic": lambda m, x: (x.sinh(), x.cosh(), x.arcsinh(), (x.abs() + 2).acosh(), m.atanh(x / 5)),
    "angles": lambda m, x: (x.atan2(_other(m, x)), m.arctan2(_other(m, x), x), x.hypot(_other(m, x)), x.angle()),
    "exponentials": lambda m, x: (x.exp2(), x.expm1(), (x + 5).log2(), m.log10(x + 5),
        x.ldexp(m.tensor([0, 1, 2, 3]))),
    "sums of exponentials": lambda m, x: (x.logaddexp(x * 2), m.logaddexp2(x, _other(m, x))),
    "x log y": lambda m, x: (m.xlogy(x, x.abs() + 1), m.xlogy(2, x.abs() + 1), m.special.xlog1py(x, 2.0)),
    "logit": lambda m, x: (x.sigmoid().logit(), m.logit(x, 0.1), m.special.logit(x / 9 + 0.5)),
    "rounding": lambda m, x: (x.floor(), x.ceil(), x.trunc(), x.fix(), x.round(), m.round(x, decimals=1), x.frac()),
    "division": lambda m, x: (x.div(_other(m, x)), m.div(x, 3, rounding_mode="floor"),
        x.divide(0.7, rounding_mode="trunc"), x.true_divide(2), x.remainder(0.7), m.fmod(x, _other(m, x)),
        x.remainder(_other(m, x))),
    "float bits": lambda m, x: (m.frexp(x)[0], x.copysign(_other(m, x)), x.copysign(-1.0), x.nextafter(_other(m, x))),
    "blends": lambda m, x: (x.lerp(_other(m, x), 0.3), m.lerp(x, x * 2, x), x.addcmul(x, x * 2, value=0.5),
        m.addcdiv(x, x, _other(m, x), value=2)),
    "bounds": lambda m, x: (x.clamp(_other(m, x), x * 2), m.clamp(x, max=_other(m, x)), x.clamp_min(0.2),
        x.clip(-1, 1), m.clamp_max(x, x * 0.5)),
    "extremes": lambda m, x: (x.fmax(_other(m, x)), x.fmin(x * 2), m.maximum(x, x * x), x.minimum(_other(m, x))),
    "gamma": lambda m, x: ((x + 5).lgamma(), m.special.psi(x + 5), (x + 5).mvlgamma(3), m.polygamma(2, x + 5)),
    "errors": lambda m, x: (x.erfc(), (x / 5).erfinv(), m.special.erfcx(x), m.special.ndtr(x), m.special.log_ndtr(x)),
    "bessel": lambda m, x: (x.i0(), m.special.i0e(x + 0.1), m.special.i1(x + 0.1), m.special.i1e(x + 0.1)),
    "powers": lambda m, x: (x.abs().float_power(2.5), m.float_power(2, x), m.pow(2.0, x), 1.5**x, x**True),
    "reflected": lambda m, x: (x.__radd__(x), x.__rsub__(2), x.__rpow__(x + 5), (x + 5).__rdiv__(x),
        m.rsub(x, x, alpha=3)),
    "matrix reflected": lambda m, x: x[0].__rmatmul__(x[0, :, :3]),
    "aliases": lambda m, x: (x.subtract(1, alpha=2), x.multiply(x), x.negative(), x.absolute(), x.positive(), +x,
        m.fill(x, 2), m.fill(x, x[0, 0, 0])),
    "parts of real numbers": lambda m, x: (x.real, m.real(x), x.conj(), x.conj_physical(), x.resolve_conj(), x.sgn()),
    "nan_to_num": lambda m, x: (m.nan_to_num(x / 0, 1.0, 2.0, -3.0), (x * NAN).nan_to_num()),
}  # fmt: skip


@pytest.mark.parametrize("domain", ["normal", "ties"])
@pytest.mark.parametrize("case", table(DIFFERENTIABLE))
def test_values_and_gradients_equal_torch(case: Case, domain: str) -> None:
    """某个函数的值、dtype 或梯度与 torch 不同。"""
    same_gradient(case, values(0, 2, 3, 4, domain=domain), "float64")


PLAIN: dict[str, Case] = {
    "comparisons": lambda m, x: (x.eq(1), x.ne(x), m.less(x, 0), x.greater_equal(-x), x.not_equal(2), m.gt(x, x * 2)),
    "logic": lambda m, x: (m.logical_and(x, x > 0), x.logical_or(x * 0), x.logical_xor(x.long()), x.logical_not()),
    "bits": lambda m, x: (x.long().bitwise_and(3), m.bitwise_or(x.long(), 4), m.bitwise_xor(1, x.long()), ~x.long(),
        (x > 0).bitwise_not(), x.long() << 2, x.long() >> 1, 2 << x.long().abs(), x.int() << 40, x.int() >> -1),
    "number theory": lambda m, x: (x.long().gcd(m.tensor(4)), m.lcm(x.long(), m.tensor([2, 3, 4, 6]))),
    "tests": lambda m, x: ((x / 0).isinf(), (x / 0).isposinf(), m.isneginf(x / 0), x.isreal(), x.signbit(),
        x.long().isinf()),
    "closeness": lambda m, x: (x.isclose(x + 1e-6), m.isclose(x / 0, x / 0, equal_nan=True),
        x.long().isclose(x.long(), rtol=0.5)),
    "equality": lambda m, x: (x.equal(x.float()), x.allclose(x + 1e-9), (x[0, 0, 0] * 0).is_nonzero(), x.is_complex()),
    "heaviside": lambda m, x: (x.heaviside(m.tensor(0.5, dtype=x.dtype)), m.heaviside(x.long(), m.tensor(7))),
    "exponents": lambda m, x: m.frexp(x)[1],
    "integers keep": lambda m, x: (x.long().floor(), x.long().round(), x.int().trunc(), x.long().nan_to_num(),
        x.long().sgn()),
    "integer division": lambda m, x: (x.long().div(3, rounding_mode="trunc"),
        m.div(x.long(), -3, rounding_mode="floor"), x.long().fmod(-3), x.long() // m.tensor([3, -2, 1, 5]),
        x.long().true_divide(2), 7 % (x.long() + 9)),
    "small integers wrap": lambda m, x: (x.to(m.int8) * m.tensor(100, dtype=m.int8),
        x.abs().to(m.uint8) - m.tensor(9, dtype=m.uint8), (x.to(m.int8) == 256), m.bitwise_and(x.to(m.int8), 300),
        x.abs().to(m.uint8) > -1),
    "integer powers": lambda m, x: (x.long() ** m.tensor([-1, 0, 2, 3]), m.pow(2, x.long()), (x > 0) ** 2,
        (x > 0) ** True),
    "mixed": lambda m, x: (x.float().atan2(x), x.long().copysign(-1), x.long().xlogy(x.int().abs()),
        x.long() / m.tensor(3, dtype=m.uint8), m.tensor(-2) / m.tensor([4], dtype=m.uint8),
        m.addcmul(x.long(), x.long(), x.float()), x.long().add(x.int(), alpha=3)),
    "orders": lambda m, x: (m.special.zeta(3, x.abs() + 1), m.special.entr(x.long()), m.igamma(x.abs(), x * x)),
    "not a number": lambda m, x: ((x * NAN).sign(), (x * NAN).maximum(x), (x * NAN).fmax(x), (x * NAN).clamp(0, 1),
        x.clamp(NAN)),
    "empty": lambda m, x: (x[:0].tan(), x[:0].lgamma(), x[:0].long() // 0, x[:0].erfinv(), m.special.i0e(x[:0])),
}  # fmt: skip


@pytest.mark.parametrize("domain", ["normal", "ties"])
@pytest.mark.parametrize("case", table(PLAIN))
def test_results_without_gradients_equal_torch(case: Case, domain: str) -> None:
    """某个函数的值、形状或 dtype 与 torch 不同。"""
    same(lambda m: case(m, m.tensor(values(1, 2, 3, 4, domain=domain))))


UNARY = [
    "tan", "exp2", "erfinv", "lgamma", "i0", "floor", "round", "frac", "sgn", "sign", "abs", "square", "angle",
    "logit", "reciprocal", "positive", "neg", "relu", "signbit", "isposinf", "logical_not", "bitwise_not",
    "nan_to_num",
]  # fmt: skip
BINARY = [
    "atan2", "hypot", "fmax", "maximum", "xlogy", "copysign", "fmod", "remainder", "floor_divide", "bitwise_and",
    "gcd", "less", "logical_xor", "isclose", "pow", "float_power", "true_divide", "sub", "heaviside", "clamp_min",
]  # fmt: skip


def _same_or_both_refuse(run: Callable[[Any], Any], what: str) -> None:
    try:
        run(torch)
    except (RuntimeError, TypeError):
        same_error(run, what=what)
    else:
        same(run, "float32", what)


@pytest.mark.parametrize("name", UNARY)
def test_one_tensor_of_each_dtype(name: str) -> None:
    """某种 dtype 的结果类型与 torch 不同，或一边拒绝、另一边给出一个数。"""
    for dtype in DTYPES:

        def run(m: Any, dtype: str = dtype) -> Any:
            return getattr(m.ones(2, dtype=getattr(m, dtype)), name)()

        _same_or_both_refuse(run, f"{name} {dtype}")


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("left", DTYPES)
def test_two_tensors_of_any_two_dtypes(left: str, name: str) -> None:
    """某两种 dtype（含 0 维）相遇的结果与 torch 不同。"""
    for right in DTYPES:
        for shapes in [((2,), (2,)), ((2,), ()), ((), (2,))]:

            def run(m: Any, right: str = right, shapes: Any = shapes) -> Any:
                a, b = (m.ones(s, dtype=getattr(m, d)) for s, d in zip(shapes, (left, right), strict=True))
                return getattr(a, name)(b)

            _same_or_both_refuse(run, f"{name} {left}{shapes[0]} {right}{shapes[1]}")


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "a number where a tensor belongs": lambda m: m.ones(2).maximum(2.0),
    "a number first": lambda m: m.atan2(2.0, m.ones(2)),
    "comparison with a string": lambda m: m.ones(2).eq("a"),
    "order against None": lambda m: m.ones(2) < None,
    "shift of floats": lambda m: m.ones(2) << 1,
    "bits of floats": lambda m: m.ones(2) & 1,
    "plus of booleans": lambda m: +m.tensor([True]),
    "booleans subtracted from floats": lambda m: m.ones(1).sub(m.tensor([True])),
    "reverse subtraction of booleans": lambda m: m.rsub(m.tensor([True]), 1),
    "unknown rounding mode": lambda m: m.ones(2).div(2, rounding_mode="up"),
    "integer truncation by zero": lambda m: m.arange(3).div(0, rounding_mode="trunc"),
    "integer fmod by zero": lambda m: m.arange(3).fmod(0),
    "float alpha for integers": lambda m: m.arange(3).add(1, alpha=1.5),
    "integers to a negative power": lambda m: m.arange(3).pow(-1),
    "exponent beyond int8": lambda m: m.ones(2, dtype=m.int8) ** 300,
    "bound beyond int8": lambda m: m.ones(2, dtype=m.int8).clamp(max=300),
    "one bound a number, one a tensor": lambda m: m.ones(2).clamp(0.0, m.ones(2)),
    "boolean bounds": lambda m: m.tensor([True]).clamp(False, True),
    "closeness of two dtypes": lambda m: m.ones(2).isclose(m.ones(2, dtype=m.float64)),
    "negative tolerance": lambda m: m.ones(2).isclose(m.ones(2), rtol=-1.0),
    "blend of two dtypes": lambda m: m.ones(2).lerp(m.ones(2, dtype=m.float64), 0.5),
    "addcdiv of integers": lambda m: m.ones(2).addcdiv(m.arange(2), m.arange(2)),
    "truth of nothing": lambda m: m.ones(0).is_nonzero(),
    "fill with a vector": lambda m: m.fill(m.ones(2), m.ones(2)),
    "polygamma of a negative order": lambda m: m.polygamma(-1, m.ones(2)),
    "mvlgamma of no dimension": lambda m: m.mvlgamma(m.ones(2), 0),
    "frexp of integers": lambda m: m.frexp(m.arange(2)),
    "floats into integers": lambda m: m.arange(3).exp_(),
    "integers into booleans": lambda m: m.tensor([True]).bitwise_or_(m.tensor([2])),
    "double into single": lambda m: m.ones(2).float_power_(2),
    "derivative of floor division": lambda m: (m.ones(2, requires_grad=True) // 2).sum().backward(),
    "derivative of the step": lambda m: m.heaviside(m.ones(2, requires_grad=True), m.ones(2)).sum().backward(),
    "derivative of zeta by its order": lambda m: m.special.zeta(m.ones(2, requires_grad=True), 2.0).sum().backward(),
    "derivative of igamma": lambda m: m.igamma(m.ones(2, requires_grad=True), m.ones(2)).sum().backward(),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """写错的代码在我们这里不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


ARGUMENTS = {"polygamma": (2,), "mvlgamma": (1,), "clamp_min": (1.0,), "clamp_max": (1.0,), "clip": (0.8, 1.5)}
ARGUMENTS |= {"cumsum": (0,), "cumprod": (0,)}
INTEGER = {"gcd", "lcm", *(name for name in NAMES if name.startswith("bitwise"))}
NO_ARGUMENT = {name for name in NAMES if name.endswith("_not")}
VALUE_ONLY = {"digamma", "acosh", "arccosh", "asinh", "arcsinh", "atanh", "arctanh"}


def _in_place(m: Any, x: Any, name: str) -> Any:
    y = x.long() if name in INTEGER else x * 1
    try:
        result = getattr(y, name + "_")(*ARGUMENTS.get(name, ()))
    except TypeError:
        result = getattr(y, name + "_")(m.tensor([1, 2, 3] if name in INTEGER else [0.5, 2.0, 3.0], dtype=y.dtype))
    assert result is y
    return result if name not in INTEGER else (result, x * 1)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in {"heaviside", "floor_divide", "igamma", "igammac", "renorm"}]
)
def test_in_place_functions_write_and_differentiate_as_torch(name: str) -> None:
    """就地写法没有写进自己的内存、没有返回自己，或梯度不是写入之前的数算出来的。"""
    x = np.array([0.3, 0.7, 0.9]) if name.startswith(("a", "erfinv", "logit")) else np.array([0.6, 1.3, 2.2])
    if name in VALUE_ONLY or name.startswith("logical"):  # torch 没有（或给错、给不准）它们就地写法的导数
        same(lambda m: _in_place(m, m.tensor(x), name))
    else:
        same_gradient(lambda m, leaf: _in_place(m, leaf, name), x)


def test_in_place_functions_are_functions_too() -> None:
    """``relu_(x)`` 没有写进 ``x``，或门面上的名字与 torch 的不同。"""
    x = tg.tensor([-1.0, 2.0])
    assert tg.relu_(x) is x
    assert x.tolist() == [0.0, 2.0]
    assert all(hasattr(torch, name) for name in IN_PLACE)
    same(lambda m: m.tensor([5, 6]).__iand__(m.tensor([4, 3])))


NEAR_ZERO = np.concatenate([np.logspace(-12, 1.3, 300), -np.logspace(-12, 1.3, 300), np.linspace(-9.7, 9.9, 400)])
UNIT = np.concatenate([np.logspace(-12, -0.01, 200), 1 - np.logspace(-6, -0.4, 200)])
ACCURATE: dict[str, tuple[Any, Case]] = {
    "erf": (NEAR_ZERO, lambda m, x: (x.erf(), x.erfc(), m.special.erfcx(x[x > -9]))),
    "log_ndtr": (NEAR_ZERO * 3, lambda m, x: m.special.log_ndtr(x)),
    "inverse": (UNIT, lambda m, x: (m.special.ndtri(x), (x[x < 0.99]).erfinv())),
    "lgamma": (NEAR_ZERO[np.abs(NEAR_ZERO - np.rint(NEAR_ZERO)) > 1e-3] * 1.01, lambda m, x: x.lgamma()),
    "large lgamma": (np.logspace(0.5, 300, 300), lambda m, x: (x.lgamma(), x.digamma())),
    "zeta": (np.abs(NEAR_ZERO) + 0.01, lambda m, x: (m.special.zeta(2.5, x), m.special.zeta(x + 1.01, 1.5))),
    "bessel": (NEAR_ZERO * 9, lambda m, x: (x.i0(), m.special.i0e(x), m.special.i1(x), m.special.i1e(x))),
    "igamma": (np.abs(NEAR_ZERO) * 0.9, lambda m, x: (m.igamma(x.flip(0), x), m.igammac(x, x * 1.7), m.igamma(x,
        x * 0.6))),
}  # fmt: skip


@pytest.mark.parametrize("values_and_case", table(ACCURATE))
def test_special_functions_are_accurate_over_their_whole_range(values_and_case: tuple[Any, Case]) -> None:
    """某个特殊函数在定义域的某一段上失去精度。"""
    x, case = values_and_case
    for ours, theirs in zip(*(_tuple(case(m, m.tensor(x))) for m in (tg, torch)), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-12, atol=1e-300)


def test_left_tail_of_log_ndtr_cancels_in_single_precision() -> None:
    """float32 的 ``ln Φ`` 在左尾的导数由两个几乎相等的大数相减得来，只剩三位。"""
    x = np.linspace(-90, 5, 400).astype(np.float32)
    leaf, exact = tg.tensor(x, requires_grad=True), torch.tensor(x, dtype=torch.float64, requires_grad=True)
    tg.special.log_ndtr(leaf).sum().backward()
    torch.special.log_ndtr(exact).sum().backward()
    assert leaf.grad is not None
    assert exact.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), exact.grad.numpy(), rtol=1e-5)


def _tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_large_incomplete_gamma_is_more_accurate_than_series() -> None:
    """``a`` 很大时的一致展开与 ``P + Q = 1`` 或与 Poisson 分布的和不合。"""
    a = tg.tensor([1500.0, 2e4, 1e6], dtype=tg.float64)
    for shift in (-3.0, -0.2, 0.0, 2.5):
        x = a + shift * a.sqrt()
        np.testing.assert_allclose((tg.igamma(a, x) + tg.igammac(a, x)).array, 1, rtol=1e-14)
        # P(a, x) - P(a + 1, x) = xᵃ e⁻ˣ / Γ(a + 1)
        step = (a * x.log() - x - (a + 1).lgamma()).exp()
        np.testing.assert_allclose((tg.igamma(a, x) - tg.igamma(a + 1, x)).array, step.array, rtol=1e-8)


SPECIAL_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "multigammaln": (1,), "softmax": (0,), "log_softmax": (0,), "logsumexp": (0,), "logit": (0.1,),
}  # fmt: skip


@pytest.mark.parametrize("name", tg.special.__all__)
def test_every_special_function_equals_torch(name: str) -> None:
    """``special`` 里有 torch 没有的名字，或值与 torch 的不同。"""

    def run(m: Any) -> Any:
        function, x = getattr(m.special, name), m.linspace(0.1, 0.9, 7, dtype=m.float64)
        if name == "polygamma":
            return function(3, x)
        two = name in {"gammainc", "gammaincc", "xlog1py", "xlogy", "zeta"}
        return function(x + 1, x.flip(0)) if two else function(x, *SPECIAL_ARGUMENTS.get(name, ()))

    same(run)
