"""进度：终端上一行会动的进度条，管道里每隔几秒一行 ``key=value``。

流入：做完的步数与任意几个数字；流出：stderr 上的文字（stdout 留给结果）。
下一个文件：``runlog.py`` 记下同样的数字，供日后查看。
"""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress", "format_bytes", "format_duration"]

PLAIN_INTERVAL_S = 5.0


class Progress:
    """一件长活的进度，用作上下文管理器。

    Attributes:
        total: 一共多少步。
        label: 这件活的名字，一个词。
        start: 从第几步开始（续训时大于 0）。
    """

    def __init__(self, total: int, label: str, *, start: int = 0) -> None:
        self.total, self.label, self.start = total, label, start
        self._bar: rich.progress.Progress | None = None
        self._started_at = monotonic()
        self._printed_at: float | None = None
        self._pending: str | None = None

    def update(self, step: int, **figures: float) -> None:
        """报告做完了多少步。

        Args:
            step: 已做完的步数。
            **figures: 顺带显示的数字，如 ``loss``、``tokens_per_s``、``memory_bytes``；按给出的次序显示。
        """
        shown = {"eta": format_duration(self._eta_s(step))}
        shown.update(_shown(name, value) for name, value in figures.items())
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, figures=self._fitted(self._bar, shown))
            return
        self._pending = " ".join(
            [self.label, f"step={step}/{self.total}", *(f"{name}={value}" for name, value in shown.items())]
        )
        due = self._printed_at is None or monotonic() - self._printed_at >= PLAIN_INTERVAL_S
        if due or step >= self.total:
            self._flush()

    def note(self, text: str) -> None:
        """在进度条上方另起一行，说一句话。

        Args:
            text: 任意文字，不作标记解释。
        """
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        self._started_at = monotonic()
        if sys.stderr.isatty():
            self._bar = _rich_bar(self.label, self.total, self.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _eta_s(self, step: int) -> float | None:
        """按迄今的平均速度估计还要多久；续训之前的步不算进速度。"""
        done = step - self.start
        return (monotonic() - self._started_at) / done * max(self.total - step, 0) if done > 0 else None

    def _fitted(self, bar: rich.progress.Progress, shown: dict[str, str]) -> str:
        """一行放得下几个数字就放几个，行宽不够时从末尾省略。"""
        taken = len(self.label) + _bar_width(bar.console.width) + 2 * len(str(self.total)) + 6
        text = ""
        for name, value in shown.items():
            if taken + len(text) + len(name) + len(value) + 3 > bar.console.width:
                break
            text += f"  {name} {value}"
        return text.strip()

    def _flush(self) -> None:
        if self._pending is not None:
            print(self._pending, file=sys.stderr, flush=True)
            self._pending, self._printed_at = None, monotonic()


def format_bytes(count: float) -> str:
    """字节数写成人读的样子。

    Args:
        count: 字节数。

    Returns:
        如 ``512B``、``1.5GiB``。
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.3g}{unit}" if abs(count) < 1000 else f"{count:.0f}{unit}"
        count /= 1024
    return f"{count:.4g}TiB"


def format_duration(seconds: float | None) -> str:
    """时长写成 ``时:分:秒``。

    Args:
        seconds: 秒数；``None`` 表示还不知道。

    Returns:
        如 ``0:03:20``；不知道时为 ``-``。
    """
    if seconds is None:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _shown(name: str, value: float) -> tuple[str, str]:
    """一个数字的名字与写法，由名字的后缀决定单位。"""
    if name.endswith("_bytes"):
        return name.removesuffix("_bytes"), format_bytes(value)
    if name.endswith("_per_s"):
        return name.removesuffix("_per_s") + "/s", f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if name.endswith("loss"):
        return name, f"{value:.4f}"
    if name == "mfu":
        return name, f"{value:.1%}"
    return name, f"{value:.4g}"


def _bar_width(columns: int) -> int:
    return min(24, columns // 5)


def _rich_bar(label: str, total: int, start: int) -> rich.progress.Progress | None:
    """启动 rich 的进度条；终端太简陋、动不了光标时返回 ``None``。"""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=_bar_width(console.width)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        redirect_stdout=sys.stdout.isatty(),  # stdout 通往文件时不能动它
    )
    bar.add_task(label, total=total, completed=start, figures="")
    bar.start()
    return bar
