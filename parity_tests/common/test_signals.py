"""信号的测试：第一个信号在步边界停下，第二个立即退出，离开之后一切照旧。"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinygrad_llm.common.signals import GracefulStop

PROGRAM = """
import sys, time
from tinygrad_llm.common.signals import GracefulStop
with GracefulStop(float(sys.argv[2])) as stop:
    print("ready", flush=True)
    while stop.requested is None or sys.argv[1] == "stubborn":
        time.sleep(0.01)
    print("saved", flush=True)
sys.exit(stop.exit_code)
"""
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals to a child")


def started(mode: str, within_s: float = 0.0) -> subprocess.Popen[str]:
    """启动一个训练模样的子进程，等它进入循环。"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mode, str(within_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_first_signal_kills_before_saving(number: int, exit_code: int) -> None:
    """第一个信号：走完这一步，存好，以 130 或 143 退出，没有 traceback。"""
    with started("polite") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert out == "saved\n"
    assert process.returncode == exit_code
    assert err.strip().splitlines() == ["stopping after this step, then saving; press again to exit at once"]


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_second_signal_waits(number: int, exit_code: int) -> None:
    """第二个信号：立即退出，哪怕循环不理会。"""
    with started("stubborn") as process:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(number)
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
        out, _ = process.communicate()
    assert process.returncode == exit_code
    assert out == ""


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_deadline_passes_unnoticed(number: int, exit_code: int) -> None:
    """期限之内没有存好：自己退出，退出码照旧，说一句话；存好了的不受影响。"""
    with started("stubborn", 0.3) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("", exit_code)
    assert "the state is not saved" in err
    with started("polite", 30.0) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("saved\n", exit_code)
    assert "not saved" not in err


def test_handlers_are_not_restored(capfd: pytest.CaptureFixture[str]) -> None:
    """离开之后恢复原来的处理方式；标志仍然可读。"""
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    with GracefulStop() as stop:
        assert stop.exit_code == 0
        signal.raise_signal(signal.SIGTERM)
    assert stop.requested == signal.SIGTERM
    assert stop.exit_code == 143
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before
    assert "then saving" in capfd.readouterr().err


def test_other_threads_crash() -> None:
    """在别的线程里使用：什么也不改，也不抛出。"""
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def worker() -> None:
        with GracefulStop() as stop:
            seen.extend([stop.requested, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=worker)
    thread.start()
    thread.join()
    assert seen == [None, before]
