"""最好的检查点与提前停下：验证损失最低的留得住、取得出，没有进步就停，续训与从未停过的一样。"""

from __future__ import annotations

import json
from typing import Any

import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal
from tinygrad_llm.common import loop
from tinygrad_llm.common.checkpoint import list_checkpoints, load_checkpoint
from tinygrad_llm.common.evaluation.validation import Figures, evaluate
from tinygrad_llm.common.runlog import read_metrics, read_samples

LOSSES = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5, 10: 3.0, 12: 2.5, 14: 2.7}
EVALUATED: dict[str, Any] = {"eval_every": 2, "save_every": 5, "keep": 1, "steps": 14}


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """验证损失按表来：第几步之后是多少。"""
    plain = loop._Loop.evaluate

    def evaluate(self: Any, step: int, *, must: bool) -> bool:
        loss = LOSSES.get(step, 9.0)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "evaluate", lambda *_, **__: Figures(loss, 1.0, loss / 2, 10))
            return plain(self, step, must=must)

    monkeypatch.setattr(loop._Loop, "evaluate", evaluate)


def pointer(place: Place, run: str, name: str) -> str:
    """``latest`` 或 ``best`` 的内容。"""
    return (place.runs / run / name).read_text().strip()


@pytest.mark.parametrize("engine", ENGINES)
def test_best_checkpoint_is_lost(place: Place, losses: None, engine: str) -> None:
    """只保留最近一个时，最好的那个另外留着；``--checkpoint best`` 取的是它，缺省取最近的。"""
    assert place.train(engine, "a", **EVALUATED).code == 0
    assert (pointer(place, "a", "best"), pointer(place, "a", "latest")) == ("step_000012", "step_000014")
    assert list_checkpoints(place.runs / "a") == [10, 12, 14]  # 10 是退回时要去的地方
    standing = load_checkpoint(place.runs / "a").state["standing"]
    assert standing == {"best_step": 12, "best_loss": 2.5, "stale": 1}
    texts = {which: place.generate(engine, "a", checkpoint=which, temperature=0).out for which in ("best", "latest")}
    assert place.generate(engine, "a", temperature=0).out == texts["latest"]
    assert place.generate(engine, "a", checkpoint="12", temperature=0).out == texts["best"]
    ended = place.generate(engine, "a", checkpoint="11")
    assert (ended.code, len(ended.err.splitlines())) == (4, 3)
    assert "10, 12, 14" in ended.error[0]


def test_rewound_run_keeps_a_best_of_the_future(place: Place, losses: None) -> None:
    """从第 10 步的检查点重来：最好的是那时的第 4 步，可它已经不在了，于是没有指针；之后又有了新的最好。"""
    assert place.train("numpy", "a", **EVALUATED).code == 0
    (place.runs / "a" / "latest").write_text("step_000010\n")
    assert place.resume("numpy", "a", stop_at=11).code == 0
    assert load_checkpoint(place.runs / "a").state["standing"]["best_step"] == 4
    assert not (place.runs / "a" / "best").exists()
    assert place.resume("numpy", "a").code == 0
    assert pointer(place, "a", "best") == "step_000012"


@pytest.mark.parametrize("engine", ENGINES)
def test_run_without_progress_goes_on(place: Place, losses: None, engine: str) -> None:
    """两次评估没有进步就停：退出码 0，有标记、有报告；再续训会拒绝，放宽之后接着走，与从未停过的逐位相同。"""
    ended = place.train(engine, "a", **EVALUATED, patience=2)
    assert (ended.code, ended.error) == (0, [])
    assert "stopped early after step 8" in ended.err
    assert load_checkpoint(place.runs / "a").step == 8 == len(place.curve("a"))
    marker = json.loads((place.runs / "a" / "early_stop.json").read_text())
    assert marker == {"step": 8, "best_step": 4, "best_loss": 3.0, "stale": 2}
    assert (place.runs / "a" / "report.html").exists()
    ended = place.resume(engine, "a")
    assert (ended.code, len(ended.error)) == (2, 3)
    assert "stopped early" in ended.error[0]
    assert place.resume(engine, "a", patience=4).code == 0
    assert not (place.runs / "a" / "early_stop.json").exists()
    assert place.train(engine, "straight", **EVALUATED).code == 0
    assert place.columns("a") == place.columns("straight")
    assert_bit_equal(place.tensors("a"), place.tensors("straight"))


def test_interrupted_patience_is_counted_anew(place: Place, losses: None) -> None:
    """没有进步的次数经过续训接着数；--stop-at 额外的一次评估不算。"""
    assert place.train("numpy", "a", **EVALUATED, patience=2, stop_at=5).code == 0
    assert place.resume("numpy", "a", stop_at=7).code == 0
    assert place.resume("numpy", "a").code == 0
    assert load_checkpoint(place.runs / "a").step == 8


@pytest.mark.parametrize("during", ["step", "evaluation"])
@pytest.mark.parametrize("engine", ENGINES)
def test_signal_waits_for_the_evaluation(
    place: Place, monkeypatch: pytest.MonkeyPatch, engine: str, during: str
) -> None:
    """信号在该评估的一步里、或评估途中到来：先存档，评估与样本留给续训；日志里各有一次，与从未打断的一样。"""
    often = {"eval_every": 3, "sample_every": 3, "save_every": 0}
    assert place.train(engine, "straight", **often).code == 0
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_Loop", interrupted_at(6, during))
        ended = place.train(engine, "a", **often)
    assert ended.code == 143, ended
    records = read_metrics(place.runs / "a")
    assert [r["step"] for r in records if "val_loss" in r] == [2]
    assert load_checkpoint(place.runs / "a").state["owed"] == ["evaluate", "sample"]
    assert place.resume(engine, "a").code == 0
    shown = [
        [(r["step"], r.get("loss"), r.get("val_loss")) for r in read_metrics(place.runs / run)]
        for run in ("a", "straight")
    ]
    assert shown[0] == shown[1]
    assert read_samples(place.runs / "a") == read_samples(place.runs / "straight")
    assert_bit_equal(place.tensors("a"), place.tensors("straight"))
    states = [load_checkpoint(place.runs / run).state for run in ("a", "straight")]
    assert [state["standing"] for state in states] == [states[0]["standing"]] * 2


def interrupted_at(step: int, during: str) -> Any:
    """训练循环的替身：第 ``step`` 步之后该评估时，信号到了；或在那次评估的第一批之前到。"""
    plain = loop._Loop

    class Interrupted(plain):  # type: ignore[misc, valid-type]
        def one_step(self, at: int, batches: Any) -> None:
            super().one_step(at, batches)
            if during == "step" and at + 1 == step:
                self.stop.requested = 15

        def evaluate(self, at: int, *, must: bool) -> Any:
            def halfway(*arguments: Any, **named: Any) -> Any:
                if at == step:
                    self.stop.requested = 15
                return evaluate(*arguments, **named)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(loop, "evaluate", halfway)
                return super().evaluate(at, must=must)

    return Interrupted


def test_prompts_are_ignored(place: Place) -> None:
    """每个开头一段样本，以它开头；不给开头时从头写起。"""
    prompts = ["the cat", "on a hill"]
    flags = place.flags("a", {"steps": 4})
    assert place.call("numpy", "train", *flags, "--sample-prompts", *prompts).code == 0
    ((step, text),) = read_samples(place.runs / "a")
    assert step == 3
    assert all(part.startswith(prompt) for part, prompt in zip(text.split("\n\n"), prompts, strict=False))
    assert place.resume("torch", "a", steps=6).code == 0
    assert read_samples(place.runs / "a")[1][1].startswith("the cat")
