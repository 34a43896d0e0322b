"""变异测试在优化器里查出来的空白：哪个错误曾经没有测试认得出来，这里就补上一条。

每条都由 ``checks.py`` 并入相应优化器的快测。
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lbfgs import _strong_wolfe as torch_strong_wolfe

import tinygrad_llm as tg
from parity_tests.engine.twins import same, values
from parity_tests.tolerances import assert_close
from tinygrad_llm.optim.adamw import adamw_update
from tinygrad_llm.optim.lbfgs import _History
from tinygrad_llm.optim.line_search import _inside, _Point, cubic_minimum, strong_wolfe
from tinygrad_llm.optim.muon import muon_update
from tinygrad_llm.optim.sgd import sgd_update


def _valley(m: Any, p: Any, seed: int) -> Any:
    weight = m.tensor(values(seed, 4) * 3)
    return ((p * weight).sin() * 5).sum() + (p**4).sum() * 0.1 + (p[0] * p[1] - 2) ** 2


LBFGS_OPTIONS: list[dict[str, Any]] = [
    {"line_search_fn": "strong_wolfe", "lr": 10.0, "max_iter": 12},
    {"line_search_fn": "strong_wolfe", "lr": 0.01, "max_iter": 12},
    {"line_search_fn": "strong_wolfe", "max_iter": 40, "tolerance_change": 0.3},
    {"lr": 0.02, "max_iter": 40, "tolerance_change": 0.02},
    {"line_search_fn": "strong_wolfe", "lr": 1e-4, "max_iter": 12, "max_eval": 3},
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", LBFGS_OPTIONS, ids=repr)
def test_lbfgs_in_rough_country(options: dict[str, Any], seed: int) -> None:
    """沟壑里的线搜索、停的时机，或没有梯度的参数，与 torch 的 L-BFGS 不同。"""

    def run(m: Any) -> Any:
        p, unused = (m.nn.Parameter(m.tensor(values(seed + 10, 4))) for _ in range(2))
        optimizer = m.optim.LBFGS([unused, p], **options)
        losses: list[float] = []

        def closure() -> Any:
            optimizer.zero_grad()
            loss = _valley(m, p, seed)
            loss.backward()
            losses.append(float(loss.detach()))
            return loss

        for _ in range(2):
            optimizer.step(closure)
        alphas = optimizer.state_dict()["state"][0].get("al") or []
        return len(losses), p.detach(), unused.detach(), [a is None for a in alphas]

    same(run, "float64")


NEAR_AN_END = [(0.5, False, 0.5, False), (0.95, False, 0.95, True), (0.95, True, 0.9, False), (0.05, False, 0.05, True),
               (0.05, True, 0.1, False), (1.0, False, 0.9, False), (0.0, False, 0.1, False),
               (0.1, False, 0.1, False)]  # fmt: skip
"""区间 [0, 1]：试的步长，上一次是不是已经太近，改成多少，这一次算不算太近。"""


@pytest.mark.parametrize(("t", "stalled", "moved", "is_near"), NEAR_AN_END)
def test_lbfgs_stays_near_an_end(t: float, stalled: bool, moved: float, is_near: bool) -> None:
    """离端点不到一成的步长，没有在第二次往里挪，或挪错了地方。"""
    for ends in ([0.0, 1.0], [1.0, 0.0]):
        assert _inside(t, ends, stalled) == (moved, is_near)


def test_lbfgs_out_of_evaluations_between_equal_losses() -> None:
    """求损失的次数用完，区间两端的损失恰好相等：该停在起点，却走到了另一端。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor([1.0], dtype=m.float64))
        optimizer = m.optim.LBFGS([p], lr=2.0, max_eval=1, line_search_fn="strong_wolfe")

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (p**2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return p.detach()

    same(run, "exact")


def test_adagrad_updates_a_group_added_later() -> None:
    """后加的参数组没有累计量，第一步就出错；torch 也只在构造时建它，所以按公式核对。"""
    first, later = (tg.nn.Parameter(tg.tensor([1.0, -2.0], dtype=tg.float64)) for _ in range(2))
    optimizer = tg.optim.Adagrad([first], 0.1, initial_accumulator_value=0.5)
    optimizer.add_param_group({"params": [later]})
    later.grad = tg.tensor([3.0, -4.0], dtype=tg.float64)
    optimizer.step()
    g = np.array([3.0, -4.0])
    assert_close(later, np.array([1.0, -2.0]) - 0.1 * g / (np.sqrt(0.5 + g * g) + 1e-10), "optimizer float64")


LINE_OPTIONS: list[dict[str, Any]] = [
    {}, {"max_ls": 3}, {"max_ls": 1}, {"tolerance_change": 0.5}, {"tolerance_change": 0.0}
]  # fmt: skip


@pytest.mark.parametrize(("scale", "terrace"), [(1.0, 0.0), (1.0, 0.25), (1.0, 2.0), (1e-3, 0.0)])
@pytest.mark.parametrize("options", LINE_OPTIONS, ids=repr)
def test_lbfgs_line_search_takes_torchs_step(options: dict[str, Any], scale: float, terrace: float) -> None:
    """线搜索的步长、损失、梯度或求值的次数与 torch 的不同：一百条起伏的曲线，步长从千分之一到一百。

    ``scale`` 把整条曲线压扁；``terrace`` 把损失削成一级一级的：相邻两点的损失常常恰好相等。
    """
    for seed in range(100):
        rng = np.random.default_rng(seed)
        height, rate, phase = rng.standard_normal(3) * 3, rng.uniform(0.2, 4, 3), rng.uniform(0, 6, 3)
        d = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.1, 3)])

        def probe(t: Any, d: Any = d, h: Any = height, w: Any = rate, p: Any = phase) -> tuple[float, Any]:
            x = float(t) * d
            y = float(0.3 * x[0] ** 2 + (h * np.sin(w * x + p)).sum()) * scale
            slope = (0.6 * x + (h * w * np.cos(w * x + p)).sum()) * scale
            return round(y / terrace) * terrace if terrace else y, slope

        loss, grad = probe(0.0)
        if grad @ d > 0:
            grad, d = probe(0.0, d=-d)[1], -d
        slope, t = float(grad @ d), float(10 ** rng.uniform(-3, 2))

        def theirs(x: Any, t: float, d: Any, probe: Any = probe) -> tuple[float, Any]:
            found, gradient = probe(t, d=d.numpy())
            return found, torch.tensor(gradient)

        ours = strong_wolfe(functools.partial(probe, d=d), t, d, loss, grad, slope, **options)
        f, g, step, evals = torch_strong_wolfe(
            theirs,
            None,
            t,
            torch.tensor(d),
            loss,
            torch.tensor(grad),
            torch.tensor(slope, dtype=torch.float64),
            **options,
        )
        assert ours.evals == evals, seed
        np.testing.assert_allclose([ours.loss, ours.t, *ours.grad], [f, float(step), *g.tolist()], rtol=1e-9, atol=1e-9)


