"""长链、长跑与多线程：不递归、不攒内存、互不相扰。"""

from __future__ import annotations

import gc
import itertools
import statistics
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.function_cases import leaf, new_function
from parity_tests.engine.twins import ENGINES

each_engine = pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
_CHAIN = 50_000

_copy = new_function(tg, lambda ctx, x: x * 1, lambda ctx, g: g * 1)
_halves = new_function(tg, lambda ctx, x: (x * 1, x * 0), lambda ctx, a, b: a * 1)
LINKS: dict[str, Callable[[Any], Any]] = {
    "op": lambda y: y * 1.0,
    "op that saves": lambda y: y.sin(),
    "view": lambda y: y.view(1),
    "function": _copy.apply,
    "function of two outputs": lambda y: _halves.apply(y)[0],
    "written in place": lambda y: y.add_(0.0),
}


@pytest.mark.parametrize("runs_backward", [True, False], ids=["backward", "thrown away"])
@pytest.mark.parametrize("link", sorted(LINKS))
def test_a_long_chain_recurses(link: str, runs_backward: bool) -> None:
    """五万个节点的链：前向、反传或析构时撑爆栈；或丢开之后没有立即释放。"""
    x = leaf(tg, 0.0)
    y = x * 1
    count = _CHAIN if link in ("op", "op that saves") else _CHAIN // 10
    first = weakref.ref(y.node)
    for _ in range(count):
        y = LINKS[link](y)
    if runs_backward:
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [1.0]
    del y
    assert first() is None


def test_a_long_chain_of_second_order_recurses() -> None:
    """记图的反传同样长：反传的反传、析构都不许递归。"""
    x = leaf(tg, 0.0)
    y = x
    for _ in range(_CHAIN // 10):
        y = y.sin()
    (g,) = tg.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = tg.autograd.grad(g.sum(), x)
    assert (g.tolist(), h.tolist()) == ([1.0], [0.0])
    del y, g


def test_a_long_chain_of_checkpoints_recurses() -> None:
    """几千段相连的重算。"""
    x = leaf(tg, 0.0)
    for reentrant in (True, False):
        x.grad, y = None, x
        for _ in range(2_000):
            y = tg.utils.checkpoint.checkpoint(lambda t: t.sin(), y, use_reentrant=reentrant)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [1.0]


def _step(x: Any, w: Any) -> None:
    """平常的一步，带着钩子、自定义算子与换过的存放方式。"""
    a, b = _halves.apply((x * w).tanh())
    handle = a.register_hook(lambda g: g * 1)
    a.grad_fn.register_hook(lambda gi, go: None)
    b.retain_grad()
    with tg.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), lambda v: tg.tensor(v, dtype=tg.float64)):
        loss = (a * b.exp()).sum()
    loss.backward()
    handle.remove()
    with tg.no_grad():
        w.sub_(w.grad * 1e-3)
    x.grad = w.grad = None


def _rare_step(x: Any, w: Any) -> None:
    """少用的东西：重算、二阶导、函数的变换、推理模式。"""
    for reentrant in (False, True):
        h = tg.utils.checkpoint.checkpoint(lambda a, b: (a * b).tanh() * a, x, w, use_reentrant=reentrant)
        h.sum().backward()
    (g,) = tg.autograd.grad((w * w * w).sum(), w, create_graph=True)
    tg.autograd.grad(g.sum(), w)
    tg.func.vmap(tg.func.grad(lambda p, t: (p * t).sum() ** 2), in_dims=(None, 0))(w.detach(), x)
    tg.autograd.functional.hvp(lambda t: (t**3).sum(), w, w)
    with tg.inference_mode():
        i = x * w
    i.clone()


@pytest.mark.usefixtures("young_heap")
def test_memory_grows_with_the_number_of_steps() -> None:
    """每一百步多占一截内存：哪里攒着节点、钩子或记录。

    取各段的中位数：别的线程偶尔也添一笔，而漏下的东西段段都添。回收器自己的闲置池不算。
    """
    x, w = tg.ones(3, 4, dtype=tg.float64, requires_grad=True), tg.ones(4, dtype=tg.float64, requires_grad=True)
    seen, cycles = [], []
    gc.disable()
    tracemalloc.start()
    try:
        for step in range(500):
            _step(x, w)
            if step % 10 == 0:
                _rare_step(x, w)
            if step % 100 == 99:
                cycles.append(gc.collect())
                seen.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.enable()
    assert not any(cycles[1:]), "reference cycles were left behind"
    growths = [after - before for before, after in itertools.pairwise(seen)]
    assert statistics.median(growths) < 1_000, seen  # 每步漏一个节点，一段就是几万字节


@each_engine
def test_threads_disturb_each_other(m: Any) -> None:
    """几个线程各反传各的图：梯度、记图的开关、钩子的次数互不影响。"""
    results: dict[int, Any] = {}

    def work(k: int) -> None:
        x, calls = leaf(m, 1.0 + k, 2.0), []
        for step in range(50):
            y = (x * x).exp() * (k + 1)
            y.register_hook(lambda g: calls.append(1))
            if step % 5 == k:
                with m.no_grad():
                    assert not (x * 2).requires_grad
            (g,) = m.autograd.grad(y.sum(), x, create_graph=True)
            (h,) = m.autograd.grad(g.sum(), x)
        results[k] = g.tolist(), h.tolist(), len(calls), m.is_grad_enabled()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(results)
    for k in range(5):
        work(k)
    assert together == results


@each_engine
def test_two_threads_share_a_leaf(m: Any) -> None:
    """两个线程的图共有一个叶子，先后反传：梯度照样相加。"""
    x = leaf(m, 3.0)
    losses = [(x * x).sum(), (x * 5).sum()]
    for loss in losses:
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    assert x.grad.tolist() == [11.0]


OVERWRITES: dict[str, Callable[[Any], Any]] = {
    "zero_": lambda y: y.zero_(),
    "fill_": lambda y: y.fill_(3.0),
    "copy_": lambda y: y.copy_(y.detach() * 0 + 7),
    "normal_": lambda y: y.normal_(),
    "uniform_": lambda y: y.uniform_(),
    "setitem": lambda y: y.__setitem__(slice(None), 0.0),
}


@each_engine
@pytest.mark.parametrize("name", sorted(OVERWRITES))
def test_overwriting_an_interior_cuts_the_graph(m: Any, name: str) -> None:
    """整个被常数盖掉的中间结果离开了图：之后的反传报错，而不是给出 0。"""
    x = leaf(m, 1.0, 2.0)
    for is_whole in (True, False):
        y = x * 2
        OVERWRITES[name](y if is_whole else y[:1])
        assert y.requires_grad
        (g,) = m.autograd.grad((y * 3).sum(), x)
        assert g.tolist() == [0.0, 0.0 if is_whole else 6.0]
