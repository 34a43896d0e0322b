"""``gradcheck`` 与 ``gradgradcheck``：对的放行、错的指出，判断与异常的类型都与 torch 相同。"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.function_cases import leaf, new_function
from parity_tests.engine.twins import ENGINES, outcome, table

Case = Callable[[Any], Any]


def _check(function: Callable[[Any], Any], *, twice: bool = False, count: int = 1, **options: Any) -> Case:
    """对 ``function(m)`` 做一次检查。"""

    def case(m: Any) -> Any:
        check = m.autograd.gradgradcheck if twice else m.autograd.gradcheck
        inputs = [leaf(m, 0.5 + i, 1.5 - i) for i in range(count)]
        return check(function(m), inputs[0] if count == 1 else tuple(inputs), **options)

    return case


def _right(m: Any) -> Any:
    return lambda x: (x**3).sin() * x


def _several(m: Any) -> Any:
    return lambda x, y: ((x * y).exp(), x.sum(), m.ones(2))


def _slope(factor: float) -> Any:
    """一阶导是真值的 ``factor`` 倍。"""
    return lambda m: new_function(m, lambda ctx, x: x * 2, lambda ctx, g: g * 2 * factor).apply


def _constant_slope(m: Any) -> Any:
    """一阶导对，却不可再求导。"""

    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    return new_function(m, forward, lambda ctx, g: g * (3 * ctx.saved_tensors[0] ** 2).detach()).apply


def _once(m: Any) -> Any:
    once = m.autograd.function.once_differentiable
    return new_function(m, lambda ctx, x: x * 2, once(lambda ctx, g: g * 2)).apply


def _noisy(size: float) -> Any:
    """反向每做一次，多出 ``size`` 倍。"""

    def build(m: Any) -> Any:
        calls = itertools.count()
        return new_function(m, lambda ctx, x: x * 2, lambda ctx, g: g * (2 + size * next(calls))).apply

    return build


def _undefined(default: float) -> Any:
    """没有收到的梯度当作 ``default``：只有 0 是对的。"""

    def build(m: Any) -> Any:
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        def backward(ctx: Any, a: Any, b: Any) -> Any:
            known = m.ones(2, dtype=m.float64) * default
            return (known if a is None else a) * 2 + (known if b is None else b) * 3

        return new_function(m, forward, backward).apply

    return build


CASES: dict[str, Case] = {
    "right": _check(_right),
    "right twice": _check(_right, twice=True),
    "several outputs": _check(_several, count=2),
    "several outputs twice": _check(lambda m: lambda x, y: ((x * y).exp(), x.sum()), twice=True, count=2),
    "fast": _check(_right, fast_mode=True),
    "fast twice": _check(_right, twice=True, fast_mode=True),
    "dtypes": _check(_right, check_grad_dtypes=True),
    "undefined unchecked": _check(_several, count=2, check_undefined_grad=False),
    "strided": _check(_right, twice=True, gen_non_contig_grad_outputs=True),
    "given grad_outputs": lambda m: m.autograd.gradgradcheck(lambda x: x**3, leaf(m, 1.0), leaf(m, 2.0)),
    "wrong": _check(_slope(1.1)),
    "wrong quietly": _check(_slope(1.1), raise_exception=False),
    "wrong fast": _check(_slope(1.1), fast_mode=True),
    "wrong within tolerance": _check(_slope(1.1), rtol=0.2),
    "wrong second": _check(_constant_slope, twice=True),
    "right first": _check(_constant_slope),
    "once differentiable": _check(_once, twice=True),
    "noise": _check(_noisy(1e-6)),
    "noise within tolerance": _check(_noisy(1e-9), nondet_tol=1e-3),
    "not multiplied": _check(lambda m: new_function(m, lambda ctx, x: x * 2, lambda ctx, g: g * 0 + 2).apply),
    "undefined as zeros": _check(_undefined(0.0)),
    "undefined as ones": _check(_undefined(1.0)),
    "nothing needs grad": lambda m: m.autograd.gradcheck(_right(m), m.ones(2, dtype=m.float64)),
    "nothing to check": _check(_right, check_backward_ad=False),
    "nothing to check twice": _check(_right, twice=True, check_rev_over_rev=False),
    "constant": _check(lambda m: lambda x: m.ones(2, dtype=m.float64)),
    "piecewise": _check(lambda m: lambda x: x.detach() * 2),
    "empty": lambda m: m.autograd.gradcheck(_right(m), m.zeros(0, dtype=m.float64, requires_grad=True)),
}


@pytest.mark.filterwarnings("ignore:Backwards compatibility:UserWarning")  # torch 在报错之前的提示
@pytest.mark.parametrize("case", table(CASES))
def test_gradcheck_judges_unlike_torch(case: Case) -> None:
    """该放行的报了错，或写错的导数被放行。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
def test_single_precision_is_checked_without_a_warning(m: Any) -> None:
    """float32 的差分误差太大，却没有警告。"""
    with pytest.warns(UserWarning, match="not a double precision floating point"):
        m.autograd.gradcheck(lambda x: x * 2, m.ones(1, requires_grad=True), eps=1e-2, atol=1e-2)


OPTIONS = ("check_batched_grad", "check_batched_forward_grad", "check_forward_ad", "masked")


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_without_effect_is_accepted(option: str) -> None:
    """要检查这里没有的东西，却装作检查过了。"""
    x: Any = leaf(tg, 1.0)
    options: dict[str, Any] = {option: True}
    with pytest.raises(NotImplementedError, match=f"{option}=True is not offered"):
        tg.gradcheck(lambda t: t * 2, x, **options)
    with pytest.raises(NotImplementedError, match="check_fwd_over_rev=True is not offered"):
        tg.gradgradcheck(lambda t: t * 2, x, check_fwd_over_rev=True)


def test_the_report_does_not_name_the_element() -> None:
    """不符时没有说出哪个输出、哪个输入、哪个元素，两边各是多少。"""
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=tg.float64, requires_grad=True)

    def backward(ctx: Any, g: Any) -> Any:
        wrong = tg.ones(2, 2, dtype=tg.float64)
        wrong[1, 0] = 5.0
        return g * wrong

    function = new_function(tg, lambda ctx, t: t * 1, backward)
    expected = (
        r"output 1 \(MyFnBackward\) with respect to input 0: 1 of 16 entries differ; "
        r"first at output\[1, 0\], input\[1, 0\]: numerical \S+, analytical 5"
    )
    with pytest.raises(RuntimeError, match=expected):
        tg.gradcheck(lambda t: (t * 1, function.apply(t)), x)
