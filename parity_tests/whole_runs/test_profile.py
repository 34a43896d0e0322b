"""``--profile``：训练途中剖析一步，训练本身一个比特也不变。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal
from tinygrad_llm.common.profiling import WARM_UP
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.train_config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def _spans(path: Path) -> list[dict[str, Any]]:
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return [event for event in events if event["ph"] == "X"]


@pytest.mark.parametrize("engine", ENGINES)
def test_profiled_run_differs_from_the_plain_one(place: Place, tmp_path: Path, engine: str) -> None:
    """剖析过的训练与没有剖析的差了一个比特；trace 或表没有写出；下次续训又剖析一遍。"""
    path = tmp_path / "deep" / "trace.json"
    assert place.train(engine, "plain", dropout=0.2).code == 0
    ended = place.train(engine, "watched", dropout=0.2, profile=path, stop_at=WARM_UP + 3)
    assert ended.code == 0
    assert f"profile of step {WARM_UP}:" in ended.out
    assert f"trace: {path}" in ended.out
    assert load_toml(place.runs / "watched" / "config.toml", TrainConfig).profile is None
    assert "profile of step" not in place.resume(engine, "watched").out
    assert place.columns("watched") == place.columns("plain")
    assert_bit_equal(place.tensors("watched"), place.tensors("plain"))
    spans = _spans(path)
    assert [span["name"] for span in spans].count("train_step") == 1
    assert any("Backward" in span["name"] for span in spans)
    assert any("AdamW.step" in span["name"] for span in spans)


@pytest.mark.fused  # 找的是融合算子的名字
def test_table_names_what_a_step_costs(place: Place, tmp_path: Path) -> None:
    """表里少了一类开销，或没有内存的一张。"""
    out = place.train("numpy", "watched", profile=tmp_path / "trace.json").out
    for word in ("linear", "attention", "Optimizer.step#AdamW.step", "Forward ms", "GFLOP/s", "Held", "at the peak"):
        assert word in out, word


def test_short_run_profiles_its_last_step(place: Place, tmp_path: Path) -> None:
    """步数不到预热之后，就什么也没有剖析。"""
    path = tmp_path / "trace.json"
    assert "profile of step 1:" in place.train("numpy", "short", steps=2, warmup_steps=1, profile=path).out
    assert _spans(path)


def test_interrupted_run_still_prints_its_table(place: Place, tmp_path: Path) -> None:
    """训练发散退出时，已经剖析好的表没有印出来。"""
    ended = place.train("numpy", "wild", lr=1e30, steps=40, profile=tmp_path / "trace.json")
    assert ended.code != 0
    assert f"profile of step {WARM_UP}:" in ended.out


@pytest.mark.parametrize("engine", ENGINES)
def test_trace_that_cannot_be_written_is_refused(place: Place, tmp_path: Path, engine: str) -> None:
    """trace 写不下去，训练了半天才发现。"""
    for path in (tmp_path, place.corpus / "trace.json"):
        ended = place.train(engine, "refused", profile=path)
        assert (ended.code, ended.out) == (2, "")
        assert f"--profile {path}" in ended.err
        assert not place.runs.exists()


def test_full_disk_spoils_only_the_trace(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """trace 写到一半盘满，训练跟着失败。"""

    def fails(self: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinygrad_llm.profiler.profiler.profile.export_chrome_trace", fails)
    ended = place.train("numpy", "full", profile=tmp_path / "trace.json")
    assert ended.code == 0
    assert "warning: the trace could not be written" in ended.out
