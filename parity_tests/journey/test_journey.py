"""全程的骨架：次序、续走、基线、报告、摘要；各站真的走一遍在长测里。

流入：编的站；流出：记录、打印、退出码里不对的地方。
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.journey import command, settings
from tinygrad_llm.common.journey.report import LABELS, write_report
from tinygrad_llm.common.journey.runner import (
    Found,
    Stage,
    Trip,
    above,
    at_least,
    at_most,
    below,
    travel,
)
from tinygrad_llm.common.journey.settings import JourneyConfig, NumpyJourneyConfig
from tinygrad_llm.common.journey.stages_choice import CHOICE_STAGES
from tinygrad_llm.common.journey.stages_model import MODEL_STAGES

ORDER = [
    "clean", "tokenizer", "pretrain", "midtrain", "sft", "lora", "dpo", "grpo", "quantise", "evaluate", "redteam",
    "serve",
]  # fmt: skip


def config(tmp_path: Path, **given: Any) -> JourneyConfig:
    """写在临时文件夹里的全程。"""
    return JourneyConfig(runs_dir=str(tmp_path), **given)


def stage(name: str, seen: list[str], *, fails: bool = False, value: float = 2.0) -> Stage:
    """记下自己走过的一站。"""

    def work(trip: Trip) -> Found:
        seen.append(name)
        if fails:
            raise UserError("broken", where=name)
        return Found((above("bits per byte", value, 1.0, "of a stage"),), {"数": "1"}, {"文": "<b>text</b>"})

    return Stage(name, name.title(), "一句话", work)


def test_a_finished_stage_is_walked_again(tmp_path: Path) -> None:
    """第二站坏了一次：再走时从第二站起，第一站不重做，结果还在。"""
    seen: list[str] = []
    with pytest.raises(UserError, match="broken"):
        travel(config(tmp_path), [stage("a", seen), stage("b", seen, fails=True)])
    record = travel(config(tmp_path), [stage("a", seen), stage("b", seen), stage("c", seen)])
    assert seen == ["a", "b", "b", "c"]
    assert list(record["stages"]) == ["a", "b", "c"]
    assert json.loads((tmp_path / "journey" / "journey.json").read_bytes()) == record


def test_until_walks_too_far(tmp_path: Path) -> None:
    """走到说好的一站为止；没有那一站就在开走之前说。"""
    seen: list[str] = []
    stages = [stage(name, seen) for name in "abc"]
    travel(config(tmp_path, until="b"), stages)
    assert seen == ["a", "b"]
    with pytest.raises(UserError, match="no stage 'x'"):
        travel(config(tmp_path, until="x"), stages)


def test_another_journey_is_continued(tmp_path: Path) -> None:
    """种子不同的全程不能接着走。"""
    travel(config(tmp_path), [stage("a", [])])
    with pytest.raises(UserError, match="other settings"):
        travel(config(tmp_path, seed=1), [stage("a", [])])


def test_a_bound_is_read_the_wrong_way() -> None:
    """四种比较，恰好等于界限时该算达到的才算。"""
    checks = [compare("x", value, 1.0).is_met for compare in (above, below, at_least, at_most) for value in (0.5, 1, 2)]
    assert checks == [False, False, True, True, False, False, False, True, True, True, True, False]


def test_a_missed_baseline_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """有一条没达到：走完、写好报告，以退出码 1 结束，说出是哪一条。"""
    stages = (stage("a", [], value=0.5),)
    monkeypatch.setattr("tinygrad_llm.common.journey.stages_model.MODEL_STAGES", stages)
    monkeypatch.setattr("tinygrad_llm.common.journey.stages_choice.CHOICE_STAGES", ())
    with pytest.raises(command.MissedError, match="bits per byte") as caught:
        command.main(config(tmp_path))
    assert caught.value.exit_code == 1
    assert "否" in (tmp_path / "journey" / "report.html").read_text(encoding="utf-8")


def test_the_report_hides_a_stage_or_runs_its_text(tmp_path: Path) -> None:
    """报告里每站都在，模型写的字不会变成标记。"""
    stages = [stage("a", []), stage("b", [])]
    record = travel(config(tmp_path), stages)
    html = write_report(tmp_path / "journey", record, stages).read_text(encoding="utf-8")
    assert html.count("&lt;b&gt;text&lt;/b&gt;") == 2
    assert "<b>text</b>" not in html
    assert "2 / 2" in html
    assert "每字节比特" in html


def test_a_command_that_fails_is_overlooked(tmp_path: Path) -> None:
    """命令出错：说出命令、最后几行与日志在哪里。"""
    trip = Trip(config(tmp_path))
    trip.folder.mkdir()
    trip.stage = "a"
    with pytest.raises(UserError, match="nonsense") as caught:
        trip.call("nonsense")
    assert "logs/a.log" in caught.value.where
    assert (trip.folder / "logs" / "a.log").read_text().startswith("$ python -m torch_llm nonsense\n")
    assert "usage" in trip.call("--help")


def test_the_stages_are_out_of_order() -> None:
    """从清洗到上线，一站不少；两个引擎各有大小，比的每一样都有中文名。"""
    assert [one.name for one in (*MODEL_STAGES, *CHOICE_STAGES)] == ORDER
    assert {one.package for one in settings.SCALES.values()} == {"torch_llm", "tinygrad_llm"}
    assert NumpyJourneyConfig().engine == "numpy"
    assert len(set(LABELS.values())) == len(LABELS)


@pytest.mark.full
@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_a_small_journey_does_not_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    """每一站都小得很：走得完，结果写全；再走一遍（另一个文件夹）损失逐位相同。"""
    scale = settings.SCALES[engine]
    flags = {"preset": "toy", "n-embd": 32, "n-head": 2, "n-layer": 2, "context": 256, "batch-size": 4}
    small = dataclasses.replace(
        scale,
        corpus_mb=0.3,
        shape=tuple(word for name, value in flags.items() for word in (f"--{name}", str(value))),
        quiz=8,
        steps=dict.fromkeys(scale.steps, 8),
        items=dict.fromkeys(scale.items, 120),
    )
    monkeypatch.setitem(settings.SCALES, engine, small)
    digests = set()
    for run in ("one", "two"):
        with pytest.raises(command.MissedError):  # 这么小的模型答不对题
            command.main(config(tmp_path, engine=engine, run=run, workers=1))
        record = json.loads((tmp_path / run / "journey.json").read_bytes())
        assert list(record["stages"]) == ORDER
        digests.add(record["losses_sha256"])
    assert len(digests) == 1
