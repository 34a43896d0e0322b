"""全程的骨架：次序、续走、基线、报告、摘要；各站真的走一遍在长测里。

流入：编的站；流出：记录、打印、退出码里不对的地方。
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity_tests.journey.network import GUARD, NAMESPACE, has_namespaces, run_blocked
from parity_tests.journey.same import differences
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


@pytest.mark.parametrize("how", [NAMESPACE, GUARD])
def test_the_blocked_network_is_open(tmp_path: Path, how: str) -> None:
    """断了网的进程或它的子进程还连得到外面，或连不上本机：长测就证明不了什么。"""
    if how == NAMESPACE and not has_namespaces():
        pytest.skip("this kernel gives no network namespaces to plain users")
    asked = (
        "import socket, subprocess, sys\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname(), 5).close()\n"
        "try:\n"
        "    socket.create_connection(('192.0.2.1', 80), 5)\n"  # 留给文档用的地址，没有主机
        "except OSError as error:\n"
        "    print('refused', error.errno)\n"
        "if len(sys.argv) < 2:\n"
        "    subprocess.run([sys.executable, __file__, 'child'])\n"
    )
    script = tmp_path / "asks.py"
    script.write_text(asked)
    found = run_blocked([str(script)], tmp_path / "site", how)
    assert found.stdout.split() == ["refused", "101"] * 2, found.stderr


def test_a_changed_figure_passes_for_the_same(tmp_path: Path) -> None:
    """两次全程差一个末位、少一条记录或权重不同，比下来却说相同；只有时间不同的说成不同。"""
    for name, loss, time_s in (("a", 0.1 + 0.2, 1.0), ("b", 0.3, 1.0), ("c", 0.1 + 0.2, 9.0)):
        run = tmp_path / name / "base" / "checkpoints" / "step_000001"
        run.mkdir(parents=True)
        (run / "model.safetensors").write_bytes(b"weights")
        record = json.dumps({"step": 0, "loss": loss, "elapsed_s": time_s})
        (tmp_path / name / "base" / "metrics.jsonl").write_text(record + "\n")
    assert differences(tmp_path / "a", tmp_path / "c") == (3, [])
    assert len(differences(tmp_path / "a", tmp_path / "b")[1]) == 1
    (run / "model.safetensors").write_bytes(b"other")
    assert len(differences(tmp_path / "a", tmp_path / "c")[1]) == 1


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_a_small_journey_does_not_arrive(tmp_path: Path, engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """每一站都小得很，断了网：走得完，结果写全；再走一遍（另一个文件夹），每个数、每个权重都逐位相同。"""
    how = NAMESPACE if has_namespaces() else GUARD
    for run in ("one", "two"):
        words = ["-m", "parity_tests.journey.small", engine, run, str(tmp_path)]
        found = run_blocked(words, tmp_path / "site", how)
        assert not found.returncode, found.stdout + found.stderr
        record = json.loads((tmp_path / run / "journey.json").read_bytes())
        assert list(record["stages"]) == ORDER
        assert (tmp_path / run / "report.html").is_file()
    count, wrong = differences(tmp_path / "one", tmp_path / "two")
    assert not wrong, wrong[:20]
    assert count > 1000
    with capsys.disabled():
        print(f"\njourney on {engine}: network blocked by a {how}; {count:,} figures and weights equal in two runs")
