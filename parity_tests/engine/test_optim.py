"""优化器与学习率调度：一百步的轨迹、状态与参数组，都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, table, values
from parity_tests.tolerances import assert_close

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]

OPTIMIZERS: dict[str, Callable[[Any, Any], Any]] = {
    "AdamW": lambda optim, p: optim.AdamW(p),
    "AdamW with everything": lambda optim, p: optim.AdamW(p, lr=0.03, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "AdamW maximize": lambda optim, p: optim.AdamW(p, lr=0.01, maximize=True),
    "AdamW without decay": lambda optim, p: optim.AdamW(p, lr=0.01, weight_decay=0.0),
    "AdamW without momentum": lambda optim, p: optim.AdamW(p, lr=0.01, betas=(0.0, 0.0)),
    "Adam": lambda optim, p: optim.Adam(p, lr=0.01),
    "Adam with decay": lambda optim, p: optim.Adam(p, lr=0.01, weight_decay=0.1),
    "SGD": lambda optim, p: optim.SGD(p, lr=0.01),
    "SGD with default rate": lambda optim, p: optim.SGD(p),
    "SGD momentum": lambda optim, p: optim.SGD(p, lr=0.01, momentum=0.9),
    "SGD with everything": lambda optim, p: optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.1),
    "SGD Nesterov": lambda optim, p: optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
    "SGD maximize": lambda optim, p: optim.SGD(p, lr=0.001, momentum=0.5, maximize=True),
    "AdamW amsgrad": lambda optim, p: optim.AdamW(p, 0.02, amsgrad=True),
    "Adam of everything": lambda optim, p: optim.Adam(p, 0.02, weight_decay=0.1, amsgrad=True, maximize=True),
    "Adam decoupled": lambda optim, p: optim.Adam(p, 0.02, weight_decay=0.1, decoupled_weight_decay=True),
    "Adam fused": lambda optim, p: optim.Adam(p, 0.02, fused=True),
    "AdamW foreach": lambda optim, p: optim.AdamW(p, 0.02, foreach=True),
    "NAdam": lambda optim, p: optim.NAdam(p),
    "NAdam with everything": lambda optim, p: optim.NAdam(p, 0.03, (0.4, 0.9), 1e-5, 0.1, 0.01, maximize=True),
    "NAdam decoupled": lambda optim, p: optim.NAdam(p, 0.03, weight_decay=0.1, decoupled_weight_decay=True),
    "RAdam": lambda optim, p: optim.RAdam(p, 0.03),
    "RAdam with everything": lambda optim, p: optim.RAdam(p, 0.03, (0.8, 0.9), 1e-5, 0.1, maximize=True),
    "RAdam decoupled": lambda optim, p: optim.RAdam(p, 0.03, weight_decay=0.1, decoupled_weight_decay=True),
    "Adamax": lambda optim, p: optim.Adamax(p, 0.03),
    "Adamax with everything": lambda optim, p: optim.Adamax(p, 0.03, (0.3, 0.9), 1e-5, 0.1, maximize=True),
    "Adagrad": lambda optim, p: optim.Adagrad(p, 0.1),
    "Adagrad with everything": lambda optim, p: optim.Adagrad(p, 0.1, 0.01, 0.1, 0.5, 1e-4, maximize=True),
    "Adadelta": lambda optim, p: optim.Adadelta(p),
    "Adadelta with everything": lambda optim, p: optim.Adadelta(p, 0.5, 0.8, 1e-3, 0.1, maximize=True),
    "RMSprop": lambda optim, p: optim.RMSprop(p),
    "RMSprop centered": lambda optim, p: optim.RMSprop(p, 0.01, 0.9, 1e-3, 0.1, 0.5, centered=True),
    "RMSprop momentum": lambda optim, p: optim.RMSprop(p, 0.01, momentum=0.9, maximize=True),
    "Rprop": lambda optim, p: optim.Rprop(p),
    "Rprop with everything": lambda optim, p: optim.Rprop(p, 0.1, (0.3, 1.5), (1e-3, 0.2), maximize=True),
    "ASGD": lambda optim, p: optim.ASGD(p),
    "ASGD averaging": lambda optim, p: optim.ASGD(p, 0.02, 0.1, 0.6, t0=20, weight_decay=0.1, maximize=False),
    "Adafactor": lambda optim, p: optim.Adafactor(p),
    "Adafactor with everything": lambda optim, p: optim.Adafactor(p, 0.1, -0.5, (1e-6, 1e-2), 1.5, 0.1, maximize=True),
}  # fmt: skip


def _parameters(m: Any, dtype: str = "float64") -> list[Any]:
    return [m.tensor(values(i, *s), dtype=getattr(m, dtype), requires_grad=True) for i, s in enumerate(SHAPES)]


def _loss(m: Any, params: list[Any], step: int) -> Any:
    """每一步都不同的光滑损失；第二个参数每隔一步没有梯度。"""
    rng = np.random.default_rng(step)
    total = m.zeros((), dtype=params[0].dtype)
    for i, p in enumerate(params):
        if i == 1 and step % 2:
            continue
        target = m.tensor(rng.standard_normal(SHAPES[i]), dtype=p.dtype)
        total = total + ((p - target) ** 2).sum() + p.sin().sum()
    return total


def _train(m: Any, params: list[Any], optimizer: Any, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        _loss(m, params, step).backward()
        optimizer.step()


@pytest.mark.parametrize("case", table(OPTIMIZERS))
def test_a_hundred_steps_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """一百步之后参数或矩与 torch 不同。"""

    def run(m: Any) -> Any:
        params = _parameters(m)
        optimizer = case(m.optim, params)
        _train(m, params, optimizer, range(100))
        state = optimizer.state_dict()["state"]
        kept = [[k, v] for i in sorted(state) for k, v in sorted(state[i].items()) if v is not None]
        return [*[p.detach() for p in params], kept]

    same(run, "optimizer float64")


@pytest.mark.parametrize("case", table({k: v for k, v in OPTIMIZERS.items() if "everything" in k or " " not in k}))
def test_float32_stays_float32(case: Callable[[Any, Any], Any]) -> None:
    """float32 的参数被更新成 float64，或与 torch 相差太远。"""

    def run(m: Any) -> Any:
        params = _parameters(m, "float32")
        _train(m, params, case(m.optim, params), range(5))
        return [p.detach() for p in params]

    same(run, "float32")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["AdamW", "SGD momentum", "RMSprop", "Adagrad", "Adamax"])
def test_half_precision_stays_representable(name: str, dtype: str) -> None:
    """16 位的参数或状态换了 dtype、不再是 16 位能表示的数，或离 torch 太远（末位随舍入的次数而变）。"""
    found = []
    for m in ENGINES:
        p = m.nn.Parameter(m.tensor(values(0, 4, 5)).to(getattr(m, dtype)))
        optimizer = OPTIMIZERS[name](m.optim, [p])
        for step in range(3):
            p.grad = m.tensor(values(step + 1, 4, 5)).to(p.dtype)
            optimizer.step()
        state = optimizer.state_dict()["state"][0]
        kept = [p.detach(), *(v for k, v in sorted(state.items()) if k != "step")]
        assert all(v.dtype == p.dtype for v in kept)
        assert all(bool((v.float().to(p.dtype) == v).all()) for v in kept)
        found.append([np.array(v.float().numpy()) for v in kept])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=4e-2, atol=4e-3)


def test_parameter_groups_have_their_own_settings() -> None:
    """参数组的超参数串了，后加的组没有更新。"""

    def run(m: Any) -> Any:
        params = _parameters(m)
        groups = [{"params": params[0], "weight_decay": 0.5}, {"params": params[1:3], "lr": 0.1, "betas": (0.5, 0.6)}]
        optimizer = m.optim.AdamW(groups, lr=0.01)
        optimizer.add_param_group({"params": [params[3]], "eps": 1e-3})
        _train(m, params, optimizer, range(10))
        optimizer.param_groups[0]["lr"] = 0.0
        _train(m, params, optimizer, range(10, 20))
        keys = ("lr", "betas", "eps", "weight_decay", "maximize")
        return [*[p.detach() for p in params], [[g[k] for k in keys] for g in optimizer.param_groups]]

    same(run, "optimizer float64")


def test_non_contiguous_parameters_are_updated_in_place() -> None:
    """转置来的参数更新在了拷贝上，或内存换了一块。"""

    def run(m: Any) -> Any:
        p = m.tensor(values(0, 3, 4)).t().requires_grad_()
        optimizer = m.optim.AdamW([p], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (p**2).sum().backward()
            optimizer.step()
        return p

    same(run, "optimizer float64")
    p = tg.ones(2, requires_grad=True)
    memory = p.array
    p.grad = tg.ones(2)
    tg.optim.SGD([p], lr=1.0).step()
    assert p.array is memory
    assert p.tolist() == [0.0, 0.0]


def test_parameters_without_gradients_are_left_alone() -> None:
    """没有梯度的参数也被衰减、也有了状态。"""

    def run(m: Any) -> Any:
        used, unused = m.ones(1, requires_grad=True), m.ones(1, requires_grad=True)
        optimizer = m.optim.AdamW([used, unused], lr=0.1, weight_decay=0.5)
        (used * 2).sum().backward()
        optimizer.step()
        return unused, sorted(optimizer.state_dict()["state"])

    same(run)


def test_updating_a_saved_parameter_is_detected() -> None:
    """前向与反向之间更新了参数，梯度悄悄错了。"""
    for m in ENGINES:
        p = m.ones(2, requires_grad=True)
        optimizer = m.optim.SGD([p], lr=0.1)
        y = (p * p).sum()
        p.grad = m.ones(2)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()


def test_closure_and_zero_grad() -> None:
    """``step(closure)`` 没有返回损失、没有记图；``zero_grad`` 没有清掉梯度。"""

    def run(m: Any) -> Any:
        p = m.ones(2, dtype=m.float64, requires_grad=True)
        optimizer = m.optim.SGD([p], lr=0.1)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (p**2).sum()
            loss.backward()
            return loss

        with m.no_grad():
            loss = optimizer.step(closure)
        after = p.grad.clone()
        optimizer.zero_grad(set_to_none=False)
        zeros = p.grad.clone()
        optimizer.zero_grad()
        return loss, after, zeros, p.grad is None, p

    same(run)


def _as_torch(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _as_torch(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_as_torch(v) for v in value]
    return torch.from_numpy(np.array(value.array)) if isinstance(value, tg.Tensor) else value


def _as_ours(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _as_ours(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_as_ours(v) for v in value]
    return tg.tensor(value.numpy()) if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("name", sorted(k for k in OPTIMIZERS if "everything" in k or k == "Rprop"))
def test_state_moves_between_the_engines_in_mid_run(name: str) -> None:
    """训练到一半把状态换到另一个引擎接着跑，轨迹与一路跑到底不同。"""
    ours, theirs, whole = _parameters(tg), _parameters(torch), _parameters(torch)
    case = OPTIMIZERS[name]
    first = case(tg.optim, ours)
    _train(tg, ours, first, range(10))
    with torch.no_grad():
        for a, b in zip(theirs, ours, strict=True):
            a.copy_(torch.from_numpy(np.array(b.array)))
    second = case(torch.optim, theirs)
    second.load_state_dict(_as_torch(first.state_dict()))
    _train(torch, theirs, second, range(10, 20))
    with tg.no_grad():
        for c, d in zip(ours, theirs, strict=True):
            c.copy_(tg.tensor(d.detach().numpy()))
    third = case(tg.optim, ours)
    third.load_state_dict(_as_ours(second.state_dict()))
    _train(tg, ours, third, range(20, 30))
    _train(torch, whole, case(torch.optim, whole), range(30))
    for e, f in zip(ours, whole, strict=True):
        assert_close(e, f, "optimizer float64", name)


@pytest.mark.parametrize("case", table(OPTIMIZERS))
def test_state_dict_has_torchs_structure(case: Callable[[Any, Any], Any]) -> None:
    """``state_dict`` 的键、次序、编号、形状或超参数与 torch 不同，别人的工具就读不了。"""

    def run(m: Any) -> Any:
        params = _parameters(m)
        optimizer = case(m.optim, [{"params": params[:2]}, {"params": params[2:]}])
        _train(m, params, optimizer, range(2))
        state = optimizer.state_dict()
        shapes = [(i, k, tuple(v.shape), v.dtype) for i, s in sorted(state["state"].items()) for k, v in s.items()]
        return list(state), shapes, [list(g.items()) for g in state["param_groups"]], repr(optimizer)

    same(run)


def test_loaded_state_is_a_copy() -> None:
    """装进来的状态仍与原来的共用内存。"""
    params = _parameters(tg)
    optimizer = tg.optim.AdamW(params)
    _train(tg, params, optimizer, range(2))
    saved = optimizer.state_dict()
    other = tg.optim.AdamW(params)
    other.load_state_dict(saved)
    saved["state"][0]["exp_avg"].array[:] = 99
    assert other.state_dict()["state"][0]["exp_avg"].array.max() < 99
