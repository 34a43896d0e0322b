"""进度的测试：管道里的行数有限、格式稳定，终端上只有一行会动的进度条。"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_llm.common import progress as module
from tinygrad_llm.common.progress import Progress, format_bytes, format_duration


class Clock:
    """拨得动的钟。"""

    now = 0.0

    def __call__(self) -> float:
        """现在几点。"""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """换掉进度用的钟。"""
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def test_piped_output_floods_or_changes_format(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """第一行、每隔几秒一行、最后一行；stdout 干净。"""
    with Progress(100, "train", start=0) as progress:
        for step in range(1, 101):
            clock.now += 0.25
            progress.update(step, loss=4.25, tokens_per_s=9012.4, memory_bytes=3 << 29, lr=0.00125)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "train step=1/100 eta=0:00:25 loss=4.2500 tokens/s=9012 memory=1.5GiB lr=0.00125"
    assert lines[1].startswith("train step=21/100 ")
    assert lines[-1].startswith("train step=100/100 eta=0:00:00 ")
    assert len(lines) == 6


def test_last_line_is_lost_on_an_exception(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """中途抛出异常，最后一次更新也要显示，且只显示一次。"""
    with contextlib.suppress(ZeroDivisionError), Progress(10, "eval") as progress:
        progress.update(1)
        progress.update(2)
        progress.update(3, loss=1.0)
        raise ZeroDivisionError
    assert capsys.readouterr().err == "eval step=1/10 eta=0:00:00\neval step=3/10 eta=0:00:00 loss=1.0000\n"


def test_resumed_steps_count_into_the_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """续训时，剩余时间只按这一次做的步数估计。"""
    with Progress(100, "train", start=90) as progress:
        progress.update(90)
        clock.now += 10
        progress.update(95)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("eta=-")
    assert lines[1].endswith("eta=0:00:10")


def test_note_disappears(capsys: pytest.CaptureFixture[str]) -> None:
    """插一句话，方括号原样显示。"""
    with Progress(1, "train") as progress:
        progress.note("sample: [bold]x[/bold]")
    assert capsys.readouterr().err == "sample: [bold]x[/bold]\n"


def test_rich_is_imported_when_piped() -> None:
    """管道里不导入 rich。"""
    program = (
        "import sys\nfrom tinygrad_llm.common.progress import Progress\n"
        "with Progress(1, 'x') as p: p.update(1)\nassert not any(m.split('.')[0] == 'rich' for m in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL, env=environment)


TERMINAL_PROGRAM = """
from tinygrad_llm.common.progress import Progress
with Progress(3, "train") as progress:
    for step in range(1, 4):
        progress.update(step, loss=step / 2, tokens_per_s=1234.0)
        if step == 2:
            progress.note("halfway [x]")
print("result")
"""


def on_a_terminal(term: str, columns: int) -> str:
    """在伪终端里运行小程序，返回屏幕收到的字节。"""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": term}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL_PROGRAM], stdin=slave, stdout=slave, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        received = b""
        with contextlib.suppress(OSError):  # Linux 上对端关闭时读出 EIO
            while chunk := os.read(master, 65536):
                received += chunk
    os.close(master)
    assert process.returncode == 0
    return received.decode()


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_terminal_shows_more_than_one_moving_line(columns: int) -> None:
    """终端上：一行进度条，插话在它上方，窄终端也不折成两行。"""
    screen = on_a_terminal("xterm-256color", columns)
    assert "3/3" in screen
    assert "━" in screen
    assert "step=" not in screen
    assert screen.count("halfway [x]") == 1
    assert "\x1b[1A" not in screen  # 光标不必上移：进度始终只占一行
    assert screen.rstrip().endswith("result")
    assert "eta 0:00:00" in screen
    assert ("tokens/s 1234" in screen) == (columns >= 80)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_dumb_terminal_gets_escape_codes() -> None:
    """动不了光标的终端用普通的行。"""
    screen = on_a_terminal("dumb", 80)
    assert "\x1b" not in screen
    assert "train step=3/3 eta=0:00:00 loss=1.5000" in screen


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.5KiB"), (5 << 20, "5MiB"), (3 << 40, "3TiB")],
)
def test_bytes_are_written_wrong(count: int, text: str) -> None:
    """字节数的写法。"""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360000, "100:00:00")]
)
def test_duration_is_written_wrong(seconds: float | None, text: str) -> None:
    """时长的写法。"""
    assert format_duration(seconds) == text
