"""沙箱的外面：开一个空空的子进程，限好时间、内存与输出，到点杀掉。

流入：一段代码与上限；流出：``Outcome``。下一站：``guard.py``（子进程里先执行的文件）。
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import IO, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.sandbox import guard

__all__ = ["Limits", "Outcome", "run_python"]

Ending = Literal["ok", "error", "denied", "timeout", "memory", "output"]


@dataclass(frozen=True)
class Limits:
    """上限。"""

    seconds: float = 5.0
    """钟上的时间；CPU 时间的上限是它向上取整再加一秒。"""
    memory_mb: int = 256
    """虚拟内存，MB（POSIX）。"""
    output_bytes: int = 64_000
    """标准输出与标准错误各至多多少字节。"""

    def __post_init__(self) -> None:
        if not (0 < self.seconds <= 3600 and 64 <= self.memory_mb <= 1 << 20 and 0 < self.output_bytes <= 1 << 28):
            raise UserError(
                f"sandbox limits out of range: {self}", fix="use 0-3600 seconds, 64 MB or more, a positive output size"
            )


@dataclass(frozen=True)
class Outcome:
    """一次运行的结果。

    Attributes:
        ending: ``ok``；``error``（代码自己出错）；``denied``（做了不许做的事）；超限的是 ``timeout``、``memory`` 与
            ``output``。
        stdout: 标准输出，可能截断。
        stderr: 标准错误，可能截断。
        seconds: 用了多久。
    """

    ending: Ending
    stdout: str
    stderr: str
    seconds: float


def run_python(code: str, limits: Limits | None = None) -> Outcome:
    """在沙箱里运行一段 Python。

    Args:
        code: 代码；里面的 ``print`` 就是它的回答。
        limits: 上限。

    Returns:
        结果；代码做了什么都不会让它抛出异常。
    """
    limits = limits or Limits()
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sandbox-") as empty:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", guard.__file__, *_bounds(limits)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=empty, env=_bare_environment(), start_new_session=True, close_fds=True,
        )  # fmt: skip
        outputs = [_Bounded(stream, limits.output_bytes, child) for stream in (child.stdout, child.stderr)]
        timed_out = False
        with contextlib.suppress(BrokenPipeError):
            assert child.stdin is not None
            child.stdin.write(code.encode("utf-8", "surrogatepass"))
            child.stdin.close()
        try:
            child.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        _kill(child)
        texts = [output.text() for output in outputs]
    ending = _ending(child.returncode, texts[1], timed_out, any(output.overflowed for output in outputs))
    return Outcome(ending, texts[0], texts[1], time.monotonic() - started_at)


class _Bounded:
    """读一个流，至多这么多字节；超出就杀掉子进程，不让它把这边的内存写满。"""

    def __init__(self, stream: IO[bytes] | None, limit: int, child: subprocess.Popen[bytes]) -> None:
        self._stream, self._limit, self._child = stream, limit, child
        self._data, self.overflowed = bytearray(), False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._stream is not None
        while part := os.read(self._stream.fileno(), 1 << 16):
            self._data += part[: self._limit - len(self._data)]
            if len(self._data) >= self._limit:
                self.overflowed = True
                _kill(self._child)
                return

    def text(self) -> str:
        """读到的文字。"""
        self._thread.join()
        assert self._stream is not None
        self._stream.close()
        return self._data.decode("utf-8", "replace")


def _bounds(limits: Limits) -> list[str]:
    """交给子进程的上限：CPU 时间（秒）与内存（MB）；钟上的时间由这边来守。"""
    return [str(int(limits.seconds) + 2), str(limits.memory_mb)]


def _ending(code: int, stderr: str, timed_out: bool, overflowed: bool) -> Ending:
    if overflowed:
        return "output"
    if timed_out or code == -getattr(signal, "SIGXCPU", 24):
        return "timeout"
    if code == guard.DENIED:
        return "denied"
    if "MemoryError" in stderr[-2000:]:
        return "memory"
    return "ok" if code == 0 else "error"


def _kill(child: subprocess.Popen[bytes]) -> None:
    """连同它的子孙一起杀掉。"""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _bare_environment() -> dict[str, str]:
    """几乎空的环境：密钥常放在环境变量里；Windows 没有 ``SYSTEMROOT`` 起不来。"""
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
