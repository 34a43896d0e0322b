"""L-BFGS 与 Muon：有线搜索的、在 bfloat16 里正交化的，各自与 torch 对照。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.test_optim import _as_ours, _as_torch
from parity_tests.engine.twins import ENGINES, same, values


def _rosenbrock(m: Any, p: Any, q: Any) -> Any:
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2 + (q - 3).pow(4).sum()


def _minimised(m: Any, steps: int = 1, **options: Any) -> Any:
    p, q = m.nn.Parameter(m.tensor([-1.2, 1.0], dtype=m.float64)), m.nn.Parameter(m.zeros(2, 1, dtype=m.float64))
    optimizer = m.optim.LBFGS([p, q], **options)
    losses = [loss for _ in range(steps) for loss in _walk(m, optimizer, p, q)]
    return p.detach(), q.detach(), losses, optimizer


def _walk(m: Any, optimizer: Any, p: Any, q: Any) -> list[float]:
    losses = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = _rosenbrock(m, p, q)
        loss.backward()
        losses.append(float(loss.detach()))
        return loss

    optimizer.step(closure)
    return losses


WOLFE = {"line_search_fn": "strong_wolfe"}


@pytest.mark.parametrize("options", [
    WOLFE, {"lr": 0.001}, {**WOLFE, "history_size": 3}, {**WOLFE, "max_iter": 4, "max_eval": 7},
    {"tolerance_grad": 1e4}, {"tolerance_change": 10.0},
], ids=repr)  # fmt: skip
def test_lbfgs_walks_torchs_path(options: dict[str, Any]) -> None:
    """L-BFGS 的方向、步长、停的时机或求损失的次数与 torch 不同。"""

    def run(m: Any) -> Any:
        p, q, losses, optimizer = _minimised(m, 3, **options)
        state = optimizer.state_dict()["state"][0]
        return p, q, len(losses), [float(state[k]) for k in ("func_evals", "n_iter")], sorted(state)

    same(run, "float64")


def test_lbfgs_state_moves_to_torch_and_back() -> None:
    """L-BFGS 的历史换一个引擎就读不了，或接着走时路径变了。"""
    ours, theirs = (_minimised(m, 2, max_iter=3, **WOLFE)[3] for m in ENGINES)
    state, other = ours.state_dict(), theirs.state_dict()
    ours.load_state_dict(_as_ours(other))
    theirs.load_state_dict(_as_torch(state))
    (p, q), (r, s) = ours.param_groups[0]["params"], theirs.param_groups[0]["params"]
    found = [_walk(tg, ours, p, q), _walk(torch, theirs, r, s)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)
    assert len(found[0]) >= 3


@pytest.mark.parametrize(
    "options", [{}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}], ids=repr
)
@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (3, 3)])
def test_muon_equals_torch_to_the_rounding_of_bfloat16(shape: tuple[int, int], options: dict[str, Any]) -> None:
    """Muon 的方向、步长或衰减与 torch 不同；正交化在 bfloat16 里做，末位随求和的次序而变。"""
    found = []
    for m in ENGINES:
        p = m.nn.Parameter(m.tensor(values(0, *shape)))
        optimizer = m.optim.Muon([p], lr=0.1, **options)
        for step in range(3):
            p.grad = m.tensor(values(step + 1, *shape))
            optimizer.step()
        found.append(np.array(p.detach().numpy()))
        assert list(optimizer.state_dict()["state"][0]) == ["momentum_buffer"]
    assert np.abs(found[0] - found[1]).max() < 3 * 0.1 * 2**-6 * 3
