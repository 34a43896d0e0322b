"""``no_grad``、``enable_grad``、``set_grad_enabled``：各种写法、嵌套与线程，都与 torch 相同。"""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

import tinygrad_llm as tg

each_engine = pytest.mark.parametrize("m", [tg, torch], ids=["tinygrad_llm", "torch"])


@each_engine
def test_context_managers_nest_and_restore(m: Any) -> None:
    """嵌套之后没有恢复成进入之前的样子，或出异常时没有恢复。"""
    seen = [m.is_grad_enabled()]
    with m.no_grad():
        seen.append(m.is_grad_enabled())
        with m.enable_grad():
            seen.append(m.is_grad_enabled())
            with m.set_grad_enabled(False):
                seen.append(m.is_grad_enabled())
            seen.append(m.is_grad_enabled())
        seen.append(m.is_grad_enabled())
        with m.set_grad_enabled(True), m.no_grad():
            seen.append(m.is_grad_enabled())
    with pytest.raises(ZeroDivisionError), m.no_grad():
        _ = 1 / 0
    seen.append(m.is_grad_enabled())
    assert seen == [True, False, True, False, True, False, False, True]


def test_one_scope_can_be_entered_again() -> None:
    """同一个 ``no_grad`` 对象重复进入之后恢复错了（torch 在这里会把记图一直关着）。"""
    scope = tg.no_grad()
    with scope, scope:
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()


@each_engine
def test_decorators_with_and_without_parentheses(m: Any) -> None:
    """作装饰器时没有生效，或装饰的那一刻就改了全局开关，或丢了函数名。"""

    @m.no_grad  # type: ignore[untyped-decorator]
    def bare() -> Any:
        return m.is_grad_enabled()

    @m.no_grad()  # type: ignore[untyped-decorator]
    def called() -> Any:
        return m.is_grad_enabled(), recurse(2)

    @m.enable_grad()  # type: ignore[untyped-decorator]
    def enabled(value: int, *, extra: int = 0) -> Any:
        return m.is_grad_enabled(), value + extra

    @m.set_grad_enabled(False)  # type: ignore[untyped-decorator]
    def switched() -> Any:
        return m.is_grad_enabled()

    @m.inference_mode()  # type: ignore[untyped-decorator]
    def inference() -> Any:
        return m.is_grad_enabled()

    def recurse(n: int) -> Any:
        return recurse(n - 1) if n else bare()

    assert m.is_grad_enabled()
    assert (bare(), called(), switched(), inference()) == (False, (False, False), False, False)
    with m.no_grad():
        assert enabled(1, extra=2) == (True, 3)
    assert m.is_grad_enabled()
    assert bare.__name__ == "bare"


@each_engine
def test_set_grad_enabled_works_as_a_call(m: Any) -> None:
    """直接调用 ``set_grad_enabled`` 没有立即生效。"""
    m.set_grad_enabled(False)
    try:
        assert not m.is_grad_enabled()
        assert not (m.ones(1, requires_grad=True) * 2).requires_grad
    finally:
        m.set_grad_enabled(True)


@each_engine
def test_nothing_is_recorded_without_grad(m: Any) -> None:
    """``no_grad`` 之内仍记了图，或造出的叶子丢了 ``requires_grad``。"""
    x = m.ones(2, requires_grad=True)
    with m.no_grad():
        y = x * 2
        leaf = m.ones(1, requires_grad=True)
        with m.enable_grad():
            z = x * 3
    assert (y.requires_grad, y.grad_fn, y.is_leaf) == (False, None, True)
    assert (z.requires_grad, leaf.requires_grad) == (True, True)
    z.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.sum().backward()


@each_engine
def test_switch_belongs_to_one_thread(m: Any) -> None:
    """一个线程里的 ``no_grad`` 关掉了另一个线程的记图。"""
    seen: list[bool] = []
    with m.no_grad():
        worker = threading.Thread(target=lambda: seen.append(m.is_grad_enabled()))
        worker.start()
        worker.join()
    assert seen == [True]


@each_engine
def test_backward_of_create_graph_false_records_nothing(m: Any) -> None:
    """普通反传得到的梯度自己还连在图上，越攒越多。"""
    x = m.ones(2, requires_grad=True)
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert not x.grad.requires_grad
    assert x.grad.tolist() == [4.0, 4.0]
