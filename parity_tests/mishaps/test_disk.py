"""磁盘：满了、只读、没有权限。开训之前就看得出的，什么也不写；半路上的，训练不停，先前的检查点完好。

故障在进程内注入（``disk_usage`` 与 ``fsync``），处处可测；能挂载的机器上，另在一个真的很小的盘上再走一遍。
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, assert_bit_equal, can_mount
from tinygrad_llm.common import files
from tinygrad_llm.common.checkpoint import list_checkpoints, load_checkpoint
from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.train import NumpyEngine

DATA = 4
OFTEN = {"save_every": 4, "keep": 9}


def nothing_half_written(place: Place) -> None:
    """没有临时文件，剩下的检查点个个能载入。"""
    assert not [name for name in place.contents() if ".tmp-" in name or ".old-" in name]
    for run in place.runs.iterdir():
        for step in list_checkpoints(run):
            load_checkpoint(run / "checkpoints" / f"step_{step:06d}")


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], None]]], None]:
    """在 NumPy 引擎的某些步之前做一件事。"""
    plain = NumpyEngine.train_step

    def install(events: dict[int, Callable[[], None]]) -> None:
        def train_step(self: NumpyEngine, step: int, *arguments: Any) -> StepResult:
            events.get(step, lambda: None)()
            return plain(self, step, *arguments)

        monkeypatch.setattr(NumpyEngine, "train_step", train_step)

    return install


class Disk:
    """一块会满的盘。

    Attributes:
        is_full: 满时剩余空间报 1000 字节，落盘报 ENOSPC。
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        usage, fsync = shutil.disk_usage, os.fsync

        def disk_usage(path: Any) -> Any:
            return usage(path)._replace(free=1000) if self.is_full else usage(path)

        def failing_fsync(descriptor: int) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        monkeypatch.setattr(os, "fsync", failing_fsync)

    def fill(self) -> None:
        """满了。"""
        self.is_full = True

    def free(self) -> None:
        """又有空间了。"""
        self.is_full = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """一块还没满的盘。"""
    return Disk(monkeypatch)


@pytest.mark.parametrize("engine", ENGINES)
def test_run_starts_on_a_full_disk(place: Place, disk: Disk, engine: str) -> None:
    """剩余空间放不下检查点：开训之前就拒绝，说出要多少、有多少，什么也不写。"""
    disk.fill()
    ended = place.train(engine, "a")
    assert ended.code == DATA
    assert len(ended.err.splitlines()) == 3
    assert "not enough disk space" in ended.error[0]
    assert "1,000 free" in ended.error[0]
    assert str(place.runs / "a") in ended.error[1]
    assert "--keep" in ended.error[2]
    assert "--runs-dir" in ended.error[2]
    assert place.contents() == {}


def test_full_disk_stops_the_training(place: Place, disk: Disk, at_step: Any) -> None:
    """第 5 步起盘满：训练走完，末尾存不下才以 4 退出；第 4 步的检查点完好，腾出空间就能接着走。"""
    assert place.train("numpy", "straight", **OFTEN).code == 0
    at_step({5: disk.fill})
    ended = place.train("numpy", "a", **OFTEN)
    assert ended.code == DATA
    assert [line for line in ended.err.splitlines() if line.startswith("warning: step 8: ")]
    assert "training goes on" in ended.err
    assert "step=12/12" in ended.err
    assert len(ended.error) == 3
    assert load_checkpoint(place.runs / "a").step == 4
    nothing_half_written(place)
    disk.free()
    assert place.resume("torch", "a").code == 0
    assert load_checkpoint(place.runs / "a").step == 12


def test_short_shortage_leaves_a_gap(place: Place, disk: Disk, at_step: Any) -> None:
    """第 5 到第 9 步盘满、后来又有空间：只少一个检查点，结果与从未满过的一样。"""
    assert place.train("numpy", "straight", **OFTEN).code == 0
    at_step({5: disk.fill, 9: disk.free})
    assert place.train("numpy", "a", **OFTEN).code == 0
    assert list_checkpoints(place.runs / "a") == [4, 12]
    assert place.columns("a") == place.columns("straight")
    assert_bit_equal(place.tensors("a"), place.tensors("straight"))
    nothing_half_written(place)


def fsync_failing_after(count: int) -> Callable[[int], None]:
    """前 ``count`` 次照常，之后每一次都超配额。"""
    fsync, calls = os.fsync, iter(range(count))

    def limited(descriptor: int) -> None:
        if next(calls, None) is None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        fsync(descriptor)

    return limited