def test_lbfgs_line_search_goes_on_in_an_interval_just_wide_enough() -> None:
    """区间的宽度恰好等于容差时就停了：还该再试一次。"""

    def probe(t: Any, d: Any = 1.0) -> tuple[float, Any]:
        x = float(t)
        return (x - 0.25) ** 2, np.array([2 * (x - 0.25)])

    loss, grad = probe(0.0)
    ours = strong_wolfe(probe, 2.0, np.array([1.0]), loss, grad, float(grad[0]), tolerance_change=2.0)
    theirs = torch_strong_wolfe(
        lambda x, t, d: (probe(t)[0], torch.tensor(probe(t)[1])), None, 2.0, torch.ones(1, dtype=torch.float64), loss,
        torch.tensor(grad), torch.tensor(grad[0]), tolerance_change=2.0,
    )  # fmt: skip
    assert (ours.loss, float(ours.t), ours.evals) == (theirs[0], float(theirs[2]), theirs[3])
    assert ours.evals == 2


def test_lbfgs_line_search_has_a_minimum_with_a_double_root() -> None:
    """三次曲线的导数恰有重根：仍取那一点，不退到中点。"""
    assert cubic_minimum(_Point(0.0, 1.0, np.ones(1), -4.0), _Point(1.0, 0.0, np.ones(1), -1.0)) == 1 - 1 / 3


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_lbfgs_line_search_takes_the_middle_without_a_minimum(t: float) -> None:
    """两点重合，或三次曲线一路下降：没有取给定区间的中点。"""
    a, b = _Point(0.0, 1.0, np.ones(1), -1.0), _Point(t, 1.0 - 0.5 * t, np.ones(1), -1.0)
    assert cubic_minimum(a, b, (1.0, 4.0)) == 2.5


