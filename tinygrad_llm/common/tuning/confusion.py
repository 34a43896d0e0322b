"""留作评估的每一段文字猜成了什么：存进运行文件夹，写成混淆表，画成混淆图。

流入：真的与猜的类别；流出：``held_out.json``、终端上的一张表、报告里的两节。下一个文件：``classification.py``。
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.charts import grid_chart
from tinygrad_llm.common.errors import DataError, OutOfDiskError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.report import Section, side_by_side, table
from tinygrad_llm.common.scoring.intervals import wilson_interval

__all__ = [
    "HELD_OUT", "HeldOut", "confusion", "confusion_sections", "confusion_text", "largest_share", "load_held_out",
    "macro_f1", "save_held_out",
]  # fmt: skip

HELD_OUT = "held_out.json"
Table = NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """最近一次评估。

    Attributes:
        labels: 全部类别。
        truth: 各段文字真的类别 ``(N,)``。
        guesses: 猜的 ``(N,)``。
        bag_of_words: 词袋基线猜的 ``(N,)``。
        updates: 那时更新过几步。
    """

    labels: tuple[str, ...]
    truth: Table
    guesses: Table
    bag_of_words: Table
    updates: int

    @property
    def chance(self) -> float:
        """总猜最多的一类能对几成。"""
        return largest_share(self.truth)


def largest_share(truth: Table) -> float:
    """最多的一类占几成：总猜它能对的比例。"""
    return float(np.bincount(truth).max() / truth.size)


def confusion(truth: Table, guesses: Table, classes: int) -> Table:
    """混淆表 ``(K, K)``：第 i 行第 j 列是真类 i 猜作 j 的个数。"""
    found = np.zeros((classes, classes), np.int64)
    np.add.at(found, (truth, guesses), 1)
    return found


def macro_f1(table: Table) -> float:
    """各类的 F1 的平均；``table[i, j]`` 是真类 i 猜作 j 的个数。"""
    return float(_f1(table).mean())


def _f1(table: Table) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 2 * np.diag(table) / np.maximum(table.sum(0) + table.sum(1), 1)
    return found


def confusion_text(table: Table, labels: Sequence[str]) -> str:
    """混淆表：一行一个真类，一列一个猜的类，末列是召回率。"""
    width = max(6, *(len(name) for name in labels))
    lines = ["".rjust(width) + "".join(name[:8].rjust(9) for name in labels) + "   recall"]
    for i, (name, row) in enumerate(zip(labels, table, strict=True)):
        recall = row[i] / max(int(row.sum()), 1)
        lines.append(name.rjust(width) + "".join(f"{count:9d}" for count in row.tolist()) + f"{recall:9.1%}")
    return "\n".join(lines)


def save_held_out(folder: Path, found: HeldOut) -> None:
    """存进运行文件夹，覆盖前一次评估的。

    Raises:
        OutOfDiskError: 写不进去。
    """
    told = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(found).items()}
    try:
        write_atomically(folder / HELD_OUT, (json.dumps(told, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write: {error.strerror}", where=str(folder / HELD_OUT), fix="free some space or check the folder"
        ) from error


def load_held_out(folder: Path) -> HeldOut:
    """读回最近一次评估。

    Raises:
        DataError: 没有、读不了，或不合格式。
    """
    path = folder / HELD_OUT
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = [np.array(told[name], np.int64) for name in ("truth", "guesses", "bag_of_words")]
        found = HeldOut(tuple(told["labels"]), rows[0], rows[1], rows[2], int(told["updates"]))
        fits = {row.shape for row in rows} == {rows[0].shape} and rows[0].ndim == 1 and rows[0].size
        if not fits or not all((row >= 0).all() and (row < len(found.labels)).all() for row in rows):
            raise ValueError("the rows do not fit")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError("cannot read the guesses on the held-out texts", where=str(path), fix="train again") from error
    return found


def confusion_sections(folder: Path) -> list[Section]:
    """训练报告里的两节：混淆图，与各类的查准率、召回率；不是分类的运行没有。

    Args:
        folder: 运行文件夹。
    """
    if not (folder / HELD_OUT).is_file():
        return []
    found = load_held_out(folder)
    n, classes = found.truth.size, len(found.labels)
    charts, notes = [], []
    for title, guesses in (("模型", found.guesses), ("词袋基线", found.bag_of_words)):
        counts = confusion(found.truth, guesses, classes)
        charts.append(grid_chart(counts, found.labels, title=title, x_label="猜的", y_label="真的"))
        right = wilson_interval(int(np.trace(counts)), n)
        notes.append(f"{title}猜对 {right.value:.1%}（95 % 区间 {right.low:.1%}–{right.high:.1%}）")
    note = f"留作评估的 {n:,} 段文字，第 {found.updates:,} 次更新之后；总猜最多的一类对 {found.chance:.1%}，"
    counts = confusion(found.truth, found.guesses, classes)
    rows = [
        [name, int(counts[i].sum()), *(f"{one:.1%}" for one in (_share(counts[:, i], i), _share(counts[i], i))), f1]
        for i, (name, f1) in enumerate(zip(found.labels, _f1(counts).tolist(), strict=True))
    ]
    return [
        Section("混淆图", side_by_side(charts), note + "，".join(notes) + "。颜色是占这一类的几成。"),
        Section("各类", table(["类别", "n", "查准率", "召回率", "F1"], rows)),
    ]


def _share(counts: Table, i: int) -> float:
    return float(counts[i] / max(int(counts.sum()), 1))
