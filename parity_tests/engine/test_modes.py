"""``no_grad``、``enable_grad``、``set_grad_enabled``、``inference_mode``：各种写法、嵌套与线程，都与 torch 相同。"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, outcome, table

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


@each_engine
def test_generators_run_inside_the_mode_only_while_they_run(m: Any) -> None:
    """装饰了生成器函数：交出值的间歇也关着记图，或送进去的值、扔进去的异常、返回值丢了。"""
    seen: list[Any] = []

    @m.no_grad()  # type: ignore[untyped-decorator]
    def numbers() -> Any:
        seen.append(m.is_grad_enabled())
        try:
            seen.append((yield 1))
            yield m.is_grad_enabled()
        except ValueError:
            seen.append("thrown")
            yield 3
        finally:
            seen.append(m.is_grad_enabled())
        return "done"

    steps = numbers()
    found = [next(steps), m.is_grad_enabled(), steps.send("sent"), m.is_grad_enabled(), steps.throw(ValueError())]
    with pytest.raises(StopIteration, match="done"):
        next(steps)
    other = numbers()
    next(other)
    other.close()
    assert found == [1, True, False, True, 3]
    assert seen == [False, "sent", "thrown", False, False, False]
    assert m.is_grad_enabled()


@each_engine
def test_classes_and_coroutines_are_decorated_as_in_torch(m: Any) -> None:
    """装饰了类：没有警告，或构造之外的方法也受影响；协程只在创建时受影响。"""

    class Probe:
        def __init__(self) -> None:
            self.inside = m.is_grad_enabled()

        def later(self) -> Any:
            return m.is_grad_enabled()

    with pytest.warns(FutureWarning, match="Decorating classes is deprecated"):
        build = m.no_grad()(Probe)
    probe = build()
    assert (probe.inside, probe.later()) == (False, True)

    async def coroutine() -> Any:
        return m.is_grad_enabled()

    with pytest.raises(StopIteration) as finished:  # 手推一步：事件循环也许正由别的测试的浏览器占着
        m.no_grad()(coroutine)().send(None)
    assert finished.value.value
    with pytest.raises(TypeError, match="must be bool, not int"):
        m.set_grad_enabled(1)
    assert repr(m.set_grad_enabled(True)).endswith("set_grad_enabled(mode=True)")


# ---- 推理模式


def _inference(m: Any) -> Any:
    with m.inference_mode():
        return m.ones(2, dtype=m.float64)


def _normal(m: Any) -> Any:
    return m.tensor([3.0, 4.0], dtype=m.float64, requires_grad=True)


def _nesting(m: Any) -> Any:
    def now() -> tuple[bool, bool]:
        return m.is_grad_enabled(), m.is_inference_mode_enabled()

    found = [now()]
    with m.inference_mode():
        found.append(now())
        with m.inference_mode(False):
            found.append(now())
            with m.no_grad(), m.inference_mode(mode=False):
                found.append(now())
        with m.no_grad():
            found.append(now())
    with pytest.raises(ZeroDivisionError), m.inference_mode():
        _ = 1 / 0
    return [*found, now(), m.inference_mode(now)(), m.inference_mode(False).clone().mode]


def _which_are_inference(m: Any) -> Any:
    x, i = _normal(m), _inference(m)
    with m.inference_mode():
        made = [x * 2, x.detach(), x.detach().clone(), i + 1, m.zeros(2), m.tensor([1.0]), m.arange(3)]
        made += [i.view(2), x > 1, x.sum(), m.cat([x, x]), m.ones(1, requires_grad=True)]
        with m.inference_mode(False):
            made.append(x * 2)
        with m.enable_grad():
            made.append(x * 2)
        viewed = x.view(2)
    made += [i + 1, i.clone(), i.view(2), i.detach(), i[0], i.exp(), x * 2, copy.deepcopy(i)]
    return viewed.is_inference(), [(t.is_inference(), t.requires_grad, t.is_leaf) for t in made]


def _written(m: Any) -> Any:
    i, n = _inference(m), m.ones(2, dtype=m.float64)
    with m.inference_mode():
        i.add_(1)
        i[0] = 5.0
        n.add_(1)
    n.add_(i)
    return i, n, n.is_inference()


INFERENCE: dict[str, Callable[[Any], Any]] = {
    "nesting": _nesting,
    "which are inference": _which_are_inference,
    "written inside": _written,
    "saved by mul": lambda m: _inference(m) * _normal(m),
    "saved by mul on the right": lambda m: _normal(m) * _inference(m),
    "saved by matmul": lambda m: _normal(m) @ _inference(m),
    "saved through a view": lambda m: _inference(m).view(2) * _normal(m),
    "saved by a function": lambda m: m.nn.functional.linear(_inference(m).view(1, 2), _normal(m).view(1, 2)),
    "not saved by add": lambda m: _inference(m) + _normal(m),
    "not saved by cat": lambda m: m.cat([_inference(m), _normal(m)]),
    "not saved without grad": lambda m: _inference(m) * _normal(m).detach(),
    "not saved under no_grad": lambda m: m.no_grad()(lambda: _inference(m) * _normal(m))(),
    "looked at before an ordinary operation": lambda m: (_inference(m).requires_grad, (_normal(m) ** 2).sum()),
    "clone is saved": lambda m: _inference(m).clone() * _normal(m),
    "add_ outside": lambda m: _inference(m).add_(1),
    "setitem outside": lambda m: _inference(m).__setitem__(0, 1.0),
    "zero_ under no_grad": lambda m: m.no_grad()(lambda: _inference(m).zero_())(),
    "requires_grad_ outside": lambda m: _inference(m).requires_grad_(),
    "requires_grad_ false": lambda m: _inference(m).requires_grad_(False),
    "version": lambda m: _inference(m)._version,
    "backward": lambda m: _inference(m).sum().backward(),
}


@pytest.mark.parametrize("case", table(INFERENCE))
def test_inference_tensors_behave_unlike_in_torch(case: Callable[[Any], Any]) -> None:
    """推理张量的记号、被留下或被改写时的错误与 torch 不同；或拒绝之后影响了下一步运算。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs
    x = _normal(tg)
    (x * x).sum().backward()
    assert x.grad.tolist() == [6.0, 8.0]


def test_inference_mode_belongs_to_one_thread() -> None:
    """一个线程里的推理模式影响了另一个线程。"""
    seen: list[Any] = []
    with tg.inference_mode():
        worker = threading.Thread(target=lambda: seen.append((tg.is_inference_mode_enabled(), tg.ones(1) * 2)))
        worker.start()
        worker.join()
    assert (seen[0][0], seen[0][1].is_inference()) == (False, False)
