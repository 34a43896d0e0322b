"""真正的 ``torchrun``：换进程数与引擎接着走、一个进程被杀、信号、用错了选项。

起一次要十来秒（三个进程各导入一次 torch），所以都在 full 档；同样的道理在本进程里查得到的，见 ``test_layout.py``。
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import TRAIN, Ended, Place, assert_bit_equal, wait_for_steps
from tinygrad_llm.common.checkpoint import load_checkpoint

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200), pytest.mark.skipif(os.name == "nt", reason="POSIX signals")]

EXACT: dict[str, Any] = {"dtype": "float64", "accumulate": 2, "batch_size": 8, "device": "cpu", "n_head": 2}
BOUND = 1e-6


def start(place: Place, world: int, *argv: str) -> subprocess.Popen[str]:
    """由 ``torchrun`` 起几个进程，跑 ``pretrain``。"""
    # ``--``：没有它，torchrun 会把 ``--run`` 当成自己的 ``--run-path``
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    command = [*launcher, "-m", "--", "torch_llm", TRAIN["torch"], *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")


def finish(job: subprocess.Popen[str]) -> Ended:
    """等它结束；三个进程各要导入 torch、画图，忙的机器上要一两分钟。"""
    with job:
        try:
            out, err = job.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            job.terminate()
            raise
    return Ended(job.returncode, out, err)


def run(place: Place, world: int, *argv: str) -> Ended:
    """跑完一次。"""
    return finish(start(place, world, *argv))


def members(agent: int) -> list[int]:
    """``torchrun`` 起的各个进程。"""
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text(encoding="utf-8").split()]


def test_run_that_changes_its_processes_goes_elsewhere(place: Place) -> None:
    """两个进程、一个进程、NumPy、再两个进程接着走，与一个进程走到底的相差超过 1e-6。"""
    assert place.train("torch", "straight", **EXACT).code == 0
    first = run(place, 2, *place.flags("a", {**EXACT, "stop_at": 3, "parallel": "fsdp"}))
    assert first.code == 0, first.err
    assert place.resume("torch", "a", stop_at=6).code == 0
    assert place.resume("numpy", "a", stop_at=8).code == 0
    last = run(place, 2, "--resume", "--run=a", f"--runs-dir={place.runs}", "--parallel=tp")
    assert last.code == 0, last.err
    for column in ("loss", "grad_norm"):
        np.testing.assert_allclose(place.curve("a", column), place.curve("straight", column), rtol=0, atol=BOUND)
    found, expected = (load_checkpoint(place.runs / name) for name in ("a", "straight"))
    for name, array in {**expected.model, **expected.optim}.items():
        np.testing.assert_allclose({**found.model, **found.optim}[name], array, rtol=0, atol=BOUND, err_msg=name)


def test_resumed_processes_draw_other_masks(place: Place) -> None:
    """两个进程停下再接着走，有 dropout：与没有停过的逐位相同；样本与评估也在内。"""
    changes = {"dropout": 0.2, "parallel": "ddp"}
    assert run(place, 2, *place.flags("straight", changes)).code == 0
    assert run(place, 2, *place.flags("a", {**changes, "stop_at": 5})).code == 0
    assert run(place, 2, "--resume", "--run=a", f"--runs-dir={place.runs}", "--parallel=ddp").code == 0
    assert place.columns("a") == place.columns("straight")
    assert_bit_equal(place.tensors("a"), place.tensors("straight"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_process_leaves_the_others_waiting(place: Place, victim: int) -> None:
    """一个进程被 kill -9，别的进程 30 秒里没有收场，或没有说是谁的错；最后的检查点仍能接着走。"""
    changes = {"steps": 100_000, "save_every": 3, "eval_every": 0, "sample_every": 0, "parallel": "fsdp"}
    job = start(place, 2, *place.flags("a", changes))
    wait_for_steps(job, place.runs / "a", 8)
    killed_at = time.monotonic()
    os.kill(members(job.pid)[victim], signal.SIGKILL)
    ended = finish(job)
    assert time.monotonic() - killed_at < 30
    assert ended.code == 1
    assert f"error: process {1 - victim} lost another process of this run" in ended.err
    assert "--resume" in ended.err
    saved = load_checkpoint(place.runs / "a").step
    assert saved >= 6
    assert place.resume("torch", "a", stop_at=saved + 2).code == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("who", ["one", "agent"])
def test_signal_to_one_process_stops_that_one_alone(place: Place, who: str) -> None:
    """SIGTERM 只到了一个进程，或到了 torchrun：大家没有停在同一步，没有存好，或说了不止一遍。"""
    changes = {"steps": 100_000, "eval_every": 0, "sample_every": 0, "parallel": "tp"}
    job = start(place, 2, *place.flags("a", changes))
    wait_for_steps(job, place.runs / "a", 3)
    os.kill(job.pid if who == "agent" else members(job.pid)[1], signal.SIGTERM)
    ended = finish(job)
    assert ended.err.count("error: stopped by a signal after step") == 1
    assert load_checkpoint(place.runs / "a").step == len(place.curve("a"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"parallel": "tp", "n_head": 3, "n_embd": 33}, "cannot divide n_head=3, n_kv_head=3"),
        ({"batch_size": 5}, "--batch-size 5 cannot be divided among 2 processes"),
        ({"device": "cuda"}, "has no cuda"),
        ({"parallel": "fsdp", "optimizer": "muon"}, "needs whole matrices"),
        ({"lr": -1}, "--lr must be"),
    ],
)
def test_mistake_is_told_by_every_process(place: Place, changes: dict[str, Any], complaint: str) -> None:
    """用错了选项：没有说清楚，说了不止一遍，或留下了半个运行。"""
    ended = run(place, 2, *place.flags("a", changes))
    ours = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(ours) == 1, ended.err
    assert complaint in ours[0]
    assert len(re.findall(r"exitcode *: 2 ", ended.err)) >= 1
    assert not (place.runs / "a").exists()