@pytest.mark.parametrize(("curvature", "is_kept"), [(1e-10, False), (1.2e-10, True), (-1.0, False)])
def test_lbfgs_remembers_only_positive_curvature(curvature: float, is_kept: bool) -> None:
    """``y·s`` 大于 1e-10 才记，恰好等于时不记。"""
    history = _History({}, 5, np.ones(1))
    history.remember(np.array([curvature]), np.array([1.0]))
    assert len(history.ys) == is_kept


LBFGS_TIES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "slope": (lambda p: 0.25 * p**2, {"lr": 0.7, "tolerance_change": 0.25}),
    "step": (lambda p: 4 * p**2, {"lr": 0.5, "tolerance_change": 0.5}),
    "loss": (lambda p: 0.25 * p**2, {"lr": 1.0, "tolerance_change": 0.1875}),
    "loss far from zero": (lambda p: 0.25 * p**2 + 100, {"lr": 4.0, "tolerance_change": 0.2}),
    "no iterations": (lambda p: p**2, {"max_iter": 0}),
}


@pytest.mark.parametrize("name", sorted(LBFGS_TIES))
def test_lbfgs_stops_where_torch_does(name: str) -> None:
    """坡度、步长或损失的变化恰好等于容差，或损失本身离 0 很远：停早了或停晚了一步。"""
    function, options = LBFGS_TIES[name]

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor([1.0], dtype=m.float64))
        optimizer = m.optim.LBFGS([p], **{"max_iter": 5, **options})

        def closure() -> Any:
            optimizer.zero_grad()
            loss = function(p).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        state = optimizer.state_dict()["state"][0]
        return p.detach(), state["func_evals"], state["n_iter"]

    same(run, "float64", name)


@pytest.mark.parametrize("tolerance", [0.5, 0.499])
def test_lbfgs_stops_when_the_gradient_is_just_flat_enough(tolerance: float) -> None:
    """梯度恰好等于容差时没有停，或还大一点就停了；梯度很小时头一步的步长不对。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor([1.0], dtype=m.float64))
        optimizer = m.optim.LBFGS([p], lr=0.7, max_iter=3, tolerance_grad=tolerance)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = 0.25 * (p**2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return p.detach(), optimizer.state_dict()["state"][0]["func_evals"]

    same(run, "float64")


def test_lbfgs_update_of_a_saved_parameter_is_missed() -> None:
    """L-BFGS 移动了参数却没有记下：之前留着它的反向悄悄用了新值。"""
    p = tg.nn.Parameter(tg.ones(2, dtype=tg.float64))
    y = (p * p).sum()
    optimizer = tg.optim.LBFGS([p], max_iter=1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


FIRST_ORDER = ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")


@pytest.mark.parametrize("optimizer", FIRST_ORDER)
def test_an_infinite_parameter_without_decay(optimizer: str) -> None:
    """衰减系数为 0 却仍乘了参数：无穷大的参数成了 NaN，别的优化器状态也跟着坏了。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor([float("inf"), -2.0], dtype=m.float64))
        kind = getattr(m.optim, optimizer)([p], lr=0.1, weight_decay=0)
        for step in (1.0, 2.0):
            p.grad = m.tensor([1.0, step], dtype=m.float64)
            kind.step()
        state = kind.state_dict()["state"].get(0, {})
        return p.detach(), [v for _, v in sorted(state.items()) if isinstance(v, m.Tensor) and v.ndim]

    same(run, "optimizer float64", optimizer)


