"""被测的系统各在自己的进程里：启动、叫它做一回、收走。

流入：名字、任务与设置；流出：每一回的用时与它带回来的数。一个系统可以由几个同时开工的进程组成，以最慢的一个为准。
子进程那一头见 ``worker.py``，怎样轮流叫它们见 ``rounds.py``。
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLOSING_S = 10.0
"""不再叫它之后，等它自己收拾干净的时间。"""


class WorkerStoppedError(RuntimeError):
    """一个系统量不了：没有安装，或中途退出。"""


@dataclass(frozen=True)
class System:
    """要测的一个系统。

    Attributes:
        name: 表里的名字。
        task: ``worker.TASKS`` 之一。
        settings: 交给那个任务的设置，须能写成 JSON。
        processes: 由几个进程组成；第 i 个收到的设置里有 ``part`` 与 ``parts``。
        python: 用哪个解释器。
        environment: 额外的环境变量。
    """

    name: str
    task: str
    settings: dict[str, Any]
    processes: int = 1
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Worker:
    """正在运行的一个系统。

    Attributes:
        name: 名字。
        members: 它的各个进程。
    """

    name: str
    members: tuple[subprocess.Popen[str], ...]

    @property
    def pids(self) -> list[int]:
        """各进程的号；它们的子孙不在内。"""
        return [process.pid for process in self.members]

    def ask(self, repeats: int = 1) -> dict[str, Any]:
        """叫它把活做 ``repeats`` 回，等它做完。

        Returns:
            ``elapsed_s``（平均每回的秒数，取最慢的进程）、``peak_memory_bytes``（各进程自己的峰值之和），与它带回来的
            别的数（取自第一个进程）。

        Raises:
            WorkerStoppedError: 它已经退出。
        """
        for process in self.members:
            self._write(process, f"{repeats}\n")
        answers = [self._read(process) for process in self.members]
        return {
            **answers[0],
            "elapsed_s": max(answer["elapsed_s"] for answer in answers),
            "peak_memory_bytes": sum(answer["peak_memory_bytes"] for answer in answers),
        }

    def finish(self) -> None:
        """不再叫它；等它自己收尾，收不完就算了。"""
        for process in self.members:
            with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
                process.communicate(timeout=CLOSING_S)

    def _write(self, process: subprocess.Popen[str], text: str) -> None:
        if process.stdin is None:
            raise AssertionError("the worker's standard input is a pipe")
        try:
            process.stdin.write(text)
            process.stdin.flush()
        except BrokenPipeError:
            raise WorkerStoppedError("stopped, see its message above") from None

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        if process.stdout is None:
            raise AssertionError("the worker's standard output is a pipe")
        line = process.stdout.readline()
        if not line.strip():
            raise WorkerStoppedError("stopped, see its message above")
        answer: dict[str, Any] = json.loads(line)
        if "unavailable" in answer:
            raise WorkerStoppedError(answer["unavailable"])
        return answer

    def wait_until_ready(self) -> None:
        """等它造好要测的东西。

        Raises:
            WorkerStoppedError: 没有安装，或造到一半退出了。
        """
        for process in self.members:
            self._read(process)


@contextmanager
def started(system: System) -> Iterator[Worker]:
    """启动一个系统，等它就绪；离开时总会收走它和它的子进程。

    Raises:
        WorkerStoppedError: 没有安装，或造到一半退出了。
    """
    with ExitStack() as stack:
        members = tuple(stack.enter_context(_process(system, part)) for part in range(system.processes))
        worker = Worker(system.name, members)
        worker.wait_until_ready()
        yield worker
        worker.finish()


@contextmanager
def _process(system: System, part: int) -> Iterator[subprocess.Popen[str]]:
    settings = {**system.settings, "part": part, "parts": system.processes}
    command = [system.python, "-m", "benchmarks.worker", system.task, json.dumps(settings)]
    environment = {**os.environ, **system.environment, "PYTHONPATH": str(ROOT)}
    # 自成一个会话：Ctrl-C 只到主进程，由它收走子进程与孙进程，终端上不会多出几段 traceback
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """结束一个进程与它的整个会话；已经自己退出的，只剩它的子孙要收。"""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
