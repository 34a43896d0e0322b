"""``report``：一次运行的三份报告，两次运行的对照；``--tensorboard`` 的文件读得回来。"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parity_tests.common.test_report import HOSTILE, assert_self_contained
from parity_tests.whole_runs.commands import ENGINES, Place
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.runlog import read_metrics, read_sessions
from tinygrad_llm.common.work import step_flops

USAGE, DATA = 2, 4


def report(place: Place, engine: str, *names: str, **changes: Any) -> Any:
    """跑 ``report``。"""
    flags = [f"--{name}={value}" for name, value in changes.items()]
    return place.call(engine, "report", *names, f"--runs-dir={place.runs}", *flags)


@pytest.mark.parametrize("engine", ENGINES)
def test_report_differs_from_the_log(place: Place, engine: str) -> None:
    """JSON 里的数字与日志、设置、工作量的公式一致；网页与 Markdown 里有同样的数。"""
    assert place.train(engine, "a", eval_every=4).code == 0
    ended = report(place, engine, "a")
    assert (ended.code, ended.out) == (0, f"report: {place.runs / 'a' / 'report.html'}\n")
    summary = json.loads((place.runs / "a" / "report.json").read_text(encoding="utf-8"))
    metrics = read_metrics(place.runs / "a")
    losses = [r["loss"] for r in metrics if "loss" in r]
    evaluations = {r["step"] + 1: r["val_loss"] for r in metrics if "val_loss" in r}
    assert (summary["run"], summary["steps"], summary["final"]["loss"]) == ("a", 12, losses[-1])
    assert summary["best"]["val_loss"] == min(evaluations.values()) == evaluations[summary["best"]["step"]]
    assert summary["guard"] == {"non_finite": 0, "spikes": 0, "rollbacks": 0, "skipped_batches": []}
    model = GPTConfig(vocab_size=300, context=16, n_layer=1, n_head=2, n_embd=32)
    assert summary["cost"]["tokens"] == 12 * 4 * 16
    assert summary["cost"]["flops"] == 12 * step_flops(model, 4)
    assert summary["cost"]["training_s"] == pytest.approx(sum(r["elapsed_s"] for r in metrics if "loss" in r))
    for record in metrics:
        if "loss" in record:
            flops_per_s = step_flops(model, 4) / record["elapsed_s"]
            assert record["mfu"] == pytest.approx(flops_per_s / summary["cost"]["peak_flops_per_s"])
    (session,) = summary["sessions"]
    assert (session["engine"], session["step"]) == (engine, 0)
    assert {"platform", "numpy"} <= session["hardware"].keys()
    html = assert_self_contained((place.runs / "a" / "report.html").read_text(encoding="utf-8")).text
    text = (place.runs / "a" / "report.md").read_text(encoding="utf-8")
    for fragment in (f"{losses[-1]:.4f}", f"{min(evaluations.values()):.4f}", "tokens/s", "尖峰，跳过的步"):
        assert fragment in html
        assert fragment in text


def test_report_forgets_what_the_guard_did(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """跳过的步数、绕开的批次、提前停下，报告里都有；检查点之后跳过的也算。"""
    assert place.train("numpy", "a").code == 0
    run = place.runs / "a"
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(
            '{"step": 12, "loss": "nan", "skipped": "non-finite"}\n{"step": 13, "loss": 9.0, "skipped": "spike"}\n'
        )
    (run / "early_stop.json").write_text('{"step": 12, "best_step": 8, "best_loss": 5.0, "stale": 2}')
    assert report(place, "numpy", "a").code == 0
    guard = json.loads((run / "report.json").read_text(encoding="utf-8"))["guard"]
    assert (guard["non_finite"], guard["spikes"]) == (1, 1)
    assert "在第 12 步提前停下" in (run / "report.md").read_text(encoding="utf-8")


def test_two_runs_are_compared_wrongly(place: Place) -> None:
    """对照：只列不同的设置，差是后者减前者；每步的 token 数不同时另画一张以 token 为横轴的图。"""
    assert place.train("numpy", "a").code == 0
    assert place.train("torch", "b", lr=2e-3, batch_size=8).code == 0
    ended = report(place, "torch", "a", "b", out=str(place.runs / "both"))
    path = place.runs / "both" / "compare-a-b.html"
    assert (ended.code, ended.out) == (0, f"report: {path}\n")
    content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    different = content["different_settings"]
    assert different["lr"] == ["0.001", "0.002"]
    assert different["batch_size"] == ["4", "8"]
    assert "seed" not in different
    assert "run" not in different
    outline = assert_self_contained(path.read_text(encoding="utf-8"))
    losses = [one["final"]["loss"] for one in content["runs"]]
    for fragment in ("a 与 b", "横轴是 token", f"{losses[0]:,.6g}", f"{losses[1] - losses[0]:,.6g}"):
        assert fragment in outline.text
    assert f"| 最后的训练损失 | {losses[0]:,.6g} | {losses[1]:,.6g} |" in path.with_suffix(".md").read_text(
        encoding="utf-8"
    )


def test_hostile_sample_escapes_in_markdown(place: Place) -> None:
    """样本里的记号在 Markdown 里也原样显示；一行竖线不拆表。"""
    assert place.train("numpy", "a", steps=2).code == 0
    with (place.runs / "a" / "samples.txt").open("a", encoding="utf-8") as samples:
        samples.write(f"=== step 2 ===\n  {HOSTILE}\n  ```\n  # title\n")
    assert report(place, "numpy", "a").code == 0
    lines = (place.runs / "a" / "report.md").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("    ") for line in lines if "script>" in line or "# title" in line)


def test_wrong_names_are_tracebacks(place: Place) -> None:
    """没有这个运行、同一个运行、三个运行、空文件夹：三行以内的消息，什么也不写。"""
    assert place.train("numpy", "a", steps=2).code == 0
    (place.runs / "empty").mkdir()
    before = place.contents()
    for names, code in [
        (("x",), USAGE),
        (("a", "a"), USAGE),
        (("a", "a", "a"), USAGE),
        (("empty",), DATA),
        ((), USAGE),
    ]:
        ended = report(place, "numpy", *names)
        assert (ended.code, len(ended.err.splitlines()) <= 3) == (code, True), ended
    assert place.contents() == before


# ---- TensorBoard ----


def records(path: Path) -> Iterator[bytes]:
    """TFRecord 里的各条内容；校验由 ``test_tensorboard`` 另查。"""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def test_tensorboard_lacks_a_curve_or_comes_unasked(place: Place) -> None:
    """要了才写；每一步的损失、每次评估都在，续训另开一个文件并作废旧的后半段。"""
    assert place.train("numpy", "plain", steps=2).code == 0
    assert not (place.runs / "plain" / "tensorboard").exists()
    assert place.train("numpy", "a", tensorboard=True, stop_at=6).code == 0
    assert place.resume("torch", "a").code == 0
    first, second = sorted((place.runs / "a" / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert sum(b"training/loss" in record for record in records(first)) == 6
    assert sum(b"training/loss" in record for record in records(second)) == 6
    assert sum(b"validation/val_bits_per_byte" in record for record in records(second)) == 1
    assert len(read_sessions(place.runs / "a")) == 2
    losses = [r["loss"] for r in read_metrics(place.runs / "a") if "loss" in r]
    for loss, record in zip(losses, (r for r in records(first) if b"training/loss" in r), strict=False):
        assert struct.pack("<f", loss) in record
