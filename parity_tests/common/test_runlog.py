"""运行日志的测试：续训之后与从未中断的逐字节相同，写到一半的末行不碍事，不会覆盖别人的训练。"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common import runlog as module
from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError
from tinygrad_llm.common.runlog import RunLog, read_metrics, read_samples

VALUES = st.floats() | st.integers() | st.booleans() | st.none() | st.text().filter(lambda text: "n" not in text)
SAMPLE = "Once upon a time\n=== step 0 ===\n  indented\n\ttab\r\n"


def write_steps(log: RunLog, first: int, last: int) -> None:
    """写下一段训练：每步一行损失，每三步一次评估与样本。"""
    for step in range(first, last):
        log.metric(step=step, loss=math.exp(-step) / 3, lr=1e-3)
        if step % 3 == 0:
            log.metric(step=step, val_loss=step + 0.1)
            log.sample(step, f"{SAMPLE}{step}")


def contents(folder: Path) -> dict[str, bytes]:
    """文件夹里每个文件的字节。"""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(values=st.dictionaries(st.sampled_from(["loss", "lr", "note"]), VALUES))
def test_logged_value_reads_back_different(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """任何数字逐比特读回，NaN 与无穷在内。"""
    folder = tmp_path_factory.mktemp("run")
    with RunLog(folder / "a") as log:
        log.metric(step=3, **values)
    (found,) = read_metrics(folder / "a")
    assert repr(found) == repr({"step": 3, **values})


def test_numpy_scalar_is_refused_or_rounded(tmp_path: Path) -> None:
    """NumPy 标量照原值写下；数组与对象拒绝。"""
    with RunLog(tmp_path / "a") as log:
        log.metric(1, a=np.float32(0.1), b=np.float64(np.inf), c=np.int64(7), d=np.bool_(True))
        unloggable: list[Any] = [np.zeros(2), [1], {}]
        for value in unloggable:
            with pytest.raises(TypeError):
                log.metric(2, bad=value)
    assert read_metrics(tmp_path / "a") == [{"step": 1, "a": float(np.float32(0.1)), "b": math.inf, "c": 7, "d": True}]


@given(text=st.text())
def test_sample_reads_back_different(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """任何文字原样读回，哪怕长得像标题。"""
    folder = tmp_path_factory.mktemp("run") / "a"
    with RunLog(folder) as log:
        log.sample(0, text)
        log.sample(5, SAMPLE)
    assert read_samples(folder) == [(0, text), (5, SAMPLE)]


@pytest.mark.parametrize("checkpoint_step", [0, 1, 3, 6, 8])
def test_resumed_log_differs_from_an_unbroken_one(tmp_path: Path, checkpoint_step: int) -> None:
    """第 8 步被杀，从检查点续训：日志与从未中断的逐字节相同。"""
    with RunLog(tmp_path / "unbroken") as log:
        write_steps(log, 0, 12)
    with RunLog(tmp_path / "broken") as log:
        write_steps(log, 0, 8)
    for name in ("metrics.jsonl", "samples.txt"):  # 最后一条写到一半
        path = tmp_path / "broken" / name
        path.write_bytes(path.read_bytes() + {"metrics.jsonl": b'{"step": 8, "lo', "samples.txt": b"  torn"}[name])
    assert read_metrics(tmp_path / "broken")[-1]["step"] == 7
    with RunLog(tmp_path / "broken", resume_step=checkpoint_step) as log:
        write_steps(log, checkpoint_step, 12)
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


def test_metric_is_lost_without_close(tmp_path: Path) -> None:
    """每行立刻写出，不等关闭。"""
    log = RunLog(tmp_path / "a")
    log.metric(0, loss=1.0)
    log.sample(0, "x")
    log.sync()
    assert read_metrics(tmp_path / "a") == [{"step": 0, "loss": 1.0}]
    assert read_samples(tmp_path / "a") == [(0, "x")]
    log.close()


@pytest.mark.parametrize("trace", ["config.toml", "metrics.jsonl", "checkpoints", "latest"])
def test_existing_run_is_overwritten(tmp_path: Path, trace: str) -> None:
    """文件夹里已有一次训练：拒绝，并说出两条出路，原来的内容不动。"""
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / trace).write_text("precious")
    with pytest.raises(UserError) as caught:
        RunLog(folder)
    for fragment in (str(folder), "--resume", "--run"):
        assert fragment in str(caught.value)
    assert contents(folder) == {trace: b"precious"}


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    """空的或只有无关文件的文件夹可以用。"""
    (tmp_path / "notes.md").write_text("mine")
    with RunLog(tmp_path) as log:
        log.config('name = "中文"\n')
    assert (tmp_path / "config.toml").read_bytes() == 'name = "中文"\n'.encode()


def test_resuming_nothing_starts_a_run(tmp_path: Path) -> None:
    """要续训而那里没有训练，是用户写错了名字。"""
    with pytest.raises(UserError, match="no run to resume"):
        RunLog(tmp_path / "typo", resume_step=0)
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("line", [b"{", b"[]", b"3", b"{}", b'{"step": "3"}', b'{"step": true}', b"\xff", b"[" * 99999])
def test_damaged_middle_line_is_ignored_or_crashes(tmp_path: Path, line: bytes) -> None:
    """中间的坏行点名行号，不悄悄略过，也不丢 traceback。"""
    with RunLog(tmp_path) as log:
        write_steps(log, 0, 1)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + line + b'\n{"step": 1}\n')
    attempts: list[Callable[[], object]] = [lambda: read_metrics(tmp_path), lambda: RunLog(tmp_path, resume_step=1)]
    for attempt in attempts:
        with pytest.raises(DataError, match="line 3"):
            attempt()


def test_damaged_samples_are_ignored(tmp_path: Path) -> None:
    """样本文件被人改坏时点名行号。"""
    (tmp_path / "samples.txt").write_text("=== step 1 ===\n  ok\nnot indented\n")
    with pytest.raises(DataError, match="line 3"):
        read_samples(tmp_path)


def test_missing_log_is_a_traceback(tmp_path: Path) -> None:
    """没有 metrics.jsonl 的文件夹报 DataError。"""
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        read_metrics(tmp_path)
    assert read_samples(tmp_path) == []


class FullDisk:
    """一个写不进去的文件。"""

    name = "metrics.jsonl"

    def __init__(self, written: int | None) -> None:
        self.written = written

    def write(self, data: bytes) -> int:
        """写失败，或只写进去一部分。"""
        if self.written is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.written

    def close(self) -> None:
        """无事可做。"""


@pytest.mark.parametrize("written", [None, 3])
def test_full_disk_is_a_traceback(tmp_path: Path, written: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """日志写不进去（包括只写进半行）报 OutOfDiskError。"""
    with RunLog(tmp_path) as log:
        log._metrics.close()
        monkeypatch.setattr(log, "_metrics", FullDisk(written))
        with pytest.raises(OutOfDiskError, match=r"metrics\.jsonl"):
            log.metric(0, loss=1.0)


def test_unwritable_config_is_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """配置写不进去报 OutOfDiskError。"""

    def failing(path: Path, data: bytes) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(module, "write_atomically", failing)
    with RunLog(tmp_path) as log, pytest.raises(OutOfDiskError, match="Read-only"):
        log.config("")