@pytest.mark.parametrize("engine", ENGINES)
def test_failed_save_spoils_the_previous_checkpoint(place: Place, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """续训在任何一个落盘处失败：退出码 4，先前的检查点一个字节也不变，不留临时文件。"""
    assert place.train(engine, "base", stop_at=6).code == 0
    saved = place.tensors("base")
    for places in range(99):
        run = f"at{places}"
        shutil.copytree(place.runs / "base", place.runs / run)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync_failing_after(places))
            ended = place.resume(engine, run, stop_at=7)
        if ended.code == 0:
            break
        assert (ended.code, len(ended.error)) == (DATA, 3), ended
        nothing_half_written(place)
        if load_checkpoint(place.runs / run).step == 6:
            assert_bit_equal(place.tensors(run), saved)
    assert places > 8, "a save has more places than this that can fail"


def test_full_disk_while_reporting_is_a_traceback(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """训练已经存好，报告写不下：退出码 4，说出报告的路径，检查点完好。"""
    write = files.write_atomically

    def no_report(path: Path, data: bytes) -> None:
        if path.name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr("tinygrad_llm.common.report.write_atomically", no_report)
    ended = place.train("numpy", "a")
    assert ended.code == DATA
    assert "report.html" in ended.error[1]
    assert load_checkpoint(place.runs / "a").step == 12


# ---- 真的盘 ----


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """一个 4 MiB 的盘；不能挂载的机器上跳过。"""
    target = tmp_path / "disk"
    target.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(target)]
    if not can_mount() or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def occupy(filler: Path, left: int) -> None:
    """占满盘上的空间，只留 ``left`` 字节。"""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 1000):
            pass
    os.truncate(filler, filler.stat().st_size - left)


@pytest.mark.parametrize("left", [0, 100, 5000])
def test_really_full_disk_costs_more_than_a_checkpoint(place: Place, small_disk: Path, at_step: Any, left: int) -> None:
    """第 5 步时盘被占满，日志也写不进去：训练不停；后来腾出空间，日志补齐，一步不缺。"""
    changes = {"save_every": 10, "steps": 60, "keep": 1}
    assert place.train("numpy", "straight", **changes).code == 0
    straight = place.columns("straight"), place.tensors("straight")
    place.runs, filler = small_disk, small_disk / "filler"
    at_step({5: lambda: occupy(filler, left), 55: filler.unlink})
    ended = place.train("numpy", "a", **changes)
    assert ended.code == 0
    assert ended.err.count("the log is kept in memory") == 1, "a page of log fits into 50 steps, so it must run out"
    assert ended.err.count("the next save tries again") == 5
    assert place.columns("a") == straight[0]
    assert_bit_equal(place.tensors("a"), straight[1])
    nothing_half_written(place)


def test_really_full_disk_ends_without_a_message(place: Place, small_disk: Path, at_step: Any) -> None:
    """盘一直满到末尾：退出码 4，第 4 步的检查点完好，腾出空间后续训与从未满过的一样。"""
    assert place.train("numpy", "straight", **OFTEN).code == 0
    straight = place.columns("straight"), place.tensors("straight")
    place.runs, filler = small_disk, small_disk / "filler"

    events = {5: lambda: occupy(filler, 0)}
    at_step(events)
    ended = place.train("numpy", "a", **{**OFTEN, "keep": 2})
    assert (ended.code, len(ended.error)) == (DATA, 3), ended
    assert str(small_disk / "a") in ended.error[1]
    assert load_checkpoint(place.runs / "a").step == 4
    filler.unlink()
    events.clear()
    nothing_half_written(place)
    assert place.resume("numpy", "a").code == 0
    assert place.columns("a") == straight[0]
    assert_bit_equal(place.tensors("a"), straight[1])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_a_traceback(place: Place) -> None:
    """--runs-dir 没有写权限：退出码 4，说出路径，什么也不写。"""
    place.runs.mkdir()
    place.runs.chmod(0o500)
    ended = place.train("numpy", "a")
    assert (ended.code, len(ended.err.splitlines())) == (DATA, 3)
    assert "Permission denied" in ended.error[0]
    assert str(place.runs / "a") in ended.error[1]
    assert place.contents() == {}


def test_read_only_disk_is_a_traceback(place: Place, small_disk: Path) -> None:
    """--runs-dir 在只读的盘上：退出码 4，说出路径，什么也不写；续训也一样。"""
    place.runs = small_disk
    assert place.train("numpy", "old", stop_at=6).code == 0
    before = place.contents()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for ended in (place.train("numpy", "a"), place.resume("numpy", "old")):
        assert (ended.code, len(ended.err.splitlines())) == (DATA, 3), ended
        assert "Read-only file system" in ended.error[0]
        assert str(small_disk) in ended.error[1]
    assert place.contents() == before
