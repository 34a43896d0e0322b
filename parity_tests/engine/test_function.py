"""``autograd.Function``：``function_cases.py`` 的每一段程序在两个引擎上结果相同；内存与引用单独检查。"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.function_cases import CASES, Case, leaf, new_function
from parity_tests.engine.twins import ENGINES, outcome, table


@pytest.mark.parametrize("case", table(CASES))
def test_custom_function_differs_from_torch(case: Case) -> None:
    """自定义算子的值、梯度、图或异常的类型与 torch 不同。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs


def test_many_outputs_and_nested_passes() -> None:
    """输出很多时漏了梯度，或钩子里套着的反传取走了外层的梯度。"""
    many = new_function(tg, lambda ctx, x: tuple(x * i for i in range(100)), lambda ctx, *g: sum(g))
    x = leaf(tg, 1.0)
    outputs = many.apply(x)
    inner: list[Any] = []

    def nested(g: Any) -> None:
        inner.append(tg.autograd.grad(outputs[7], x, retain_graph=True))

    outputs[3].register_hook(nested)
    tg.stack(outputs).sum().backward()
    assert x.grad is not None
    assert (x.grad.tolist(), inner[0][0].tolist()) == ([100.0], [1.0])


@pytest.mark.usefixtures("young_heap")
@pytest.mark.parametrize("mode", ["forward only", "backward", "create_graph"])
def test_function_leaves_a_reference_cycle(mode: str) -> None:
    """多输出、留着输出、挂着钩子的自定义算子：图不靠垃圾回收就释放。"""
    x = leaf(tg, 1.0, 2.0)

    def forward(ctx: Any, x: Any) -> Any:
        a, b = x.exp(), x * 2
        ctx.save_for_backward(a, b, x)
        ctx.kept = a
        return a, b

    def backward(ctx: Any, g1: Any, g2: Any) -> Any:
        a = ctx.saved_tensors[0]
        return g1 * a + g2 * 2

    function = new_function(tg, forward, backward)
    gc.collect()
    gc.disable()
    try:
        a, b = function.apply(x)
        a.register_hook(lambda g: g * 2)
        a.grad_fn.register_hook(lambda gi, go: None)
        b.retain_grad()
        alive = [weakref.ref(t) for t in (a, b, a.array, b.array, a.grad_fn, b.node)]
        if mode == "backward":
            (a * b).sum().backward()
        elif mode == "create_graph":
            (g,) = tg.autograd.grad((a * b).sum(), x, create_graph=True)
            g.sum().backward()
            del g
        del a, b
        assert [ref() for ref in alive if ref() is not None] == []
        assert gc.collect() == 0
    finally:
        gc.enable()
