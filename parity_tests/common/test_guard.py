"""守卫的判断：什么算尖峰，退回去之后取哪一批，记忆经过 JSON 一个比特也不变。"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from tinygrad_llm.common.errors import CheckpointError, DivergedError
from tinygrad_llm.common.guard import MAX_ROLLBACKS, REPEATED, SPAN, WINDOW, Guard, is_spike


def calm(steps: int = WINDOW, seed: int = 0) -> Guard:
    """平稳地走了 ``steps`` 步：损失 3 ± 0.1，梯度范数 1 上下。"""
    rng, guard = random.Random(seed), Guard()
    for step in range(steps):
        guard.observe(step, rng.gauss(3, 0.1), rng.lognormvariate(0, 0.2), updated=True)
    return guard


@pytest.mark.parametrize(
    ("loss", "norm", "kind"),
    [
        (3.0, 1.0, ""),
        (9.0, 4.0, ""),  # 难的一批：损失高，梯度不大
        (3.1, 90.0, ""),  # 梯度大，损失不高
        (9.0, 90.0, "spike"),
        (math.nan, 1.0, "non-finite"),
        (3.0, math.inf, "non-finite"),
        (-math.inf, 90.0, "non-finite"),
    ],
)
def test_step_is_judged_wrongly(loss: float, norm: float, kind: str) -> None:
    """损失与梯度都出格才是尖峰；非有限另算。"""
    guard = calm()
    assert guard.kind(loss, norm) == kind
    assert guard.accepts(loss, norm) is (kind == "")
    assert replace(guard, watches_spikes=False).accepts(loss, norm) is (kind != "non-finite")


def test_rule_is_not_the_written_one() -> None:
    """恰在均值加 6 个标准差、5 倍中位数处不算，越过一点就算；记录不满 200 步时不判断。"""
    losses, norms = [1.0, 3.0] * (WINDOW // 2), [1.0, 2.0, 3.0, 4.0] * (WINDOW // 4)  # 均值 2，标准差 1，中位数 2.5
    assert not is_spike(8.0, 13.0, losses, norms)
    assert not is_spike(8.1, 12.5, losses, norms)
    assert is_spike(8.1, 12.6, losses, norms)
    assert not is_spike(8.1, 12.6, losses[1:], norms[1:])


def test_quiet_training_is_disturbed() -> None:
    """十万步没有尖峰的训练（损失的尾巴比正态重，梯度范数是对数正态）：一次也不误报。"""
    rng, alarms = random.Random(1), 0
    losses: list[float] = []
    norms: list[float] = []
    for _ in range(100_000):
        loss, norm = 3 + 0.1 * rng.gauss(0, 1) / math.sqrt(rng.gammavariate(2.5, 0.4)), rng.lognormvariate(0, 0.5)
        if norm > 5 * math.exp(-0.2):  # 只有够大的梯度才需要细算：中位数不会低到哪里去
            alarms += is_spike(loss, norm, losses[-WINDOW:], norms[-WINDOW:])
        losses.append(loss)
        norms.append(norm)
    assert alarms == 0


def test_skipped_steps_enter_the_record() -> None:
    """跳过的步不进记录：尖峰不能抬高自己的门槛。"""
    guard = calm()
    before = list(guard.losses), list(guard.norms)
    assert guard.observe(200, 99.0, 99.0, updated=False) == "spike"
    assert guard.observe(201, math.nan, 1.0, updated=False) == "non-finite"
    assert (list(guard.losses), list(guard.norms)) == before
    assert (guard.spikes, guard.non_finite, guard.skipped, guard.in_a_row) == (1, 1, 2, 2)


@pytest.mark.parametrize(("gap", "rolls"), [(1, True), (SPAN // 2 - 1, True), (SPAN // 2, False), (SPAN, False)])
def test_repeated_spikes_are_counted_wrongly(gap: int, rolls: bool) -> None:
    """``SPAN`` 步之内有 ``REPEATED`` 个才退回去。"""
    guard = replace(calm(), anchor=100)
    for i in range(REPEATED):
        assert not guard.must_roll_back
        guard.observe(200 + i * gap, 99.0, 99.0, updated=False)
    assert guard.must_roll_back is rolls
    assert not replace(guard, anchor=-1).must_roll_back  # 没有检查点可退


def test_data_after_going_back_is_used_twice_or_lost() -> None:
    """从第 100 步的检查点退回：第 100 步取的是还没有取过的下一批；再退一次也一样，绕开的一段连成一段。"""
    kept, now = calm(100), calm(130)
    once = now.rolled_back(kept, 100, 130, "")
    assert (once.windows, 100 + once.offset) == (((100, 130),), 130)
    twice = once.rolled_back(kept, 100, 107, "")
    assert (twice.windows, 100 + twice.offset, twice.rollbacks) == (((100, 137),), 137, 2)
    later = twice.rolled_back(replace(twice), 120, 125, "")
    assert (later.windows[-1], 120 + later.offset) == ((157, 162), 162)
    assert list(once.losses) == list(kept.losses)
    assert (once.in_a_row, once.recent) == (0, ())


def test_going_back_never_ends() -> None:
    """接连退回到同一步，到了次数就停；换了一步重新数。"""
    guard, kept = calm(), calm(100)
    for _ in range(MAX_ROLLBACKS):
        guard = guard.rolled_back(kept, 100, 150, "")
    assert guard.rolled_back(kept, 140, 150, "").attempts == 1
    with pytest.raises(DivergedError, match="step 100"):
        guard.rolled_back(kept, 100, 150, "")


def test_memory_changes_in_the_checkpoint() -> None:
    """写成 JSON 再读回，逐比特相同。"""
    guard = calm(130).rolled_back(calm(100), 100, 130, "")
    guard.observe(130, 0.1 + 0.2, 1e-300, updated=True)
    guard.observe(131, math.nan, 1.0, updated=False)
    state = json.loads(json.dumps({"guard": guard.to_state()}, allow_nan=False))
    assert Guard.of_state(state, watches_spikes=True) == guard
    assert Guard.of_state({"skipped_steps": 7}, watches_spikes=True).skipped == 7


@pytest.mark.parametrize(
    "kept",
    [[], {"losses": [1]}, {"norms": [math.inf]}, {"losses": 3}, {"spikes": True}, {"windows": [[1]]}, {"recent": [""]}],
)
def test_nonsense_in_the_checkpoint_crashes(kept: object) -> None:
    """状态不合法时报 CheckpointError。"""
    with pytest.raises(CheckpointError):
        Guard.of_state({"guard": kept}, watches_spikes=True)
