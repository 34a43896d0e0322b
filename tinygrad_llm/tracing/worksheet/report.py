"""判分的结果：每格一条，以及总分；终端里读得懂。

流入：``grading.py`` 的判断；流出：文字与字典。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinygrad_llm.tracing.worksheet.titles import TITLES

STATUSES = {"right": "对", "consistent": "沿用前面的错", "wrong": "错", "unreadable": "读不懂", "blank": "空"}
"""一格的结果；沿用前面的错而这一步本身算对了的，照样得分。"""


@dataclass
class Graded:
    """一格的结果。

    Attributes:
        id: 格的编号。
        status: 结果，见 ``STATUSES``。
        what: 这一格问的是什么。
        text: 写下的原文。
        score: 得几分，0 到 1；填了数组的一部分、对了一部分，就得一部分。
        names: 像是哪几种错误，英文的名字；认不出的为空。
        sources: 沿用了哪几格的错。
        note: 读不懂的原因，或形状不对。
        wrong: 数组里错了的位置；全错了的为空。
    """

    id: str
    status: str
    what: str
    text: str = ""
    score: float = 0.0
    names: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    note: str = ""
    wrong: list[tuple[int, ...]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """终端里的几行。"""
        mark = {"right": "✓", "consistent": "≈", "wrong": "✗", "unreadable": "?", "blank": "·"}[self.status]
        head = f"  {mark} {self.id:<4} {self.what}"
        if self.status == "consistent":
            return [f"{head}：沿用了 {'、'.join(self.sources)} 的错，这一步本身算对了"]
        if self.status == "unreadable":
            return [f"{head}：{self.note}；写一个数、一个算式，或者 [[1, 2], [3, 4]] 这样的列表"]
        if self.status != "wrong":
            return [head]
        shown = self.text.strip("`") if len(self.text) <= 60 else f"{self.text.strip('`')[:57]}…"
        lines = [f"{head}：写的是 {shown}{self._where()}"]
        for name in self.names:
            title = TITLES[name]
            lines.append(f"         像是「{title.title}」（{name}）：{title.fix}")
        if not self.names:
            lines.append("         认不出是哪一种错：照公式把数重新代一遍，一步一步核对")
        return lines

    def _where(self) -> str:
        if self.note:
            return f"，{self.note}"
        if not self.wrong:
            return ""
        places = "、".join(f"[{', '.join(map(str, place))}]" for place in self.wrong[:6])
        return f"，错在 {places}{' 等处' if len(self.wrong) > 6 else ''}"


@dataclass
class Report:
    """一张练习的结果。

    Attributes:
        title: 练习的标题。
        cells: 每格的结果，按次序。
    """

    title: str
    cells: Sequence[Graded]

    @property
    def ok(self) -> bool:
        """全部填对了。"""
        return all(one.status == "right" for one in self.cells)

    @property
    def score(self) -> float:
        """得分，满分 100。"""
        return 100 * sum(one.score for one in self.cells) / len(self.cells) if self.cells else 100.0

    @property
    def exit_code(self) -> int:
        """全对是 0，否则是 1。"""
        return 0 if self.ok else 1

    def __getitem__(self, name: str) -> Graded:
        """按编号取一格。

        Raises:
            KeyError: 没有这一格。
        """
        for one in self.cells:
            if one.id == name:
                return one
        raise KeyError(name)

    def counts(self) -> dict[str, int]:
        """各种结果的格数。"""
        found = Counter(one.status for one in self.cells)
        return {status: found[status] for status in STATUSES}

    def to_dict(self) -> dict[str, Any]:
        """全部内容，可以写成 JSON。"""
        cells = [asdict(one) for one in self.cells]
        return {"title": self.title, "score": self.score, "counts": self.counts(), "cells": cells}

    def __str__(self) -> str:
        counted = "，".join(f"{STATUSES[status]} {n}" for status, n in self.counts().items() if n)
        score = f"{self.score:.1f}".removesuffix(".0")
        lines = [f"{self.title}：{len(self.cells)} 格（{counted}），得 {score} 分"]
        blank = [one.id for one in self.cells if one.status == "blank"]
        for one in self.cells:
            if one.status not in ("right", "blank"):
                lines += one.lines()
        if blank:
            shown = "、".join(blank[:12])
            lines.append(f"  · 还空着：{shown}{f' 等 {len(blank)} 格' if len(blank) > 12 else ''}")
        if self.ok:
            lines.append("  全部正确。")
        return "\n".join(lines)