def test_asgd_averages_nothing_before_its_start() -> None:
    """``t0`` 步之前，平均值就是参数本身，一位不差（也不受初值影响）。"""
    p = tg.nn.Parameter(tg.tensor(values(0, 20)))
    optimizer = tg.optim.ASGD([p], lr=0.1, t0=100)
    for step in range(5):
        p.grad = tg.tensor(values(step + 1, 20))
        optimizer.step()
        np.testing.assert_array_equal(optimizer.state[p]["ax"].array, p.array)


def test_radam_is_plain_when_the_length_is_exactly_five() -> None:
    """第 7 步的 ``ρ`` 恰为 5：还不该校正方差。"""
    beta, t = 0.7678067796924252, 7
    assert 2 / (1 - beta) - 1 - 2 * t * beta**t / (1 - beta**t) == 5

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor(values(0, 4)))
        optimizer = m.optim.RAdam([p], lr=0.1, betas=(0.9, beta))
        for step in range(t):
            p.grad = m.tensor(values(step + 1, 4))
            optimizer.step()
        return p.detach()

    same(run, "optimizer float64")


def test_adafactor_slows_down() -> None:
    """步长的上限 1/√t、ε₁ 的平方与 torch 不同：学习率小时上限不起作用。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor(values(0, 4, 3)))
        optimizer = m.optim.Adafactor([p], lr=1.0, eps=(0.05, 1e-3))
        for step in range(20):
            optimizer.zero_grad()
            ((p - m.tensor(values(step, 4, 3))) ** 2 * 0.01).sum().backward()
            optimizer.step()
        return p.detach()

    same(run, "optimizer float64")


def test_adafactor_takes_an_empty_parameter() -> None:
    """没有元素的参数让均方根成了 0/0。"""
    p = tg.nn.Parameter(tg.zeros(0))
    p.grad = tg.zeros(0)
    tg.optim.Adafactor([p]).step()
    assert p.shape == (0,)


def test_sgd_and_muon_clip_the_gradient_first() -> None:
    """裁剪的系数没有乘在梯度上（乘成了除，或根本没有乘）：与先乘好再走一步不同。"""
    g, scale = values(1, 3, 4), 0.25
    options: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}
    updates: list[Callable[..., None]] = [sgd_update, muon_update]
    for update in updates:
        found = []
        for grad, factor in ((g, scale), (g * scale, 1.0)):
            theta, buffer = values(0, 3, 4), values(2, 3, 4)
            update(theta, grad, buffer, scale=factor, **options)
            found.append((theta, buffer))
        for ours, expected in zip(*found, strict=True):
            assert_close(ours, expected, "optimizer float64")


@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_adamw_clips_the_gradient_first(scale: float) -> None:
    """裁剪的系数没有乘在梯度上（乘成了除，或根本没有乘）。"""
    g = values(1, 5)
    ours, theirs = tg.tensor(values(0, 5)), torch.tensor(values(0, 5), requires_grad=True)
    optimizer = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.0, eps=0.5)
    m, v = np.zeros(5), np.zeros(5)
    for t in (1.0, 2.0):
        theirs.grad = torch.tensor(g * scale * t)
        optimizer.step()
        adamw_update(ours.array, g * t, m, v, t=t, lr=0.1, betas=(0.9, 0.999), eps=0.5, weight_decay=0.0, scale=scale)
    assert_close(ours, theirs, "optimizer float64")
