"""旧视图：底下的张量就地换了布局、离开了图，从前取的视图在两个引擎上值与梯度都相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import plain, same, table

Change = Callable[[Any], Any]

CHANGES: dict[str, Change] = {
    "unsqueeze_": lambda y: y.unsqueeze_(1),
    "squeeze_": lambda y: y.squeeze_(),
    "transpose_": lambda y: y.transpose_(0, 2),
    "swapaxes_": lambda y: y.swapaxes_(-1, 0),
    "as_strided_": lambda y: y.as_strided_((6, 2), (2, 1)),
    "twice": lambda y: y.transpose_(1, 2).unsqueeze_(0),
}


def _leaf(m: Any, *shape: int) -> Any:
    count = 1
    for size in shape:
        count *= size
    return m.arange(1.0, count + 1, dtype=m.float64).reshape(shape).requires_grad_()


def _nothing(x: Any, y: Any, old: Any) -> None:
    """只换布局，不写。"""


def _write_base(x: Any, y: Any, old: Any) -> None:
    y.mul_(x.sum())


def _write_old(x: Any, y: Any, old: Any) -> None:
    old.add_(x[1, :, 1:3])


def _write_new(x: Any, y: Any, old: Any) -> None:
    y[0].mul_(3)
    old.add_(1)


def _change_again(x: Any, y: Any, old: Any) -> None:
    y.unsqueeze_(0)
    old.mul_(x[0, :, :2])


WRITES = {write.__name__.strip("_"): write for write in (_nothing, _write_base, _write_old, _write_new, _change_again)}


@pytest.mark.parametrize("write", table(WRITES))
@pytest.mark.parametrize("change", table(CHANGES))
def test_a_view_breaks_when_its_base_changes_layout_in_place(change: Change, write: Callable[..., None]) -> None:
    """换布局之前取的视图读到别的元素，或梯度流到别处；从前它在换了的布局上重走旧路。"""

    def program(m: Any) -> Any:
        x = _leaf(m, 2, 1, 6) / 12
        x = x.detach().requires_grad_()
        y = x * 2
        whole, old = y[0], y[:, 0, 1:3]
        change(y)
        write(x, y, old)
        parts = [(part * part.detach()).sum() for part in (whole, old, y, y[0])]
        grads = [m.autograd.grad(part, x, retain_graph=True)[0] for part in parts]
        return parts, grads, tuple(y.shape), [part.is_leaf for part in (whole, old, y)]

    same(program)


def test_a_base_becomes_a_view_of_nothing() -> None:
    """就地换过布局的张量不是视图，``detach_`` 得了；从前它成了替身的视图。"""
    same(lambda m: (plain((_leaf(m, 2, 3) * 2).t_().detach_()), plain((_leaf(m, 2) * 2).unsqueeze_(0).detach_())))


def _under_no_grad(m: Any) -> Any:
    x = _leaf(m, 3)
    y = x * 2
    with m.no_grad():
        x.unsqueeze_(0)
        y.unsqueeze_(1)
    return x.is_leaf, x.requires_grad, y.requires_grad, tuple(y.shape)


def _detached(m: Any) -> Any:
    x = _leaf(m, 3)
    y = x * 2
    old = y[0]
    y.detach_()
    return old.requires_grad, old.is_leaf, y.is_leaf, m.autograd.grad(old * 3, x)


def _detached_and_written(m: Any) -> Any:
    x = _leaf(m, 3)
    y = x * 2
    old = y[0]
    y.detach_().add_(1)
    return old.requires_grad, old.is_leaf, old.detach(), m.autograd.grad(old * 3, x, allow_unused=True)[0] is None


def _detached_and_back(m: Any) -> Any:
    x = _leaf(m, 3)
    y = x * 2
    old = y[:2]
    y.detach_().mul_(x)
    return old.requires_grad, m.autograd.grad(old.sum(), x)


STEPS = {
    "layout changed under no_grad": _under_no_grad,
    "base detached": _detached,
    "base detached, then written": _detached_and_written,
    "base detached, then back on the graph": _detached_and_back,
}


@pytest.mark.parametrize("program", table(STEPS))
def test_an_old_view_forgets_where_it_is(program: Callable[[Any], Any]) -> None:
    """换布局或断开之后，是否求导、是否叶子、梯度流到哪里，与 torch 不同。"""
    same(program)


def test_a_view_of_a_detached_base_is_written() -> None:
    """底下的张量断开之后，写它的旧视图：两个引擎都拒绝。"""

    def refused(m: Any) -> Any:
        y = _leaf(m, 3) * 2
        old = y[0]
        y.detach_()
        with pytest.raises(RuntimeError, match="leaf"):
            old.mul_(2)
        return (y,)

    same(refused)


@pytest.mark.parametrize(
    "view",
    [lambda x: x[0:1], lambda x: x.view(2), lambda x: x.split(1)[0], lambda x: x[0:2][0:1], lambda x: x.detach()],
)
@pytest.mark.parametrize("base_needs_grad", [False, True])
def test_view_taken_without_grad_is_written_on_the_graph(view: Any, base_needs_grad: bool) -> None:
    """``no_grad`` 里取的视图在图上被就地改写，torch 拒绝而我们照办（或反过来）：那一次写入该不该记，说不清。"""
    found = {}
    for m in (torch, tg):
        x = m.tensor([1.0, 2.0], requires_grad=base_needs_grad) * 2
        with m.no_grad():
            v = view(x)
            v.mul_(3)  # 都在里面：不记
        outcomes = []
        for other in (1, m.ones(1, requires_grad=True)):
            try:
                outcomes.append(v.add_(other).tolist())
            except RuntimeError as error:
                outcomes.append("no_grad mode" in str(error))
        found[m.__name__] = outcomes, x.tolist()
    assert found["tinygrad_llm"] == found["torch"]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.linalg.qr(x)[0],
        lambda m, x: m.nn.functional.group_norm(x, 2),
        lambda m, x: x.repeat(2, 1)[:2],
        lambda m, x: m.roll(x, 1),
        lambda m, x: m.rot90(x),
        lambda m, x: m.cumsum(x, 0),
    ],
)
def test_computed_result_of_no_grad_is_written_on_the_graph(function: Any) -> None:
    """``no_grad`` 里算出来的（不是谁的视图）在图上不许改写：一个函数由几个算子拼成，与别人无关。"""
    modules: tuple[Any, ...] = (torch, tg)
    for m in modules:
        x = m.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=m.float64)
        with m.no_grad():
            y = function(m, x).clone() if m is torch else function(m, x)
        w: Any = m.ones(2, 2, dtype=m.float64, requires_grad=True)
        y.mul_(w)
        y[0].add_(w[1])
        total: Any = y.sum()
        total.backward()
        assert w.grad is not None
