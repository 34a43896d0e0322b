"""续训是精确的：停在哪一步、换多大的微批、有没有 dropout，接起来都与从未停过的逐位相同。"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal, furthest, text_of
from tinygrad_llm.common.checkpoint import list_checkpoints
from tinygrad_llm.common.runlog import read_metrics, read_samples

SAVE_EVERY = 5
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "dropout and micro-batches": {"dropout": 0.3, "accumulate": 2},
    "Llama, float64": {"preset": "toy-llama", "n_kv_head": 1, "dtype": "float64"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_run_differs_from_the_unbroken_one(place: Place, engine: str, case: str) -> None:
    """停在存档点上（5）与存档点之间（7），续完后日志、权重与两个矩逐位相同。"""
    changes = {"save_every": SAVE_EVERY, **CASES[case]}
    place.assert_resuming_changes_nothing(engine, (5, 7), **changes)


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_after_the_checkpoint_stay_in_the_log(place: Place, engine: str) -> None:
    """从较早的检查点接着走：之后的旧记录被换掉，日志与样本里没有一步出现两次。"""
    often = {"save_every": SAVE_EVERY, "eval_every": 3, "sample_every": 3}
    assert place.train(engine, "straight", **often).code == 0
    assert place.train(engine, "back", **often).code == 0
    (place.runs / "back" / "latest").write_text("step_000010\n")
    with (place.runs / "back" / "metrics.jsonl").open("ab") as log:
        log.write(b'{"step": 12, "lo')  # 写到一半断电
    assert place.resume(engine, "back").code == 0
    assert place.columns("back") == place.columns("straight")
    records = [read_metrics(place.runs / run) for run in ("back", "straight")]
    kept = [[(r["step"], r["val_loss"]) for r in found if "val_loss" in r] for found in records]
    assert kept[0] == kept[1]
    assert read_samples(place.runs / "back") == read_samples(place.runs / "straight")


@pytest.mark.parametrize("engine", ENGINES)
def test_run_without_a_checkpoint_cannot_be_resumed(place: Place, engine: str) -> None:
    """还没存过检查点就断了的运行，续训从第 0 步重来，结果与从未中断的一样。"""
    assert place.train(engine, "straight").code == 0
    assert place.train(engine, "early").code == 0
    run = place.runs / "early"
    (run / "latest").unlink()
    for path in sorted((run / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert place.resume(engine, "early").code == 0
    assert place.columns("early") == place.columns("straight")
    assert_bit_equal(place.tensors("early"), place.tensors("straight"))


def test_lost_pointer_loses_the_run(place: Place) -> None:
    """第一次保存恰在移动 latest 之前被杀：检查点已经完整，续训找得到它。"""
    assert place.train("numpy", "straight").code == 0
    assert place.train("numpy", "lost", stop_at=7).code == 0
    (place.runs / "lost" / "latest").unlink()
    ended = place.resume("numpy", "lost")
    assert ended.code == 0
    assert "step=8/12" in ended.err, "the run began again from step 0"
    assert_bit_equal(place.tensors("lost"), place.tensors("straight"))


@pytest.mark.parametrize("engine", ENGINES)
def test_micro_batches_change_the_result(place: Place, engine: str) -> None:
    """每步切成 1、2、4 个微批，损失与权重相同：损失除以整个批次的 token 数，而不是各微批均值的均值。"""
    for accumulate in (1, 2, 4):
        assert place.train(engine, str(accumulate), accumulate=accumulate, dtype="float64").code == 0
    for run in ("2", "4"):
        for column in ("loss", "grad_norm"):
            np.testing.assert_allclose(place.curve(run, column), place.curve("1", column), rtol=1e-10)
        assert furthest(place.tensors(run), place.tensors("1")) <= 1e-9


def test_settings_are_forgotten_on_resume(place: Place) -> None:
    """续训沿用原来的全部设置，只有命令行上给出的例外；--stop-at 与 --resume 不带到下一次。"""
    assert place.train("numpy", "a", lr=1e-3, keep=3, save_every=2, stop_at=4).code == 0
    assert place.resume("numpy", "a", steps=14).code == 0
    config = (place.runs / "a" / "config.toml").read_text(encoding="utf-8")
    for line in ("lr = 0.001", "keep = 3", "steps = 14", "resume = false"):
        assert line in config.splitlines()
    assert "stop_at" not in config
    assert list_checkpoints(place.runs / "a") == [10, 12, 14]
    assert len(place.curve("a")) == 14


def test_finished_run_cannot_be_extended(place: Place) -> None:
    """跑完的运行可以再加步数，学习率按新的总步数安排。"""
    assert place.train("numpy", "a").code == 0
    assert place.resume("numpy", "a", steps=18).code == 0
    assert [row[0] for row in place.columns("a")] == list(range(18))
    assert place.curve("a", "lr")[-1] == pytest.approx(1e-4)


def test_moved_run_cannot_be_resumed(place: Place) -> None:
    """运行文件夹改了名、搬了家，仍能续训。"""
    assert place.train("numpy", "straight").code == 0
    assert place.train("numpy", "old", stop_at=6).code == 0
    elsewhere = place.runs.with_name("elsewhere")
    elsewhere.mkdir()
    (place.runs / "old").rename(elsewhere / "new")
    place.runs, before = elsewhere, place.runs
    assert place.resume("numpy", "new").code == 0
    found = place.columns("new"), place.tensors("new")
    place.runs = before
    assert found[0] == place.columns("straight")
    assert_bit_equal(found[1], place.tensors("straight"))


def test_other_text_continues_the_run(place: Place, tmp_path: Path) -> None:
    """语料文件在中断之后被改过：续训拒绝，并说出是哪个文件；改回来就能接着走。"""
    assert place.train("numpy", "a", stop_at=6).code == 0
    before = place.corpus.read_text(encoding="utf-8"), place.contents()
    place.corpus.write_text(text_of(150, seed=1), encoding="utf-8")
    ended = place.resume("numpy", "a")
    assert ended.code == 4
    assert "the text has changed" in ended.error[0]
    assert str(place.corpus) in ended.error[1]
    assert place.contents() == before[1]
    place.corpus.write_text(before[0], encoding="utf-8")
    assert place.resume("numpy", "a").code == 0
