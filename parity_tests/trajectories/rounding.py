"""Muon 的正交化在 bfloat16 里做：末位随求和的次序而变，各走各的两边不可能相差 1e-8。这里给出两种比法。

``without_bfloat16`` 让两边都不舍入，同一个算法便可以逐步比到 1e-8；``lockstep`` 保留舍入，但每一步都从 torch 的
参数与状态出发，于是差的只是一步之内的舍入，以步长为单位。
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

import tinygrad_llm as tg
from parity_tests.tolerances import as_array
from parity_tests.trajectories.walk import Gap, Side, batches
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim import muon

ROUNDING = 2.0**-4
"""一步更新的每个元素至多差步长的多少：bfloat16 的 ε 是 2⁻⁸，五次迭代里各差末位一两次，再由多项式放大。"""


@contextlib.contextmanager
def without_bfloat16() -> Iterator[None]:
    """两个引擎的 Muon 都在参数自己的 dtype 里正交化。"""

    def unrounded(x: Array) -> Array:
        return x

    def copied(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    with mock.patch.object(muon, "_bfloat16", unrounded), mock.patch.object(torch.Tensor, "bfloat16", copied):
        yield


def follow(ours: Side, theirs: Side) -> None:
    """把 ``theirs`` 的参数与动量抄给 ``ours``。"""
    with tg.no_grad():
        for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
            a.copy_(tg.tensor(as_array(b)))
            for mine, other in zip(ours.optimizers, theirs.optimizers, strict=True):
                for key, value in other.state.get(b, {}).items():
                    mine.state[a][key].copy_(tg.tensor(as_array(value)))


def lockstep(pair: Iterable[Side], config: GPTConfig, steps: int, seed: int) -> Iterator[tuple[Gap, Gap]]:
    """每一步都从 ``theirs`` 的位置出发，各走一步。

    Args:
        pair: 两边，第一个优化器是 Muon；后一边是基准。
        config: 模型配置。
        steps: 走几步。
        seed: 数据的种子。

    Yields:
        （动量的相对差，参数的差除以这个参数在这一步里移动的最大距离）中最大的一处。
    """
    ours, theirs = pair
    for step, (ids, targets) in enumerate(batches(config, steps, seed), 1):
        before = _muon_arrays(theirs)
        for side in (ours, theirs):
            side.step(ids, targets)
        found = _muon_arrays(ours), _muon_arrays(theirs)
        momenta, updates = [], []
        for name, (start, _) in before.items():
            (p, mine), (q, other) = (side[name] for side in found)
            scale = float(np.abs(other).max())
            momenta.append(Gap(step, f"momentum_buffer of {name}", float(np.abs(mine - other).max()) / scale))
            updates.append(Gap(step, name, float(np.abs(p - q).max() / np.abs(q - start).max())))
        yield max(momenta, key=_error), max(updates, key=_error)
        follow(ours, theirs)


def _error(gap: Gap) -> float:
    return gap.error


def _muon_arrays(side: Side) -> dict[str, tuple[Array, Array]]:
    """Muon 管的每个参数与它的动量，各抄一份；还没有动量时以零代之。"""
    state: Any = side.optimizers[0].state
    found = {}
    for name, p in side.model.named_parameters():
        if any(p is one for group in side.optimizers[0].param_groups for one in group["params"]):
            value = np.array(as_array(p))
            kept = state.get(p, {}).get("momentum_buffer")
            found[name] = value, np.zeros_like(value) if kept is None else np.array(as_array(kept))
    return found
