"""``autograd.functional`` 与 ``func``：值、结构、要不要梯度与异常的类型都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import ENGINES, outcome, table

Case = Callable[[Any], Any]


def _x(m: Any, *shape: int, grad: bool = False) -> Any:
    """固定的几个数；``grad`` 时是叶子的两倍，接在图上。"""
    count = 1
    for n in shape:
        count *= n
    values = m.arange(1.0, count + 1, dtype=m.float64).reshape(shape) / 4
    return values.requires_grad_() * 2 if grad else values


def _cube(x: Any) -> Any:
    return x**3


def _pair(x: Any, y: Any) -> Any:
    return (x**2).sum() * y, x.exp()


def _number(x: Any) -> Any:
    return (x**3).sum() + (x[0] * x[1]) ** 2


def _two(x: Any, y: Any) -> Any:
    return (x**2 * y.sum()).sum()


def _products(m: Any, grad: bool, create_graph: bool) -> list[Any]:
    """``vjp``、``jvp``、``vhp``、``hvp`` 各一次。"""
    f = m.autograd.functional
    x, y = _x(m, 3, grad=grad), _x(m, 2, grad=grad)
    ones, pair = m.ones(3, dtype=m.float64), (_x(m, 2), _x(m, 3))
    found = [f.vjp(_cube, x, ones, create_graph), f.jvp(_cube, x, ones, create_graph)]
    found += [f.vjp(_pair, (x, y), pair, create_graph), f.jvp(_pair, (x, y), (ones, _x(m, 2)), create_graph)]
    found += [h(_number, x, _x(m, 3), create_graph) for h in (f.vhp, f.hvp)]
    found += [h(_two, (x, y), (ones, _x(m, 2)), create_graph) for h in (f.vhp, f.hvp)]
    return [*found, f.vjp(lambda t: t.sum(), x, create_graph=create_graph)]


def _matrices(m: Any, grad: bool, **options: Any) -> list[Any]:
    f = m.autograd.functional
    x, y = _x(m, 2, 2, grad=grad), _x(m, 2, grad=grad)
    found = [f.jacobian(_cube, x, **options), f.jacobian(_pair, (y, x), **options)]
    found += [f.jacobian(lambda t: t.sum(), x, **options), f.jacobian(lambda a, b: b.sum(), (x, y), **options)]
    if "strategy" not in options:
        found += [f.hessian(_number, y, **options), f.hessian(_two, (x, y), **options)]
    return found


def _outer_gradient(m: Any) -> Any:
    """``create_graph`` 的结果可以接着求导，到达函数捕获的权重与原来的叶子。"""
    f = m.autograd.functional
    leaf, w = _x(m, 2).requires_grad_(), _x(m, 2).requires_grad_()
    total = f.jacobian(lambda t: t**3 * w, leaf, create_graph=True).sum()
    total = total + f.vjp(lambda t: (t**2 * w).sum(), leaf, create_graph=True)[1].sum()
    total = total + f.jvp(lambda t: t**2 * w, leaf, leaf, create_graph=True)[1].sum()
    total = total + f.hvp(lambda t: (t**3 * w).sum(), leaf, leaf, create_graph=True)[1].sum()
    total = total + f.hessian(lambda t: (t**3 * w).sum(), leaf, create_graph=True).sum()
    return m.autograd.grad(total, [leaf, w])


def _captured(m: Any) -> Any:
    """函数自己捕获了同一个 Tensor：它算常数。"""
    x = _x(m, 2).requires_grad_()
    return m.autograd.functional.jacobian(lambda t: t * x, x), m.autograd.functional.vjp(lambda t: (t * x).sum(), x)


def _f(name: str, *args: Any, **options: Any) -> Case:
    """一次调用；参数里的函数先以 ``m`` 调用一次。"""

    def case(m: Any) -> Any:
        return getattr(m.autograd.functional, name)(*[a(m) for a in args], **options)

    return case


def _given(function: Any) -> Any:
    return lambda m: function


def _sum_of(m: Any) -> Any:
    return lambda t: t.sum()


def _vector(*shape: int) -> Any:
    return lambda m: _x(m, *shape)


def _vectors(*shapes: Any) -> Any:
    return lambda m: tuple(_x(m, *s) for s in shapes)


ignores_second = _given(lambda a, b: (a**2).sum())
linear = _given(lambda a: (a * 2).sum())
detached = _given(lambda a: a.detach().sum())

CASES: dict[str, Case] = {
    f"{what.__name__} grad={grad} {options}": lambda m, what=what, grad=grad, options=options: what(m, grad, **options)
    for what in (_products, _matrices)
    for grad in (False, True)
    for options in ({"create_graph": False}, {"create_graph": True})
} | {
    "vectorize": lambda m: _matrices(m, False, vectorize=True),
    "by columns": lambda m: _matrices(m, False, vectorize=True, strategy="forward-mode"),
    "hessian by columns": lambda m: m.autograd.functional.hessian(
        _number, _x(m, 2), vectorize=True, outer_jacobian_strategy="forward-mode"
    ).detach(),
    "outer gradient": _outer_gradient,
    "captured": _captured,
    "under no_grad": lambda m: m.no_grad()(lambda: _matrices(m, True))(),
    "under no_grad products": lambda m: m.no_grad()(lambda: _products(m, True, create_graph=False))(),
    "0-d": lambda m: m.autograd.functional.hessian(_cube, m.tensor(2.0)),
}
MISTAKES: dict[str, Case] = {
    "inputs not a tensor": _f("jacobian", _given(_cube), _given(2.0)),
    "inputs a list": _f("jacobian", _given(_cube), lambda m: [_x(m, 2)]),
    "one input not a tensor": _f("vjp", _given(_two), lambda m: (_x(m, 2), 1.0)),
    "output not a tensor": _f("jacobian", _given(lambda t: 3), _vector(2)),
    "output a list": _f("jacobian", _given(lambda t: [t]), _vector(2)),
    "vjp without v": _f("vjp", _given(_cube), _vector(2)),
    "jvp without v": _f("jvp", _given(_cube), _vector(2)),
    "hvp without v": _f("hvp", _sum_of, _vector(2)),
    "v of another size": _f("vjp", _given(_cube), _vector(2), _vector(3)),
    "too many v": _f("vjp", _given(_cube), _vector(2), _vectors((2,), (2,))),
    "too few v": _f("jvp", _given(_two), _vectors((2,), (2,)), _vectors((2,))),
    "hessian of a vector": _f("hessian", _given(_cube), _vector(2)),
    "hvp of a vector": _f("hvp", _given(_cube), _vector(2), _vector(2)),
    "hessian of a tuple": _f("hessian", _given(lambda t: (t.sum(),)), _vector(2)),
    "unknown strategy": _f("jacobian", _given(_cube), _vector(2), strategy="sideways"),
    "strict and vectorize": _f("jacobian", _given(_cube), _vector(2), strict=True, vectorize=True),
    "columns without vectorize": _f("jacobian", _given(_cube), _vector(2), strategy="forward-mode"),
    "columns and create_graph": _f(
        "jacobian", _given(_cube), _vector(2), vectorize=True, create_graph=True, strategy="forward-mode"
    ),
    **{
        f"strict {name} {what}": _f(name, function, inputs, *vectors, strict=True, create_graph=create_graph)
        for what, function, inputs, vector, create_graph in (
            ("independent", ignores_second, _vectors((2,), (2,)), _vectors((2,), (2,)), False),
            ("linear", linear, _vector(2), _vector(2), False),
            ("linear create_graph", linear, _vector(2), _vector(2), True),
            ("detached", detached, _vector(2), _vector(2), False),
            ("fine", _given(_number), _vector(2), _vector(2), False),
        )
        for name, vectors in (
            ("vjp", (_vector(),)), ("jvp", (vector,)), ("jacobian", ()), ("hessian", ()), ("vhp", (vector,)),
            ("hvp", (vector,)),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("case", table(CASES | MISTAKES))
def test_derivatives_of_functions_differ_from_torch(case: Case) -> None:
    """Jacobian、Hessian 或它们的积：值、结构、要不要梯度或异常的类型与 torch 不同。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs
