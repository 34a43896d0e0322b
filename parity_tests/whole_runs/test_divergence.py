"""数值守卫：损失或梯度不是有限数时跳过这一步并计数；连续十步就停下，先前的检查点完好。"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal
from tinygrad_llm.common.checkpoint import list_checkpoints, load_checkpoint
from tinygrad_llm.common.loop import MAX_SKIPPED
from tinygrad_llm.train import NumpyEngine
from torch_llm.loop import TorchEngine

DIVERGED = 3
CLASSES: dict[str, Any] = {"numpy": NumpyEngine, "torch": TorchEngine}
Spoil = Callable[[Container[int], float], None]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """让两个引擎在指定的几步里算出的损失都乘以一个坏数；反传因此也是坏的。"""

    def install(steps: Container[int], factor: float) -> None:
        for engine in CLASSES.values():
            monkeypatch.setattr(engine, "train_step", spoilt(engine.train_step, steps, factor))

    return install


def spoilt(train_step: Any, steps: Container[int], factor: float) -> Any:
    """包一层：在指定的几步里，模型的损失乘以 ``factor``。"""

    def wrapped(self: Any, step: int, *arguments: Any) -> Any:
        loss = self.model.loss
        if step in steps:
            self.model.loss = lambda x, y: loss(x, y) * factor
        try:
            return train_step(self, step, *arguments)
        finally:
            self.model.loss = loss

    return wrapped


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("engine", ENGINES)
def test_non_finite_loss_updates_the_weights(place: Place, spoil: Spoil, engine: str, factor: float) -> None:
    """第 4、5 步的损失坏了：这两步不更新、计入次数，其余各步照常，权重有限。"""
    spoil({4, 5}, factor)
    ended = place.train(engine, "a", save_every=5)
    assert ended.code == 0
    assert [line.split(":")[0] for line in ended.err.splitlines() if "update skipped" in line] == ["step 4", "step 5"]
    curve = place.curve("a")
    assert [i for i, loss in enumerate(curve) if not math.isfinite(loss)] == [4, 5]
    assert np.isfinite(curve[6:]).all()
    checkpoint = load_checkpoint(place.runs / "a")
    assert checkpoint.state["skipped_steps"] == 2
    assert checkpoint.state["optimizer_step"] == 10


@pytest.mark.parametrize("engine", ENGINES)
def test_skipped_step_changes_the_state(place: Place, spoil: Spoil, engine: str) -> None:
    """跳过的一步前后，权重与两个矩逐位相同；优化器步数不动。"""
    spoil({6}, math.nan)
    assert place.train(engine, "a", stop_at=6).code == 0
    before = place.tensors("a")
    assert place.resume(engine, "a", stop_at=7).code == 0
    assert load_checkpoint(place.runs / "a").step == 7
    assert_bit_equal(place.tensors("a"), before)
    assert load_checkpoint(place.runs / "a").state["optimizer_step"] == 6


def test_engines_skip_differently(place: Place, spoil: Spoil) -> None:
    """同样的坏步之后，两个引擎仍然一致；计数在续训与换引擎之后接着累加。"""
    spoil({2, 7}, math.nan)
    assert place.train("numpy", "numpy", dtype="float64").code == 0
    assert place.train("torch", "torch", dtype="float64").code == 0
    np.testing.assert_allclose(place.curve("numpy"), place.curve("torch"), rtol=1e-10, equal_nan=True)
    assert place.train("numpy", "both", dtype="float64", stop_at=5).code == 0
    assert place.resume("torch", "both").code == 0
    np.testing.assert_allclose(place.curve("numpy"), place.curve("both"), rtol=1e-10, equal_nan=True)
    assert load_checkpoint(place.runs / "both").state["skipped_steps"] == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_diverged_run_goes_on(place: Place, spoil: Spoil, engine: str) -> None:
    """连续十步坏了：退出码 3，三行消息，最后的检查点没有坏数，修好之后可以接着走。"""
    spoil(range(6, 99), math.nan)
    ended = place.train(engine, "a", steps=40, save_every=4, keep=99)
    assert (ended.code, len(ended.error)) == (DIVERGED, 3), ended
    assert f"{MAX_SKIPPED} steps in a row" in ended.error[0]
    assert len(place.curve("a")) == 6 + MAX_SKIPPED
    assert list_checkpoints(place.runs / "a") == [4, 8, 12]
    assert all(np.isfinite(array).all() for array in place.tensors("a").values())
    assert load_checkpoint(place.runs / "a").state["optimizer_step"] == 6


def test_nine_bad_steps_stop_the_run(place: Place, spoil: Spoil) -> None:
    """九步坏、一步好、九步坏：没有连续十步，训练走完。"""
    spoil([*range(1, 10), *range(11, 20)], math.nan)
    assert place.train("numpy", "a", steps=24).code == 0
    assert load_checkpoint(place.runs / "a").state["skipped_steps"] == 18


@pytest.mark.parametrize("engine", ENGINES)
def test_absurd_learning_rate_warns_instead_of_stopping(place: Place, engine: str) -> None:
    """学习率大到权重溢出：退出码 3，没有 traceback 也没有警告，降低学习率后可以从头再来。"""
    ended = place.train(engine, "a", lr=1e30, steps=40)
    assert (ended.code, len(ended.error)) == (DIVERGED, 3), ended
    assert "Warning" not in ended.err
    assert "--lr" in ended.error[2]
    assert place.resume(engine, "a", lr=1e-3, steps=12).code == 0
    assert np.isfinite(place.curve("a")).all()
