"""把结果写出来：终端上的表、JSON 文件与图。

流入：一种测速的结果；流出：对齐的文字、带着机器自述与日期的 JSON。图怎样画见 ``plot.py``。
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from benchmarks.options import Output
from tinygrad_llm.common.system import git_commit, hardware

CAVEATS = """\
Every system runs in its own process; they take turns step by step, so a slow moment of the machine hits all of them.
Turns during which other programs used the processor are dropped; * marks a row with too few undisturbed turns, which
then counts them all: a ratio in brackets comes from such turns and proves nothing. Medians of two runs differ by some
10 % even on a quiet machine: less is not a finding.
Memory is the peak PSS of the process and its children, the interpreter and the libraries included."""


def document(name: str, options: Output, results: Any) -> dict[str, Any]:
    """一种测速的结果，加上日期、提交号、机器与设置。"""
    return {
        "benchmark": name,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "hardware": hardware(),
        "settings": options.to_dict(),
        "results": results,
    }


def publish(found: dict[str, Any], options: Output) -> None:
    """按设置写出 JSON 与图；``found`` 是 ``document`` 的结果。"""
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.plot is not None:
        from benchmarks import plot

        plot.save(found, options.plot)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """对齐的一张表：第一列靠左，其余靠右。"""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """秒数写成毫秒，四位有效数字。"""
    value = 1e3 * seconds
    return f"{value:.0f} ms" if value >= 1000 else f"{value:.4g} ms"


def times(ratio: float | None, *, noisy: bool = False) -> str:
    """比值写成两位小数，没有就是一横；由受打扰的回算出来的加括号，不可当真。"""
    if ratio is None:
        return "-"
    return f"({ratio:.2f})" if noisy else f"{ratio:.2f}"


def turns(found: dict[str, Any]) -> str:
    """算了几回；有作废的就在后面写明。"""
    return f"{found['kept']}" + (f" ({found['dropped']} dropped)" if found["dropped"] else "")


def tell(text: str) -> None:
    """进度：写到标准错误，标准输出留给结果。"""
    print(text, file=sys.stderr, flush=True)
