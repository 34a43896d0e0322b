"""检查点的测试：逐比特往返，一个比特的损坏也要发现，任何时刻失败或被杀都不丢先前的检查点。"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinygrad_llm.common import checkpoint as module
from tinygrad_llm.common.checkpoint import (
    Checkpoint,
    check_tensors,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from tinygrad_llm.common.errors import CheckpointError, DivergedError, OutOfDiskError
from tinygrad_llm.common.manifest import write_sealed
from tinygrad_llm.common.safetensors import encode_safetensors

Tensors = dict[str, npt.NDArray[Any]]
POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


def example(step: int) -> Checkpoint:
    """一个小检查点，内容由步数决定。"""
    rng = np.random.default_rng(step)
    weights: Tensors = {"wte": rng.standard_normal((7, 4), dtype=np.float32), "wpe": rng.standard_normal((3, 4))}
    moments: Tensors = {"wte.m": rng.standard_normal((7, 4), dtype=np.float32), "t": np.array(step, np.int64)}
    state = {"seed": 1337, "rng": rng.bit_generator.state, "lr": 0.1 + 0.2, "name": "中文", "none": None, "list": [1]}
    return Checkpoint(step, weights, moments, state)


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    """两个检查点逐比特相同。"""
    assert found.step == expected.step
    assert found.state == expected.state
    for mine, theirs in [(found.model, expected.model), (found.optim, expected.optim)]:
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            assert mine[name].shape == theirs[name].shape
            assert mine[name].tobytes() == theirs[name].tobytes()


def names(run: Path) -> set[str]:
    """运行文件夹里的所有名字，子文件夹用斜杠。"""
    return {path.relative_to(run).as_posix() for path in run.rglob("*")}


def assert_tidy(run: Path) -> None:
    """没有残留的临时文件，留下的每个检查点都能载入。"""
    assert not [name for name in names(run) if ".tmp-" in name or ".old-" in name]
    for step in list_checkpoints(run):
        assert_same(load_checkpoint(run / "checkpoints" / f"step_{step:06d}"), example(step))


# ---- 正常的一生 ----


def test_round_trip_changes_a_bit(tmp_path: Path) -> None:
    """从运行文件夹、checkpoints 文件夹、step 文件夹载入，都与保存时逐比特相同。"""
    folder = save_checkpoint(tmp_path, example(12))
    assert folder == tmp_path / "checkpoints" / "step_000012"
    for path in (tmp_path, tmp_path / "checkpoints", folder):
        assert_same(load_checkpoint(path), example(12))
    assert (tmp_path / "latest").read_text() == "step_000012\n"


def test_a_copied_step_folder_cannot_be_loaded(tmp_path: Path) -> None:
    """检查点文件夹可以改名、搬走，单独载入。"""
    folder = save_checkpoint(tmp_path / "run", example(3))
    shutil.copytree(folder, tmp_path / "best model")
    assert_same(load_checkpoint(tmp_path / "best model"), example(3))


def test_rotation_keeps_the_wrong_checkpoints(tmp_path: Path) -> None:
    """保留最近的 keep 个与最好的一个；放弃的分支先删。"""
    for step in (10, 20, 30, 40):
        save_checkpoint(tmp_path, example(step), keep=2, best=10)
    assert list_checkpoints(tmp_path) == [10, 30, 40]
    save_checkpoint(tmp_path, example(31), keep=2)
    assert list_checkpoints(tmp_path) == [30, 31]
    save_checkpoint(tmp_path, example(5), keep=1)
    assert list_checkpoints(tmp_path) == [5]
    assert_tidy(tmp_path)


def test_saving_the_same_step_again_fails(tmp_path: Path) -> None:
    """同一步再存一次，后一次生效，不留残余。"""
    save_checkpoint(tmp_path, Checkpoint(7, {"w": np.zeros(3)}))
    save_checkpoint(tmp_path, example(7))
    save_checkpoint(tmp_path, example(7))
    assert_same(load_checkpoint(tmp_path), example(7))
    assert_tidy(tmp_path)


def test_damaged_checkpoint_cannot_be_replaced(tmp_path: Path) -> None:
    """同一步的旧检查点坏了，再存一次便修好。"""
    folder = save_checkpoint(tmp_path, example(7))
    (folder / "MANIFEST.json").unlink()
    save_checkpoint(tmp_path, example(7))
    assert_same(load_checkpoint(tmp_path), example(7))


@POSIX_ONLY
def test_files_ignore_the_umask(tmp_path: Path) -> None:
    """文件的权限由 umask 决定，别人该读得到的就读得到。"""
    before = os.umask(0o027)
    try:
        folder = save_checkpoint(tmp_path / "run", example(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    for path in [*folder.iterdir(), tmp_path / "run" / "latest"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@POSIX_ONLY
def test_leftovers_of_dead_processes_stay_or_those_of_living_ones_go(tmp_path: Path) -> None:
    """只清扫死去的进程留下的临时文件；替换到一半的旧检查点放回原处。"""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    save_checkpoint(tmp_path, example(1), keep=9)
    folder = tmp_path / "checkpoints"
    (folder / f"step_000002.tmp-{dead.pid}").mkdir()
    (folder / f"step_000003.tmp-{os.getpid()}").mkdir()
    (folder / f"step_000004.tmp-{os.getppid()}").mkdir()
    (folder / "notes.tmp-1x").mkdir()
    (tmp_path / f"latest.tmp-{dead.pid}").write_text("half")
    (folder / "step_000001").rename(folder / f"step_000001.old-{dead.pid}")
    assert_same(load_checkpoint(tmp_path), example(1))  # 还没清扫，也载得出
    save_checkpoint(tmp_path, example(5), keep=9)
    left = {path.name for path in folder.iterdir()}
    assert left == {"step_000001", "step_000005", f"step_000004.tmp-{os.getppid()}", "notes.tmp-1x"}
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "latest"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_tensor_is_written(tmp_path: Path, bad: float) -> None:
    """含非有限数的张量不落盘，先前的检查点不受影响。"""
    save_checkpoint(tmp_path, example(1))
    before = names(tmp_path)
    poisoned = example(2)
    poisoned.optim["wte.m"][3, 2] = bad
    with pytest.raises(DivergedError, match=r"wte\.m"):
        save_checkpoint(tmp_path, poisoned)
    assert names(tmp_path) == before


@pytest.mark.parametrize("state", [{"loss": float("nan")}, {"big": "x" * (17 << 20)}])
def test_unloadable_state_is_written(tmp_path: Path, state: dict[str, Any]) -> None:
    """读不回来的状态拒绝写出。"""
    with pytest.raises(ValueError, match=r"JSON|exceeds"):
        save_checkpoint(tmp_path, Checkpoint(1, {}, {}, state))
    assert names(tmp_path) == set()


# ---- 坏文件 ----


def assert_refused(path: Path, named: str) -> str:
    """载入必须失败，并点名坏文件。"""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert named in caught.value.where
    assert len(message.splitlines()) <= 3
    return message


FILES = ["model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["truncated", "missing", "longer", "empty", "folder"])
def test_broken_file_is_loaded_or_not_named(tmp_path: Path, file: str, damage: str) -> None:
    """截断、缺失、变长、清空、变成文件夹，都发现并点名。"""
    path = save_checkpoint(tmp_path, example(1)) / file
    data = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(data[:-1])
    elif damage == "longer":
        path.write_bytes(data + b"\n")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "folder":
        path.mkdir()
    assert_refused(tmp_path, file)


def test_single_bit_flip_goes_unnoticed(tmp_path: Path) -> None:
    """随机翻 200 次单个比特，次次发现，并点名被翻的文件。"""
    folder = save_checkpoint(tmp_path, example(1))
    rng = random.Random(0)
    contents = {name: (folder / name).read_bytes() for name in FILES}
    for _ in range(200):
        name = rng.choice(FILES)
        raw = bytearray(contents[name])
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(raw)
        assert_refused(tmp_path, name)
        (folder / name).write_bytes(contents[name])
    assert_same(load_checkpoint(tmp_path), example(1))


def test_broken_latest_does_not_name_the_intact_one(tmp_path: Path) -> None:
    """最新的坏了，报错时指出另一个完好的；完好的也坏了，就不指。"""
    previous = save_checkpoint(tmp_path, example(1))
    newest = save_checkpoint(tmp_path, example(2))
    (newest / "state.json").unlink()
    assert str(previous) in assert_refused(tmp_path, "state.json")
    (previous / "optim.safetensors").write_bytes(b"")
    assert str(previous) not in assert_refused(tmp_path, "state.json")
    shutil.rmtree(newest)
    assert_refused(tmp_path, "step_000002")


@pytest.mark.parametrize(
    "pointer", ["", "step_000009", "../step_000001", "/etc", "step_1\n", "step_000001\nx", "\xff", "x" * 99]
)
def test_bad_pointer_is_followed(tmp_path: Path, pointer: str) -> None:
    """latest 的内容不合法，或指着不存在的检查点。"""
    save_checkpoint(tmp_path, example(1))
    (tmp_path / "latest").write_bytes(pointer.encode("latin-1"))
    assert_refused(tmp_path, "step_000009" if "9" in pointer else "latest")


def test_folder_without_checkpoints_is_a_traceback(tmp_path: Path) -> None:
    """不存在的文件夹、空文件夹、普通文件，都说清该给什么。"""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "file"):
        assert "runs/NAME" in assert_refused(path, "latest")


def resealed(folder: Path, name: str, content: bytes) -> None:
    """换掉一个文件并重写清单：摘要全对，内容却不对。"""
    contents = {file: [(folder / file).read_bytes()] for file in FILES[:3]} | {name: [content]}
    for file in FILES:
        (folder / file).unlink()
    write_sealed(folder, contents)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", b"[]"),
        ("state.json", b'{"step": 1}'),
        ("state.json", b'{"step": true, "state": {}}'),
        ("state.json", b'{"step": 1, "state": []}'),
        ("state.json", b'{"step": ' + b"[" * 100_000),
        ("state.json", b"\xff"),
        ("model.safetensors", b"not tensors"),
        ("optim.safetensors", b"\x00" * 64),
    ],
)
def test_sealed_nonsense_crashes(tmp_path: Path, name: str, content: bytes) -> None:
    """摘要对得上而内容不合法的文件，也只得到 CheckpointError。"""
    resealed(save_checkpoint(tmp_path, example(1)), name, content)
    assert_refused(tmp_path, name)


def test_non_finite_tensor_is_loaded(tmp_path: Path) -> None:
    """盘上的张量含 NaN 时拒绝载入。"""
    folder = save_checkpoint(tmp_path, example(1))
    poison = b"".join(encode_safetensors({"w": np.array([np.nan])}))
    resealed(folder, "model.safetensors", poison)
    assert "NaN" in assert_refused(tmp_path, "model.safetensors")


def test_unknown_format_version_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """将来的格式版本说清楚，而不是硬读。"""
    with monkeypatch.context() as patched:
        patched.setattr("tinygrad_llm.common.manifest.FORMAT_VERSION", 2)
        save_checkpoint(tmp_path, example(1))
    assert "format version 2" in assert_refused(tmp_path, "MANIFEST.json")


# ---- 与模型核对 ----


def test_mismatched_tensors_are_accepted() -> None:
    """缺少、多出、形状不符，一次说全，各列前几个。"""
    found = {"a": np.zeros((2, 3)), "extra": np.zeros(1), "ok": np.zeros(())}
    expected: dict[str, tuple[int, ...]] = {"a": (3, 2), "ok": (), **{f"m{i}": (1,) for i in range(5)}}
    with pytest.raises(CheckpointError) as caught:
        check_tensors(found, expected, where="model.safetensors")
    message = str(caught.value)
    for fragment in ["missing m0, m1, m2 and 2 more", "unexpected extra", "a is (2, 3) instead of (3, 2)"]:
        assert fragment in message
    assert len(message.splitlines()) == 3
    check_tensors({"a": np.zeros((2, 3))}, {"a": (2, 3)}, where="")


# ---- 失败与被杀 ----


class FailAt:
    """把一个函数包起来，第 n 次调用时抛出 OSError。"""

    def __init__(self, real: Callable[..., Any], code: int, at: int) -> None:
        self.real, self.code, self.at, self.calls = real, code, at, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """转发，或失败。"""
        self.calls += 1
        if self.calls == self.at:
            raise OSError(self.code, os.strerror(self.code), "injected")
        return self.real(*args, **kwargs)


CODES = [errno.ENOSPC, errno.EROFS, errno.EACCES, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EIO]


def saving_fails(run: Path, checkpoint: Checkpoint) -> str:
    """保存；存不下时返回消息，存下了返回空串。"""
    try:
        save_checkpoint(run, checkpoint)
    except OutOfDiskError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("again", [False, True], ids=["new step", "same step"])
@pytest.mark.parametrize("function", ["fsync", "replace", "mkdir"])
def test_failed_operation_harms_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, again: bool
) -> None:
    """让每个文件操作依次失败：先前的检查点总能载入，不留残余，消息里有路径与字节数。"""
    failures = 0
    for at in range(1, 20):
        run = tmp_path / f"{at}"
        save_checkpoint(run, example(1))
        with monkeypatch.context() as patched:
            failing = FailAt(getattr(os, function), CODES[at % len(CODES)], at)
            patched.setattr(os, function, failing)
            message = saving_fails(run, example(1 if again else 2))
        if message:
            failures += 1
            for fragment in ("step_00000", "needs 1,", "free"):
                assert fragment in message
        assert_tidy(run)
        assert load_checkpoint(run).step in ({1} if again else {1, 2})
        if failing.calls < at:
            break
    assert failures >= {"fsync": 6, "replace": 2, "mkdir": 1}[function]


@pytest.mark.parametrize("file", [1, 2])
def test_failed_write_harms_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    """写到一半盘满：半截的文件夹删掉，先前的检查点仍在；盘空出来后同一步能存。"""
    calls = 0

    def failing(tensors: Any) -> Iterator[bytes | memoryview]:
        nonlocal calls
        calls += 1
        for chunk in encode_safetensors(tensors):
            yield chunk
            if calls == file:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save_checkpoint(tmp_path, example(1))
    before = names(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, "encode_safetensors", failing)
        with pytest.raises(OutOfDiskError, match="No space left"):
            save_checkpoint(tmp_path, example(2))
    assert names(tmp_path) == before
    assert_tidy(tmp_path)
    save_checkpoint(tmp_path, example(2))
    assert_same(load_checkpoint(tmp_path), example(2))


def test_full_disk_is_noticed_only_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """动笔之前先看剩余空间；退出码 4。"""
    save_checkpoint(tmp_path, example(1))
    before = names(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(OutOfDiskError, match="1,000 free") as caught:
        save_checkpoint(tmp_path, example(2))
    assert caught.value.exit_code == 4
    assert names(tmp_path) == before


@POSIX_ONLY
def test_real_write_limit_leaves_stray_files(tmp_path: Path) -> None:
    """真实的写入失败（文件大小限额）：退出码 4，先前的检查点仍在，没有残余。"""
    program = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.errors import OutOfDiskError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(Path(sys.argv[1]), Checkpoint(2, {"w": np.zeros(1_000_000)}))
except OutOfDiskError as error:
    sys.exit(error.exit_code)
"""
    save_checkpoint(tmp_path, example(1))
    before = names(tmp_path)
    assert (
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment(), check=False).returncode == 4
    )
    assert names(tmp_path) == before
    assert_tidy(tmp_path)


def environment() -> dict[str, str]:
    """子进程的环境变量：能导入本仓库。"""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


SAVER = """
import sys
from pathlib import Path
from parity_tests.common.test_checkpoint import example
from tinygrad_llm.common.checkpoint import save_checkpoint
print("ready", flush=True)
for step in range(1, 1000):
    for _ in range(2):
        save_checkpoint(Path(sys.argv[1]), example(step))
"""


@POSIX_ONLY
def test_kill_in_the_middle_of_a_save_loses_the_checkpoint(tmp_path: Path) -> None:
    """反复在保存途中 kill -9：latest 总能载入，步数不倒退；下一次保存清掉残余。"""
    rng = random.Random(0)
    reached = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, env=environment()
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.03, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
        with contextlib.suppress(FileNotFoundError):  # 第一次保存之前就被杀，还没有 latest
            (tmp_path / "latest").stat()
            found = load_checkpoint(tmp_path)
            assert_same(found, example(found.step))
            reached += 1
        save_checkpoint(tmp_path, example(0), keep=1)
        assert_tidy(tmp_path)
    assert reached >= 4
