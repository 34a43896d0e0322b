"""权重的平均与配套的学习率：每一步都与 torch 相同。"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.optim.swa_utils

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values

UTILS: dict[Any, Any] = {tg: tg.optim.swa_utils, torch: torch.optim.swa_utils}


def _net(m: Any) -> Any:
    net = m.nn.Sequential(m.nn.Linear(3, 4), m.nn.BatchNorm1d(4), m.nn.Linear(4, 2)).double()
    with m.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(m.tensor(values(i, *p.shape)))
    return net


AVERAGES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "equal": lambda u: {},
    "equal by hand": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "equal, all at once": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "exponential": lambda u: {"avg_fn": u.get_ema_avg_fn(0.7)},
    "exponential, all at once": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.7)},
    "slow": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.2), "use_buffers": True},
    "buffers too": lambda u: {"use_buffers": True},
    "own": lambda u: {"avg_fn": lambda old, new, n: new},
}


@pytest.mark.parametrize("case", table(AVERAGES))
def test_averages_equal_torch(case: Callable[[Any], dict[str, Any]]) -> None:
    """平均出来的参数、缓冲区、份数或状态的名字与 torch 不同。"""

    def run(m: Any) -> Any:
        net = _net(m)
        averaged = UTILS[m].AveragedModel(net, **case(UTILS[m]))
        optimizer = m.optim.SGD(net.parameters(), lr=0.02)
        for step in range(4):
            optimizer.zero_grad()
            (net(m.tensor(values(step, 5, 3))) ** 2).mean().backward()
            optimizer.step()
            averaged.update_parameters(net)
        frozen = copy.deepcopy(averaged).eval()(m.tensor(values(9, 5, 3)))
        return list(averaged.state_dict()), list(averaged.state_dict().values()), frozen

    same(run)


def test_statistics_are_computed_anew() -> None:
    """``update_bn`` 算出的统计量、动量或训练状态与 torch 不同。"""

    def run(m: Any) -> Any:
        net, plain = _net(m).eval(), m.nn.Linear(1, 1)
        net[1].running_mean.fill_(9.0)
        batches = [m.tensor(values(i, 5, 3)) for i in range(3)]
        UTILS[m].update_bn(iter(batches), net)
        first = net[1].running_mean.clone()
        UTILS[m].update_bn([(batch, None) for batch in batches], net, device="cpu")
        UTILS[m].update_bn([], plain)
        return first, net[1].running_mean, net[1].running_var, net[1].momentum, net.training

    same(run)


SCHEDULERS: dict[str, Callable[[Any, Any], Any]] = {
    "cosine": lambda u, o: u.SWALR(o, 0.5, anneal_epochs=4),
    "linear per group": lambda u, o: u.SWALR(o, [0.5, 0.01], 3, "linear"),
    "at once": lambda u, o: u.SWALR(o, 0.5, 0),
}


@pytest.mark.parametrize("case", table(SCHEDULERS))
def test_rates_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """某一步的学习率与 torch 不同，或存取之后接不上。"""
    found = []
    for m in ENGINES:
        groups = [{"params": [m.ones(1)], "lr": 0.1}, {"params": [m.ones(1)], "lr": 2.0}]
        optimizer = m.optim.SGD(groups)
        scheduler, rates = case(UTILS[m], optimizer), []
        for _ in range(4):
            optimizer.step()
            scheduler.step()
            rates.append(list(scheduler.get_last_lr()))
        again = case(UTILS[m], optimizer)
        again.load_state_dict(scheduler.state_dict())
        optimizer.param_groups[0]["lr"] = rates[-1][0]
        optimizer.step()
        again.step()
        rates.append(list(again.get_last_lr()))
        found.append((np.array(rates), sorted(again.state_dict())))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-14)
    assert found[0][1] == found[1][1]


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "decay": lambda m, u: u.get_ema_avg_fn(1.5),
    "decay of many": lambda m, u: u.get_ema_multi_avg_fn(-0.1),
    "both averages": lambda m, u: u.AveragedModel(
        m.nn.ReLU(), avg_fn=u.get_swa_avg_fn(), multi_avg_fn=u.get_swa_multi_avg_fn()),
    "strategy": lambda m, u: u.SWALR(m.optim.SGD([m.ones(1)]), 0.1, anneal_strategy="steps"),
    "negative length": lambda m, u: u.SWALR(m.optim.SGD([m.ones(1)]), 0.1, anneal_epochs=-1),
    "too many rates": lambda m, u: u.SWALR(m.optim.SGD([m.ones(1)]), [0.1, 0.2]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """不合法的设定被悄悄收下。"""
    same_error(lambda m: mistake(m, UTILS[m]))
