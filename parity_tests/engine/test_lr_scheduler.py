"""学习率调度：每一步的学习率与动量、存取、提醒与报错都与 torch 相同。"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table

Build = Callable[[Any, Any], Any]
"""``(m.optim.lr_scheduler, 优化器) → 调度器``。"""

SCHEDULERS: dict[str, Build] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda step: 0.95**step),
    "LambdaLR per group": lambda s, o: s.LambdaLR(o, [lambda step: 1 / (step + 1), lambda step: math.sqrt(step)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda step: 0.9 + step / 100),
    "StepLR": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 7, 7, 30], gamma=0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, total_iters=4),
    "LinearLR": lambda s, o: s.LinearLR(o, total_iters=4),
    "LinearLR down": lambda s, o: s.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=9, power=2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=10, eta_min=0.01),
    "CosineAnnealingLR twice": lambda s, o: s.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, eta_min=0.01),
    "CosineAnnealingWarmRestarts longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 4),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, [0.1, 0.2], 0.5, 3, 2, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "CyclicLR own scale": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 3, scale_fn=lambda x: 1 / x, scale_mode="cycle"),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=25),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(o, [0.5, 1.0], epochs=5, steps_per_epoch=5,
        anneal_strategy="linear", pct_start=0.4, base_momentum=[0.1, 0.2], div_factor=5.0, final_div_factor=10.0),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(o, 0.5, 25, three_phase=True, cycle_momentum=False),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 8), s.ExponentialLR(o, 0.9)], [4, 12]),
    "SequentialLR nested": lambda s, o: s.SequentialLR(
        o, [s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)], [3]), s.StepLR(o, 2)], [9]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)], o),
}  # fmt: skip


def _optimizer(m: Any, kind: str = "SGD") -> Any:
    groups = [{"params": [m.nn.Parameter(m.ones(1))], "lr": 0.1}, {"params": [m.nn.Parameter(m.ones(1))], "lr": 2.0}]
    return m.optim.SGD(groups, momentum=0.5) if kind == "SGD" else m.optim.Adam(groups)


def _seen(optimizer: Any, scheduler: Any) -> list[float]:
    momenta = [g["momentum"] if "momentum" in g else g["betas"][0] for g in optimizer.param_groups]
    rates = [float(g["lr"]) for g in optimizer.param_groups]
    return [*map(float, scheduler.get_last_lr()), *rates, *momenta, getattr(scheduler, "last_epoch", -1)]


def _built(m: Any, case: Build, optimizer: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 嵌套的 SequentialLR 在构造时就走了一步，两边都提醒
        return case(m.optim.lr_scheduler, optimizer)


def _rates(m: Any, case: Build, steps: int, kind: str = "SGD") -> Any:
    optimizer = _optimizer(m, kind)
    scheduler = _built(m, case, optimizer)
    rows = [_seen(optimizer, scheduler)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rows.append(_seen(optimizer, scheduler))
    return np.array(rows), scheduler, optimizer


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("case", table(SCHEDULERS))
def test_schedules_equal_torch(case: Build, kind: str) -> None:
    """某一步的学习率、动量或步数与 torch 不同。"""
    ours, theirs = (_rates(m, case, 24, kind)[0] for m in ENGINES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("case", table(SCHEDULERS))
def test_states_have_torchs_keys_and_values(case: Build) -> None:
    """``state_dict`` 的键或值与 torch 不同。"""
    ours, theirs = (_rates(m, case, 7)[1].state_dict() for m in ENGINES)
    _same_state(ours, theirs)


def _same_state(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert sorted(ours) == sorted(theirs)
        for key in theirs:
            _same_state(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _same_state(a, b)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-14)
    else:
        assert ours == theirs


@pytest.mark.parametrize("case", table(SCHEDULERS))
def test_schedules_resume_in_the_other_engine(case: Build) -> None:
    """存下的状态换一个引擎装入之后，学习率接不上。"""
    whole = _rates(torch, case, 20)[0]
    for first, second in ((tg, torch), (torch, tg)):
        _, scheduler, optimizer = _rates(first, case, 9)
        other = _optimizer(second)
        again = _built(second, case, other)
        again.load_state_dict(copy.deepcopy(scheduler.state_dict()))
        for group, source in zip(other.param_groups, optimizer.param_groups, strict=True):
            group.update({k: v for k, v in source.items() if k != "params"})
        rows = []
        for _ in range(11):
            other.step()
            again.step()
            rows.append(_seen(other, again))
        np.testing.assert_allclose(np.array(rows), whole[10:], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", table({k: v for k, v in SCHEDULERS.items() if not k.startswith(("Seq", "Chain"))}))
def test_jumping_to_an_epoch_equals_torch(case: Build) -> None:
    """``step(epoch)`` 跳到的学习率与 torch 不同。"""
    found = []
    for m in ENGINES:
        optimizer = _optimizer(m)
        scheduler = case(m.optim.lr_scheduler, optimizer)
        optimizer.step()
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 对这种写法给提醒，另有测试
            for epoch in (5, 2, 8, None, 0, 12, None):
                scheduler.step(epoch)
                rows.append(_seen(optimizer, scheduler))
        found.append(np.array(rows))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-14, atol=1e-15)


PLATEAUS: dict[str, Build] = {
    "min": lambda s, o: s.ReduceLROnPlateau(o, patience=1),
    "max": lambda s, o: s.ReduceLROnPlateau(o, "max", factor=0.5, patience=0, threshold=0.05),
    "abs": lambda s, o: s.ReduceLROnPlateau(o, patience=1, threshold=0.5, threshold_mode="abs", cooldown=2),
    "max abs": lambda s, o: s.ReduceLROnPlateau(o, "max", patience=1, threshold=0.1, threshold_mode="abs"),
    "floor": lambda s, o: s.ReduceLROnPlateau(o, patience=0, min_lr=[0.05, 1e-3], eps=1e-3),
}


@pytest.mark.parametrize("case", table(PLATEAUS))
def test_plateaus_equal_torch(case: Build) -> None:
    """指标不再变好时，降的时机、幅度或状态与 torch 不同。"""
    found = []
    for m in ENGINES:
        optimizer, rows = _optimizer(m), []
        scheduler = case(m.optim.lr_scheduler, optimizer)
        for value in (5.0, 4.0, 4.1, 4.0, 3.9999, 3.0, 3.2, 3.1, float("nan"), 3.0, 2.9, m.tensor(2.0), 2.5, 2.5, 2.5):
            optimizer.step()
            scheduler.step(value)
            rows.append([*_seen(optimizer, scheduler), scheduler.num_bad_epochs, scheduler.in_cooldown])
        again = case(m.optim.lr_scheduler, optimizer)
        again.load_state_dict(scheduler.state_dict())
        found.append((np.array(rows, dtype=np.float64), again.state_dict()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-14)
    _same_state(found[0][1], found[1][1])


class _Power:
    def __init__(self, base: float) -> None:
        self.base = base

    def __call__(self, step: float) -> float:
        return float(self.base**step)


def test_callable_objects_are_saved_by_their_attributes() -> None:
    """可调用对象的属性没有随状态存取。"""

    def run(m: Any) -> Any:
        s, optimizer = m.optim.lr_scheduler, _optimizer(m)
        first, second = _Power(0.5), _Power(0.9)
        scheduler = s.LambdaLR(optimizer, [first, lambda step: 1.0])
        cyclic = s.CyclicLR(optimizer, 0.1, 0.5, 3, scale_fn=first)
        states = scheduler.state_dict()["lr_lambdas"], cyclic.state_dict()["_scale_fn_custom"]
        s.LambdaLR(optimizer, [second, second]).load_state_dict(scheduler.state_dict())
        third = _Power(0.1)
        s.CyclicLR(optimizer, 0.1, 0.5, 3, scale_fn=third).load_state_dict(cyclic.state_dict())
        return states, second.base, third.base

    same(run)


def test_tensor_rates_are_written_in_place() -> None:
    """学习率是 Tensor 时被换成了 Python 数，别处握着的引用就失效了。"""

    def run(m: Any) -> Any:
        lr = m.tensor(0.5)
        optimizer = m.optim.SGD([m.nn.Parameter(m.ones(1))], lr=lr)
        scheduler = m.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        optimizer.step()
        scheduler.step()
        kept = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
        return optimizer.param_groups[0]["lr"] is lr, lr, kept, scheduler.base_lrs[0]

    same(run, "float32")


def test_starting_in_the_middle_needs_the_initial_rates() -> None:
    """``last_epoch`` 不是 -1 时与 torch 接的不是同一处。"""

    def run(m: Any) -> Any:
        optimizer = _optimizer(m)
        for group in optimizer.param_groups:
            group["initial_lr"] = 1.0
        s = m.optim.lr_scheduler
        schedulers = [s.StepLR(optimizer, 2, last_epoch=3), s.CosineAnnealingLR(optimizer, 9, last_epoch=4),
            s.LinearLR(optimizer, last_epoch=2), s.PolynomialLR(optimizer, 8, last_epoch=1)]  # fmt: skip
        rates = [[round(float(lr), 12) for lr in x.get_last_lr()] for x in schedulers]
        return rates, [x.last_epoch for x in schedulers]

    same(run)


def _warned(action: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(w.message)[:40] for w in caught]


def test_the_same_habits_are_warned_about() -> None:
    """次序颠倒、直接叫 ``get_lr``、给 ``epoch``、换掉 ``step`` 时，该提醒的没有提醒。"""

    def run(m: Any) -> Any:
        def schedule(optimizer: Any) -> Any:
            return m.optim.lr_scheduler.StepLR(optimizer, 2)

        first, second, third, fourth = (_optimizer(m) for _ in range(4))
        early = schedule(first)
        second.step()  # 在有调度器之前走的那一步不算
        late = schedule(second)
        good = schedule(third)
        third.step()
        again = schedule(third)
        replaced = schedule(fourth)
        fourth.step = lambda *_: None
        return [
            *_warned(early.step), *_warned(early.step), "|", *_warned(late.step), "|", *_warned(good.step),
            *_warned(again.step), *_warned(good.get_lr), *_warned(lambda: good.step(3)), "|", *_warned(replaced.step),
        ]  # fmt: skip

    same(run)


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "not an optimizer": lambda s, o: s.StepLR(3, 2),
    "plateau without optimizer": lambda s, o: s.ReduceLROnPlateau(3),
    "cyclic without optimizer": lambda s, o: s.CyclicLR(3, 0.1, 0.2),
    "middle without initial rates": lambda s, o: s.StepLR(o, 2, last_epoch=3),
    "too few functions": lambda s, o: s.LambdaLR(o, [lambda t: t]),
    "factor that is a number": lambda s, o: s.MultiplicativeLR(o, 3.0),
    "constant factor": lambda s, o: s.ConstantLR(o, 1.5),
    "linear start": lambda s, o: s.LinearLR(o, 0.0),
    "linear end": lambda s, o: s.LinearLR(o, 0.5, 1.5),
    "restart period": lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    "restart multiple": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 1.5),
    "restart floor": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, eta_min="0"),
    "restart at a negative epoch": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2).step(-1),
    "cyclic mode": lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
    "cyclic bounds": lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    "one cycle without length": lambda s, o: s.OneCycleLR(o, 0.1, epochs=3),
    "one cycle of length 0": lambda s, o: s.OneCycleLR(o, 0.1, 0),
    "one cycle of half epochs": lambda s, o: s.OneCycleLR(o, 0.1, epochs=0.5, steps_per_epoch=2),
    "one cycle share": lambda s, o: s.OneCycleLR(o, 0.1, 5, pct_start=2.0),
    "one cycle share that is an integer": lambda s, o: s.OneCycleLR(o, 0.1, 5, pct_start=1),
    "one cycle strategy": lambda s, o: s.OneCycleLR(o, 0.1, 5, anneal_strategy="steps"),
    "one cycle too far": lambda s, o: _far(s.OneCycleLR(o, 0.1, 1, pct_start=0.5), o),
    "plateau factor": lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    "plateau mode": lambda s, o: s.ReduceLROnPlateau(o, "mean"),
    "plateau threshold mode": lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="x"),
    "plateau floors": lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    "sequence of nothing": lambda s, o: s.SequentialLR(o, [], []),
    "sequence of numbers": lambda s, o: s.SequentialLR(o, [1], []),
    "sequence milestones": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2)], [3]),
    "sequence with a plateau": lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []),
    "chain of nothing": lambda s, o: s.ChainedScheduler([]),
    "chain with a plateau": lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)], o),
    "no rule": lambda s, o: s.LRScheduler(o),
}  # fmt: skip


def _far(scheduler: Any, optimizer: Any) -> None:
    for _ in range(3):
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """不合法的设定被悄悄收下，或报错的类型与 torch 不同。"""
    same_error(lambda m: mistake(m.optim.lr_scheduler, _optimizer(m)))


def test_momentum_needs_an_optimizer_that_has_it() -> None:
    """优化器没有动量时悄悄不摆动。"""
    same_error(lambda m: m.optim.lr_scheduler.CyclicLR(m.optim.Adagrad([m.ones(1)]), 0.1, 0.2))
    same_error(lambda m: m.optim.lr_scheduler.OneCycleLR(m.optim.Rprop([m.ones(1)]), 0.1, 5))


def test_schedulers_of_two_optimizers_do_not_mix() -> None:
    """属于两个优化器的调度器被合成了一个。"""

    def mixed(m: Any) -> Any:
        s, a, b = m.optim.lr_scheduler, _optimizer(m), _optimizer(m)
        s.SequentialLR(a, [s.StepLR(a, 2), s.StepLR(b, 2)], [1])

    same_error(mixed)


def test_a_scheduler_of_ones_own_takes_part() -> None:
    """自己写的调度器（改写 ``get_lr`` 与闭式）没有按 torch 的方式被叫到。"""

    def run(m: Any) -> Any:
        class Own(m.optim.lr_scheduler.LRScheduler):  # type: ignore[misc]
            def get_lr(self) -> list[float]:
                return [g["lr"] / 2 for g in self.optimizer.param_groups]

            def _get_closed_form_lr(self) -> list[float]:
                return [base * 3 for base in self.base_lrs]

        optimizer = _optimizer(m)
        scheduler, rates = Own(optimizer), []
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for epoch in (None, None, 7):
                scheduler.step(epoch)
                rates.append(list(scheduler.get_last_lr()))
        return rates, scheduler.last_epoch, sorted(scheduler.state_dict())

    same(run)
