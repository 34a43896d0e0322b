"""判分：每一格是对、是错、是空着，还是沿用了前面的错；错的，像是哪一种错误。

流入：练习与各格写下的文字；流出：``Report``。写了几位就按几位判：末位差一以内、又在百分之一以内，就是对的。
下一站：``report.py``。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.tracing.worksheet import mistakes
from tinygrad_llm.tracing.worksheet.catalogue import CONTRIBUTION, FINAL, FORWARD, LOCAL, ROWS, SUM, Case
from tinygrad_llm.tracing.worksheet.cells import Cell, Sheet
from tinygrad_llm.tracing.worksheet.expression import Answer, UnreadableError, read_answer
from tinygrad_llm.tracing.worksheet.hand import Hand, Held
from tinygrad_llm.tracing.worksheet.report import Graded, Report
from tinygrad_llm.tracing.worksheet.titles import FALLBACK, GENERAL, TITLES

Array = NDArray[Any]

__all__ = ["Grader", "mistakes"]

CAP = 0.01
"""写得再粗，也要在这个相对误差之内。"""

LOOSE = 0.005
"""沿用前面的错时放宽到这个相对误差：他用的是没有写出来的位数，还是写下的三位，看不出来。"""

SMALL = 0.05
"""数组里比最大的数小这么多倍的，按最大的数的这么多倍计相对误差。"""


def tolerance(answer: Answer, expected: Array, noise: float) -> Array:
    """每个数允许差多少。

    Args:
        answer: 写下的数；``unit`` 是写到的那一位。
        expected: 正确的数。
        noise: 计算本身的舍入误差。
    """
    size = np.abs(np.where(np.isfinite(expected), expected, 0))
    cap = CAP * np.maximum(size, SMALL * np.max(size, initial=0.0))
    exact = 1e-6 * size  # 分数与算式没有舍入
    return np.asarray(np.minimum(np.where(answer.unit > 0, answer.unit, exact), cap) * (1 + 1e-9) + noise)


def agrees(answer: Answer, expected: Array, noise: float, loose: float = 0.0) -> Array:
    """逐个数：与 ``expected`` 相符；形状须相同。

    Args:
        answer: 写下的数。
        expected: 拿来比的数。
        noise: 计算本身的舍入误差。
        loose: ``expected`` 是用学习者舍入过的数算的，再放宽这么多（相对）。
    """
    size = np.where(np.isfinite(expected), np.abs(expected), 0)
    slack = loose * np.maximum(size, SMALL * np.max(size, initial=0.0)) if loose else 0.0
    near = np.abs(answer.values - expected) <= np.maximum(tolerance(answer, expected, noise), slack)
    same = (answer.values == expected) | (np.isnan(expected) & np.isnan(answer.values) & ~answer.blank)
    return np.asarray(near | same)


def shaped(answer: Answer, shape: tuple[int, ...]) -> Answer:
    """只差长度为 1 的轴，就看作同样的形状：写成一行还是一列不算错。"""
    have = answer.values.shape
    if have != shape and [n for n in have if n > 1] == [n for n in shape if n > 1]:
        return Answer(
            answer.text, answer.values.reshape(shape), answer.unit.reshape(shape), answer.blank.reshape(shape)
        )
    return answer


class Grader:
    """判一张练习。

    Args:
        sheet: 练习。
        texts: 编号到写下的文字；没有的格当作空着。
    """

    def __init__(self, sheet: Sheet, texts: Mapping[str, str]) -> None:
        self.sheet = sheet
        self.answers: dict[str, Answer] = {}
        self.unreadable: dict[str, str] = {}
        for name, text in texts.items():
            self._read(sheet.cells[name], text)
        usable = {n: a.values for n, a in self.answers.items() if a.values.shape == sheet.cells[n].asked.shape}
        self.engine, self.own = Hand(sheet, {}), Hand(sheet, usable)
        self.graded: dict[str, Graded] = {}

    def report(self) -> Report:
        """判完全部的格。"""
        for cell in self.sheet.cells.values():
            self.graded[cell.id] = self.grade(cell)
        self._rank()
        return Report(self.sheet.trace.title, list(self.graded.values()))

    def grade(self, cell: Cell) -> Graded:
        """判一格；它用到的格须已经判过。"""
        with np.errstate(all="ignore"):
            return self._grade(cell)

    def _grade(self, cell: Cell) -> Graded:
        if cell.id in self.unreadable:
            return Graded(cell.id, "unreadable", self._what(cell), note=self.unreadable[cell.id])
        answer = self.answers.get(cell.id)
        if answer is None or answer.is_blank:
            return Graded(cell.id, "blank", self._what(cell))
        expected = cell.asked
        is_shaped = answer.values.shape == expected.shape
        right = agrees(answer, expected, cell.noise) if is_shaped else np.zeros(expected.shape, bool)
        if is_shaped and np.all(right | answer.blank):
            status = "blank" if answer.blank.any() else "right"
            return Graded(cell.id, status, self._what(cell), answer.text, float(right.mean()))
        for held in self._alternatives(cell):
            part, sources = cell.pick(held.array), self._wrong(held.used)
            if part is None or part.shape != answer.values.shape:
                continue
            if agrees(answer, part, cell.noise, LOOSE if sources else 0.0).all():
                status = "consistent" if sources else "right"
                return Graded(cell.id, status, self._what(cell), answer.text, 1.0, sources=sources)
        names = self._names(cell, answer, right)
        wrong = [tuple(int(i) for i in place) for place in np.argwhere(~right & ~answer.blank)] if is_shaped else []
        score = float(right.mean()) if is_shaped else 0.0
        if len(wrong) == expected.size:  # 全错了，不必一个个指出
            wrong = []
        note = "" if is_shaped else f"形状是 {_shape_text(answer.values)}，应为 {_shape_text(expected)}"
        return Graded(cell.id, "wrong", self._what(cell), answer.text, score, names=names, note=note, wrong=wrong)

    def _read(self, cell: Cell, text: str) -> None:
        try:
            self.answers[cell.id] = shaped(read_answer(text), cell.asked.shape)
        except UnreadableError as error:
            self.unreadable[cell.id] = str(error)

    def _wrong(self, used: frozenset[str]) -> list[str]:
        """其中错了的（或沿用了别处的错的）格，追到最先错的那些。"""
        found: dict[str, None] = {}
        for name in sorted(used, key=list(self.sheet.cells).index):
            before = self.graded.get(name)
            if before is not None and before.status in ("wrong", "consistent"):
                for one in before.sources or [name]:
                    found[one] = None
        return list(found)

    def _alternatives(self, cell: Cell) -> Iterator[Held]:
        """用他自己填的数（或一部分用他的、一部分用对的）算，这一格可以是多少。"""
        own, place = self.own, cell.place
        if cell.kind == FORWARD:
            yield own.forward(cell.node)
        elif cell.kind == FINAL:
            yield own.final(cell.value)
        elif place is not None and cell.kind == LOCAL:
            yield own.local_worked(place)
        elif place is not None and cell.kind == CONTRIBUTION:
            yield own.contribution_worked(place)
            yield own.contribution_by_table(place)
            yield from self._mixed(cell)
        elif place is not None and cell.kind == SUM:
            yield own.total_worked(place)
            for before, added in ((own, self.engine), (self.engine, own)):
                first, second = before.before(place), added.contribution(place)
                yield Held(first.array + second.array, first.used | second.used)

    def _mixed(self, cell: Cell) -> Iterator[Held]:
        """传来的梯度用他的、别的用对的；反过来也算。"""
        assert cell.place is not None
        step = self.sheet.trace.backwards[cell.place[0]].steps[cell.place[1]]
        position = step.edges[cell.place[2]].input
        for mine, other in ((self.own, self.engine), (self.engine, self.own)):
            g, (call, used), y = mine.incoming(*cell.place[:2]), other.call(step.node), other.value(step.record.output)
            if call is not None and isinstance(g.array, np.ndarray):
                found = call.gradient(position, g.array, y.array)
                if found is not None:
                    yield Held(found, g.used | used | y.used)

    # ---- 认出错误

    def case(self, cell: Cell, hand: Hand, answer: Answer | None = None) -> Case | None:
        """一格的处境：用这双手里的数。"""
        place, extra = cell.place, self._extra(cell, answer)
        if cell.kind == FORWARD:
            call, _ = hand.call(cell.node)
            return Case(cell.kind, np.asarray(hand.forward(cell.node).array), call, **extra)
        if cell.kind == FINAL:
            parts = [p for places in hand.final_parts(cell.value) for p in places]
            given = tuple(hand.contribution(p).array for p in parts)
            return Case(cell.kind, np.asarray(hand.final(cell.value).array), contributions=given, **extra)
        assert place is not None
        if cell.kind == SUM:
            given = tuple(one.array for one in hand.contributions(place))
            return Case(cell.kind, np.asarray(hand.total_worked(place).array), contributions=given, **extra)
        step = self.sheet.trace.backwards[place[0]].steps[place[1]]
        call, _ = hand.call(step.node)
        g, y = hand.incoming(*place[:2]).array, hand.value(step.record.output).array
        if not isinstance(g, np.ndarray):
            return None
        position = step.edges[place[2]].input
        if cell.kind == LOCAL:
            correct = hand.local_worked(place).array
            return Case(cell.kind, correct, call, position, np.ones_like(g), y, incoming=g, **extra)
        return Case(cell.kind, np.asarray(hand.contribution_worked(place).array), call, position, g, y, **extra)

    def _extra(self, cell: Cell, answer: Answer | None) -> dict[str, Any]:
        if answer is None:
            return {}
        extra: dict[str, Any] = {}
        if answer.values.shape == cell.asked.shape and not answer.blank.any():
            written, unit = cell.expected.copy(), np.zeros(cell.expected.shape)
            written[cell.rows], unit[cell.rows] = answer.values, answer.unit
            extra = {"written": written, "unit": unit}
        if cell.rows:
            return extra
        others = [
            one for one in self.sheet.cells.values() if one is not cell and one.expected.shape == answer.values.shape
        ]
        return {**extra, "swapped": self._swapped(cell, others), "elsewhere": tuple(one.expected for one in others)}

    def _swapped(self, cell: Cell, others: list[Cell]) -> tuple[Array, ...]:
        """写着这一格的数、却不是这一格的那些格的数。"""
        found = []
        for one in others:
            theirs = self.answers.get(one.id)
            if theirs is None or theirs.values.shape != cell.expected.shape or one.rows:
                continue
            if agrees(theirs, cell.expected, cell.noise).all() and not agrees(theirs, one.expected, one.noise).all():
                found.append(one.expected)
        return tuple(found)

    def _names(self, cell: Cell, answer: Answer, right: Array) -> list[str]:
        """像是哪几种错误：先看整格都对得上的，再看只错了几个数的，最后才是抄写与舍入。"""
        whole: dict[str, float] = {}
        partly: dict[str, float] = {}
        used = frozenset[str]().union(*[held.used for held in self._alternatives(cell)])
        for hand in (self.engine, self.own) if used else (self.engine,):
            case = self.case(cell, hand, answer)
            loose = LOOSE if hand is self.own and self._wrong(used) else 0.0
            if case is None:
                continue
            for row in ROWS:
                for candidate in row.candidates(case):
                    found = np.asarray(candidate)
                    if not _same(found, case.correct):
                        self._compare(row.id, cell, answer, right, found, loose, whole, partly)
        for matched in (whole, partly):
            named = {name: gap for name, gap in matched.items() if TITLES[name].tier < FALLBACK}
            if named:
                if "reordered" in matched and all(TITLES[name].tier == GENERAL for name in named):
                    named["reordered"] = matched["reordered"]  # [1, -1] 写成 [-1, 1]：反了号，还是换了位置，看不出来
                return _certain(_closest(named))
        return _closest(whole or partly)

    def _compare(
        self,
        name: str,
        cell: Cell,
        answer: Answer,
        right: Array,
        candidate: Array,
        loose: float,
        whole: dict[str, float],
        partly: dict[str, float],
    ) -> None:
        part = cell.pick(candidate)
        if part is None:
            return
        if part.shape != answer.values.shape:
            part = part.reshape(answer.values.shape) if _same_lengths(part.shape, answer.values.shape) else None
        if part is None or part.dtype.kind not in "fiub":
            return
        part = part.astype(np.float64)
        checked = ~right & ~answer.blank if right.shape == part.shape else ~answer.blank
        if _far(answer.values[checked] - part[checked], part, cell.noise):
            return
        fits = agrees(answer, part, cell.noise, loose) | answer.blank
        if not fits[checked].all():
            return
        gap = float(np.max(_gap(answer, part)[checked], initial=0.0))
        found = whole if fits.all() else partly
        found[name] = min(gap, found.get(name, np.inf))

    def _rank(self) -> None:
        """几种错误写出同一个数时，这张练习里别处犯过的排在前面。"""
        counts = Counter(name for one in self.graded.values() for name in one.names if len(one.names) == 1)
        for one in self.graded.values():
            one.names.sort(key=lambda name: (-counts[name], TITLES[name].tier))

    def _what(self, cell: Cell) -> str:
        """这一格问的是什么，一句话。"""
        label = self.sheet.trace.values[cell.value].label
        words = {
            FORWARD: f"{label} 的值",
            FINAL: f"{label} 的最终梯度",
            LOCAL: f"对 {label} 的局部导数",
            CONTRIBUTION: f"给 {label} 的贡献",
            SUM: f"{label} 的梯度到此为止的和",
        }
        return words[cell.kind]


def _far(difference: Array, part: Array, noise: float) -> bool:
    """有一个数差得连最宽的容差也不够：不必再逐个细看。"""
    largest = np.abs(part).max(initial=0.0)
    return bool((np.abs(difference) > 1.001 * CAP * largest + noise).any())


def _gap(answer: Answer, part: Array) -> Array:
    """差了几个末位；分数与算式按所写的数的百万分之一计。"""
    unit = np.where(answer.unit > 0, answer.unit, 1e-6 * np.maximum(np.abs(answer.values), 1e-300))
    same = answer.values == part
    return np.asarray(np.where(same, 0.0, np.abs(answer.values - np.where(same, 0.0, part)) / unit))


def _same(candidate: Array, correct: Array) -> bool:
    """这种错误在这里恰好不改变结果：加的那一项是 0，乘的那个数是 1。"""
    return candidate.shape == correct.shape and bool(np.allclose(candidate, correct, 1e-9, 0, equal_nan=True))


def _shape_text(array: Array) -> str:
    return str(array.shape) if array.ndim else "标量"


def _same_lengths(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return [n for n in a if n > 1] == [n for n in b if n > 1]


def _closest(found: dict[str, float]) -> list[str]:
    """差不到半个末位的有几种，就不提差得更多的。"""
    near = [name for name, gap in found.items() if gap <= 0.5 + 1e-6]
    return near or list(found)


def _certain(names: list[str]) -> list[str]:
    """两格互相填反了，有两格为证：别的说法至多再留一种。"""
    if "swapped-cells" not in names:
        return names
    rest = [name for name in names if name != "swapped-cells"]
    return ["swapped-cells", *(rest if len(rest) == 1 else [])]
