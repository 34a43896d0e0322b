"""每道题训练之前与眼下各答对没有：同样的题，前后可以逐题配对，也可以按题型列表。

流入：每次评估的答案；流出：运行文件夹里的 ``quiz.json``，与给人看的几行。下一个文件：``outcome.py``。
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.manifest import read_json
from tinygrad_llm.common.scoring.intervals import paired_difference, wilson_interval

if TYPE_CHECKING:
    from tinygrad_llm.common.tuning.answers import Answered

__all__ = ["QUIZ", "change_line", "note_answers", "task_rows", "task_table"]

QUIZ = "quiz.json"
MAX_BYTES = 1 << 24
COLUMNS = "questions", "before", "after"
ALL = "all"
"""表的末一行：全部题型合起来。"""


def note_answers(folder: Path, answered: Sequence[Answered]) -> None:
    """记下这一次的对错；头一次的另留着，作训练之前的样子。

    续训时文件里已有训练之前的；题目换了（不是同一次训练的文件）就从头记起。几个进程合训时只有头一个写。

    Args:
        folder: 运行文件夹。
        answered: 各题与对错。
    """
    if not answered or launched().rank or not folder.is_dir():  # 只作估计的不写
        return
    questions: list[Any] = [[one.quiz.task, one.quiz.level, one.quiz.question] for one in answered]
    now = [int(one.is_right) for one in answered]
    kept = _read(folder)
    before = kept["before"] if kept.get("questions") == questions else now
    told = json.dumps({"questions": questions, "before": before, "after": now}, ensure_ascii=False)
    with contextlib.suppress(OSError):  # 写不下也不妨碍训练
        write_atomically(folder / QUIZ, told.encode("utf-8", "replace"))


def change_line(folder: Path) -> str:
    """一句话：同样的题上答对的多了几个百分点，95 % 区间由逐题配对得出；没有答过题为空。"""
    kept = _read(folder)
    if not kept:
        return ""
    found = paired_difference(np.array(kept["before"], float), np.array(kept["after"], float))
    change, low, high = (100 * value for value in (found.value, found.low, found.high))
    return f"exact match: {change:+.1f} points [{low:+.1f}, {high:+.1f}], paired over the same {found.n} questions"


def task_rows(folder: Path) -> list[dict[str, Any]]:
    """每个题型一行，有难度的每级再一行，末一行是全部；没有答过题，或题目没有题型时为空。

    一行是 ``task``、``n``、``before`` 与 ``after`` 各对了几道，``low``、``high`` 是之后的 95 % 区间。
    """
    kept = _read(folder)
    counts: dict[tuple[int, str], list[int]] = {}
    for (task, level, _), first, last in zip(*(kept.get(name, []) for name in COLUMNS), strict=True):
        names = [(0, task), *([(1, f"level {level}")] if level else []), (2, ALL)]
        for name in names if task else ():
            n, before, after = counts.get(name, (0, 0, 0))
            counts[name] = [n + 1, before + first, after + last]
    rows = []
    for (_, task), (n, first, last) in sorted(counts.items()):
        rate = wilson_interval(last, n)
        rows.append({"task": task, "n": n, "before": first, "after": last, "low": rate.low, "high": rate.high})
    return rows if len(rows) > 2 else rows[:1]


def task_table(folder: Path) -> list[str]:
    """``task_rows`` 排成的表，给终端看。"""
    rows = task_rows(folder)
    if not rows:
        return []
    width = max(len("task"), *(len(row["task"]) for row in rows))
    lines = [f"{'task'.ljust(width)}     n  before   after  95% interval"]
    for row in rows:
        rates = "".join(f"{row[name] / row['n']:8.1%}" for name in ("before", "after"))
        lines.append(f"{row['task'].ljust(width)} {row['n']:5d}{rates}  {row['low']:.1%} to {row['high']:.1%}")
    return lines


def _read(folder: Path) -> dict[str, Any]:
    """``quiz.json`` 的内容；没有为空。"""
    return read_json(folder / QUIZ, MAX_BYTES) if (folder / QUIZ).is_file() else {}
