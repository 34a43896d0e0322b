"""数值守卫：坏掉的一步不更新参数并计数；连续十步就停下，先前的检查点完好；尖峰接连出现就退回去，绕开那段数据。"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal
from tinygrad_llm.common import guard
from tinygrad_llm.common.batches import TokenDataset
from tinygrad_llm.common.checkpoint import list_checkpoints, load_checkpoint
from tinygrad_llm.common.guard import MAX_SKIPPED
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.safetensors import read_safetensors
from tinygrad_llm.common.tokenizers import load_tokenizer
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


# ---- 尖峰 ----

SHORT_WINDOW = 5
SAVED = {"save_every": 4, "steps": 16, "keep": 1}


@pytest.fixture
def poison(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[Container[int]], None]:
    """第几批数据有毒：哪一步取到它，损失与梯度都大五十倍；与 ``spoil`` 不同，毒跟着数据走。"""
    batches: list[bytes] = []

    def recorded(train_step: Any) -> Any:
        def wrapped(self: Any, step: int, batch: Any, *arguments: Any) -> Any:
            batches.append(batch[0].tobytes())
            return train_step(self, step, batch, *arguments)

        return wrapped

    def install(indices: Container[int]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(NumpyEngine, "train_step", recorded(NumpyEngine.train_step))
            assert place.train("numpy", "clean", **{**SAVED, "steps": 40}).code == 0
        bad = {batch for i, batch in enumerate(batches) if i in indices}
        monkeypatch.setattr(guard, "WINDOW", SHORT_WINDOW)
        for engine in CLASSES.values():
            monkeypatch.setattr(engine, "train_step", poisoned(engine.train_step, bad))

    return install


def poisoned(train_step: Any, bad: Container[bytes]) -> Any:
    """包一层：取到有毒的数据时，模型的损失乘以五十。"""

    def wrapped(self: Any, step: int, batch: Any, *arguments: Any) -> Any:
        return spoilt(train_step, {step} if batch[0].tobytes() in bad else (), 50.0)(self, step, batch, *arguments)

    return wrapped


@pytest.mark.parametrize("engine", ENGINES)
def test_spike_updates_the_weights(place: Place, poison: Any, engine: str) -> None:
    """第 8 批有毒：那一步不更新，批次存下来，里面正是那一批；--no-skip-spikes 则照常更新。"""
    poison({8})
    ended = place.train(engine, "a", **SAVED)
    assert ended.code == 0
    assert [line.split(":")[0] for line in ended.err.splitlines() if "spike loss" in line] == ["step 8"]
    state = load_checkpoint(place.runs / "a").state
    assert (state["guard"]["spikes"], state["guard"]["rollbacks"], state["optimizer_step"]) == (1, 0, 15)
    record = next(r for r in read_metrics(place.runs / "a") if r["step"] == 8)
    assert record["skipped"] == "spike"
    kept, _ = read_safetensors(place.runs / "a" / "bad_batches" / "step_000008.safetensors")
    assert kept["x"].shape == kept["y"].shape == (4, 16)
    assert (kept["x"][:, 1:] == kept["y"][:, :-1]).all()
    text = (place.runs / "a" / "bad_batches" / "step_000008.txt").read_text(encoding="utf-8")
    assert text.startswith("step 8: spike loss ")
    tokenizer = load_tokenizer(place.runs / "a" / "tokenizer.json")
    assert tokenizer.decode(kept["x"][3].tolist()) in text
    assert place.train(engine, "b", **SAVED, no_skip_spikes=True).code == 0
    assert load_checkpoint(place.runs / "b").state["optimizer_step"] == 16


@pytest.mark.parametrize("engine", ENGINES)
def test_going_back_trains_something_else(
    place: Place, poison: Any, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """第 8 至 10 批有毒：退回第 8 步，接着用第 11 批；结果与数据里从来没有那三批的训练逐位相同。"""
    poison({8, 9, 10})
    assert place.train(engine, "a", **SAVED).code == 0
    batch = TokenDataset.batch
    with monkeypatch.context() as patched:
        patched.setattr(TokenDataset, "batch", lambda self, i, **of: batch(self, i if i < 8 else i + 3, **of))
        assert place.train(engine, "without", **SAVED).code == 0
    assert place.columns("a") == place.columns("without")
    assert_bit_equal(place.tensors("a"), place.tensors("without"))
    state = load_checkpoint(place.runs / "a").state
    assert (state["guard"]["spikes"], state["guard"]["rollbacks"], state["guard"]["windows"]) == (3, 1, [[8, 11]])
    assert state["data_step"] == 16 + 3


@pytest.mark.parametrize("engine", ENGINES)
def test_interruption_changes_where_it_goes_back_to(place: Place, poison: Any, engine: str) -> None:
    """在毒数据当中停下两次再续训：多出来的检查点不影响退回到哪里，日志、权重、守卫与从未停过的一样。"""
    poison({8, 9, 10, 13})
    place.assert_resuming_changes_nothing(engine, (9, 10), **SAVED)
    states = [load_checkpoint(place.runs / run).state for run in ("broken", "straight")]
    assert states[0]["guard"] == states[1]["guard"]
    assert states[0]["guard"]["spikes"] == 4


def test_poisoned_data_is_tried_for_ever(place: Place, poison: Any) -> None:
    """从第 8 批起全都有毒：退回三次之后停下，退出码 3，检查点完好。"""
    poison(range(8, 40))
    ended = place.train("numpy", "a", **SAVED)
    assert (ended.code, len(ended.error)) == (DIVERGED, 3), ended
    assert "going back to step 8 3 times" in ended.error[0]
    assert load_checkpoint(place.runs / "a").step == 8


def test_spikes_before_the_first_checkpoint_crash(place: Place, poison: Any) -> None:
    """还没有检查点可退：只跳过，训练走完。"""
    poison({8, 9, 10})
    assert place.train("numpy", "a", **{**SAVED, "save_every": 0}).code == 0
    assert load_checkpoint(place.runs / "a").state["guard"]["rollbacks"] == 0
