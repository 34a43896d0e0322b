"""矩阵乘一类：转置、次序、操作数。

``y = a b``：``∂L/∂a = g bᵀ``，``∂L/∂b = aᵀ g``；``y = x Wᵀ + b``：``∂L/∂x = g W``，``∂L/∂W = gᵀ x``。
流入：一格的处境；流出：犯错的人会写下的数。下一站：``reductions.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake

_MATRIX = ("matmul", "mm")


def _turned(x: Any) -> Any:
    """最后两根轴互换；向量不变。"""
    return np.swapaxes(x, -1, -2) if np.ndim(x) > 1 else x


def _product(a: Any, b: Any) -> Iterator[Array]:
    try:
        yield np.matmul(a, b)
    except ValueError:
        return


@mistake("missing-transpose", on="F")
def transpose_forward(case: Case) -> Iterator[Array]:
    """前向：某个操作数少转或多转了一次。"""
    if case.op in _MATRIX:
        a, b = case.inputs
        yield from _product(a, _turned(b))
        yield from _product(_turned(a), b)
    elif case.op == "linear":
        x, weight, bias = case.inputs
        for y in _product(x, weight):
            yield y if bias is None or np.shape(bias) != y.shape[-1:] else y + bias
    elif case.op == "permute":
        yield case.inputs[0]


@mistake("missing-transpose", on="C")
def transpose_backward(case: Case) -> Iterator[Array]:
    """反向：操作数没有转置，或者结果转了个身。"""
    g = case.g
    if g is None:
        return
    if case.op in _MATRIX:
        a, b = case.inputs
        yield from _fitting(case, _product(g, b) if case.position == 0 else _product(a, g))
        yield _turned(case.correct)
    elif case.op == "linear" and case.position < 2:
        x, weight, _ = case.inputs
        yield from _product(g, _turned(weight)) if case.position == 0 else _product(g, x)
        yield _turned(case.correct)
    elif case.op == "permute":
        yield g
    elif case.op in ("mv", "vm"):
        a, b = case.inputs
        yield from _product(b, g) if case.op == "vm" and case.position == 0 else iter(())
        yield from _product(_turned(b), g) if case.op == "vm" and case.position == 0 else iter(())
        yield from _product(a, g) if case.op == "mv" and case.position == 1 else iter(())
        yield _turned(case.correct)


def _fitting(case: Case, found: Iterator[Array]) -> Iterator[Array]:
    """批量的矩阵乘：广播的那几根轴照样求和。"""
    for one in found:
        yield one
        if one.ndim > case.correct.ndim:
            yield from case.fit(one)


@mistake("wrong-order", on="C")
def order_backward(case: Case) -> Iterator[Array]:
    """``bᵀ g`` 而不是 ``g bᵀ``，``g aᵀ`` 而不是 ``aᵀ g``。"""
    g = case.g
    if g is None:
        return
    if case.op in _MATRIX:
        a, b = case.inputs
        yield from _product(_turned(b), g) if case.position == 0 else _product(g, _turned(a))
    elif case.op == "linear" and case.position < 2:
        x, weight, _ = case.inputs
        yield from _product(weight, g) if case.position == 0 else _product(x, _turned(g))


@mistake("wrong-operand", on="C")
def operand_backward(case: Case) -> Iterator[Array]:
    """对 a 求导时乘的还是 a。"""
    g = case.g
    if g is None:
        return
    if case.op in _MATRIX:
        a, b = case.inputs
        yield from _product(g, _turned(a)) if case.position == 0 else _product(_turned(b), g)
        yield from _product(g, a) if case.position == 0 else _product(b, g)
    elif case.op == "linear" and case.position < 2:
        x, weight, _ = case.inputs
        yield from _product(g, x) if case.position == 0 else _product(_turned(g), weight)


@mistake("elementwise-product", on="F")
def elementwise_product(case: Case) -> Iterator[Array]:
    """``a ⊙ b`` 而不是 ``a b``。"""
    if case.op in _MATRIX:
        a, b = case.inputs
        if np.shape(a) == np.shape(b):
            yield a * b
