"""逐元素的算子：平方、倍数、倒数、符号，以及 σ、tanh、ReLU 的导数。

流入：一格的处境；流出：犯错的人会写下的数。下一站：``products.py``。
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake

_ODD = ("mul", "div", "neg", "matmul", "mm", "mv", "vm", "dot", "sum", "sum_all", "mean", "sin", "tanh", "erf")
"""输入反号，输出就反号的算子。"""

_SWAPPABLE = ("sub", "div", "pow", "matmul", "mm")


@mistake("wrong-order", on="F")
def wrong_order(case: Case) -> Iterator[Array]:
    """两个操作数换了位置。"""
    if case.op in _SWAPPABLE and case.call is not None:
        found = case.call.with_inputs(case.inputs[::-1]).forward()
        if found is not None:
            yield found


@mistake("sign-inside", on="F")
def sign_inside(case: Case) -> Iterator[Array]:
    """其中一个输入反了号；乘除与矩阵乘里反一个，整个就反了，归 ``sign-error``。"""
    if case.call is None or case.op in _ODD:
        return
    for place, one in enumerate(case.inputs):
        if isinstance(one, np.ndarray) and one.dtype.kind == "f":
            flipped = (*case.inputs[:place], -one, *case.inputs[place + 1 :])
            found = case.call.with_inputs(flipped).forward()
            if found is not None:
                yield found


@mistake("missing-term", on="F")
def missing_term(case: Case) -> Iterator[Array]:
    """加减法只抄了一边；线性层漏了偏置。"""
    if case.op in ("add", "sub"):
        for one in case.inputs:
            yield np.broadcast_to(one, case.correct.shape)
    elif case.op in ("linear", "layer_norm") and case.call is not None and case.inputs[2] is not None:
        found = case.call.with_inputs((*case.inputs[:2], None)).forward()
        if found is not None:
            yield found


@mistake("wrong-operation", on="F")
def wrong_operation(case: Case) -> Iterator[Array]:
    """加看成乘、乘看成加、除看成乘。"""
    swaps = {"add": np.multiply, "mul": np.add, "div": np.multiply, "sub": np.multiply}
    if case.op in swaps and not (case.op == "mul" and _same(case)):  # x·x 写成 x+x，归 ``power-as-product``
        yield np.asarray(swaps[case.op](*case.inputs))


@mistake("forgot-square", on="F")
def forgot_square_forward(case: Case) -> Iterator[Array]:
    """写下的是底数本身。"""
    if case.op == "pow_scalar" or case.op == "sqrt" or (case.op == "mul" and _same(case)):
        yield case.inputs[0]
    elif case.op == "rsqrt":
        yield 1 / case.inputs[0]


def _same(case: Case) -> bool:
    """一个数乘它自己。"""
    a, b = case.inputs
    return np.shape(a) == np.shape(b) and bool(np.all(a == b))


@mistake("forgot-square", on="DC")
def forgot_square_backward(case: Case) -> Iterator[Array]:
    """``1 - y²`` 写成 ``1 - y``，``a/b²`` 写成 ``a/b``，``y³`` 写成 ``y``。"""
    g, y = case.g, case.y
    if g is None or y is None:
        return
    if case.op == "tanh":
        yield from case.fit(g * (1 - y))
    elif case.op == "div" and case.position == 1:
        yield from case.fit(-g * case.inputs[0] / case.inputs[1])
    elif case.op == "rsqrt":
        yield from case.fit(-0.5 * g * y)
        yield from case.fit(-0.5 * g * y * y)


@mistake("power-as-product", on="F")
def power_as_product(case: Case) -> Iterator[Array]:
    """``x ** n`` 写成 ``n x``。"""
    if case.op == "pow_scalar":
        yield case.attrs["exponent"] * case.inputs[0]
    elif case.op == "mul" and _same(case):
        yield 2 * case.inputs[0]


@mistake("missing-factor-two", on="DC")
def missing_factor_two(case: Case) -> Iterator[Array]:
    """幂函数的导数少了指数这个系数。"""
    if case.op == "pow_scalar" and case.attrs["exponent"]:
        yield case.correct / case.attrs["exponent"]
    elif case.op == "sqrt":
        yield case.correct * 2
    elif case.op == "rsqrt":
        yield case.correct * -2
        yield case.correct * 2


@mistake("power-not-lowered", on="DC")
def power_not_lowered(case: Case) -> Iterator[Array]:
    """``n xⁿ`` 而不是 ``n xⁿ⁻¹``。"""
    if case.op == "pow_scalar" and case.g is not None and case.y is not None:
        yield from case.fit(case.g * case.attrs["exponent"] * case.y)


@mistake("forgot-reciprocal", on="DC")
def forgot_reciprocal(case: Case) -> Iterator[Array]:
    """``g/x`` 写成 ``g·x``。"""
    g = case.g
    if g is None:
        return
    if case.op == "log":
        yield from case.fit(g * case.inputs[0])
    elif case.op == "div" and case.position == 0:
        yield from case.fit(g * case.inputs[1])
    elif case.op == "sqrt" and case.y is not None:
        yield from case.fit(g * case.y / 2)
        yield from case.fit(g * case.y * 2)


@mistake("half-derivative", on="DC")
def half_derivative(case: Case) -> Iterator[Array]:
    """``σ(1-σ)`` 只写了 ``σ`` 或 ``1-σ``；``1-y²`` 只写了 ``y²``。"""
    g, y = case.g, case.y
    if g is None or y is None:
        return
    if case.op == "sigmoid":
        yield from case.fit(g * y)
        yield from case.fit(g * (1 - y))
    elif case.op == "tanh":
        yield from case.fit(g * y * y)
    elif case.op in ("silu", "gelu", "gelu_tanh"):
        yield from case.fit(g * y / case.inputs[0])


@mistake("forgot-gate", on="FDC")
def forgot_gate(case: Case) -> Iterator[Array]:
    """把 ReLU 当作恒等。"""
    if case.op != "relu":
        return
    if case.kind == "F":
        yield case.inputs[0]
    elif case.g is not None:
        yield from case.fit(case.g)


@mistake("log-base", on="F")
def log_base(case: Case) -> Iterator[Array]:
    """``log₁₀`` 而不是 ``ln``。"""
    if case.op in ("log", "cross_entropy", "binary_cross_entropy", "log_softmax", "logsumexp", "logsigmoid"):
        yield case.correct / np.log(10)
