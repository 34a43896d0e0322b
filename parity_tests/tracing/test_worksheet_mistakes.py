"""错误的目录：照每一种错误独立地算出错的数，填进练习，看判分叫不叫得出它的名字。

错的数来自 ``wrong_answers.py``：只用记录里的数与教科书的公式。两种错误写出同一个数时，叫出的至多两个名字里有它才算。
``python -m parity_tests.tracing.test_worksheet_mistakes`` 打印整张表。
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.tracing.wrong_answers import wrong_answers
from tinygrad_llm.tracing.programs import run_program
from tinygrad_llm.tracing.toys import TOYS
from tinygrad_llm.tracing.trace import Trace
from tinygrad_llm.tracing.worksheet import make_exercise
from tinygrad_llm.tracing.worksheet.catalogue import ROWS
from tinygrad_llm.tracing.worksheet.cells import Cell, Sheet
from tinygrad_llm.tracing.worksheet.grading import Grader
from tinygrad_llm.tracing.worksheet.levels import LEVELS
from tinygrad_llm.tracing.worksheet.sheet import numbers
from tinygrad_llm.tracing.worksheet.titles import TITLES

NAMED = 0.95
"""每个玩具、每种错误，至少这么大一部分要叫对名字。"""


SAMPLED = {"gpt": 29, "attention": 11, "layernorm": 11, "more": 11, "adamw": 7, "broadcast": 7}
"""格多的玩具，快速档每这么多种（格，错误）试一种；完整档全试。"""


def more() -> None:
    """玩具里没有的几种算子：融合的注意力、ReLU、log_softmax，与方阵的乘法和转置。"""
    x = tg.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=tg.float64, requires_grad=True)
    w = tg.tensor([[0.7, -1.2], [0.4, 0.9]], dtype=tg.float64, requires_grad=True)
    h = tg.relu(x @ w - 0.3)
    q = h.T @ w
    y = tg.nn.functional.scaled_dot_product_attention(q[None], x[None], h[None], is_causal=True)
    logs = tg.log_softmax(tg.nn.functional.linear(y[0], w), dim=-1)
    (logs * x.sum(dim=0)).mean(dim=1).sum().backward()


@functools.cache
def recorded(name: str) -> Trace:
    """一个玩具（或 ``more``、一个文件）的记录。"""
    if name != "more":
        return run_program(name, with_torch=False)
    trace: Trace
    with tg.trace(title="more") as trace:
        more()
    return trace


def written(values: object) -> str:
    """学习者写下的文字：四位有效数字。"""
    array = np.asarray(values, dtype=float)
    return f"{float(array):.4g}" if not array.ndim else f"[{', '.join(written(one) for one in array)}]"


def injections(sheet: Sheet, every: int = 1) -> Iterator[tuple[str, Cell, str]]:
    """（错误的名字，格，写下的文字）；写出来与正确的数分不清的不算。

    Args:
        sheet: 练习。
        every: 每几种（格，错误）取一种：大的玩具只抽查。
    """
    count = 0
    for cell in sheet.cells.values():
        seen = set()
        for name, values in wrong_answers(sheet, cell):
            array = np.asarray(values, dtype=float)
            if cell.rows and array.shape != cell.expected.shape:
                continue
            part = cell.pick(array)
            if part is None or (not np.isfinite(part).all() and np.isfinite(cell.asked).all()):
                continue
            text = written(part)
            if (name, text) in seen or is_right(sheet, cell, text):
                continue
            seen.add((name, text))
            count += 1
            if count % every == 0:
                yield name, cell, text


def is_right(sheet: Sheet, cell: Cell, text: str) -> bool:
    """这段文字按所写的位数就是对的。"""
    return Grader(sheet, {cell.id: text}).grade(cell).status == "right"


def identified(name: str, every: int = 1) -> dict[str, Counter[str]]:
    """一个玩具里，每种错误注入了几次（``all``），叫对了几次（``named``），只叫了它一个名字的几次（``alone``）。

    每次只错一格，别的格都填着六位有效数字的答案。
    """
    sheet = Sheet(recorded(name))
    right = {one.id: numbers(one.asked, one.noise) for one in sheet.cells.values()}
    found: dict[str, Counter[str]] = {}
    for mistake, cell, text in injections(sheet, every):
        one = Grader(sheet, {**right, cell.id: text}).grade(cell)
        assert one.status == "wrong", f"{name} {cell.id} with {text} ({mistake}) was graded {one.status}"
        counts = found.setdefault(mistake, Counter())
        counts["all"] += 1
        counts["named"] += mistake in one.names and len(one.names) <= 2
        counts["alone"] += one.names == [mistake]
    for mistake, counts in pairs(sheet):
        found.setdefault(mistake, Counter()).update(counts)
    return found


def pairs(sheet: Sheet) -> Iterator[tuple[str, Counter[str]]]:
    """两格填反了，与抄了别的格：两格形状相同、数不同，其余的格都填对。"""
    right = {one.id: numbers(one.asked, one.noise) for one in sheet.cells.values()}
    cells = [one for one in sheet.cells.values() if not one.rows]
    for first, second in pairwise(cells):
        if first.expected.shape != second.expected.shape or is_right(sheet, first, right[second.id]):
            continue
        both = Grader(sheet, {**right, first.id: right[second.id], second.id: right[first.id]}).report()
        found = [one for one in (both[first.id], both[second.id]) if one.status == "wrong"]  # 另一格也许成了沿用
        named = [one for one in found if "swapped-cells" in one.names and len(one.names) <= 2]
        alone = [one for one in found if one.names == ["swapped-cells"]]
        yield "swapped-cells", Counter({"all": len(found), "named": len(named), "alone": len(alone)})


@pytest.mark.parametrize("name", [*TOYS, "more"])
def test_each_injected_mistake_is_named(name: str) -> None:
    """每种错误注入每个玩具，至少 95% 叫得出名字。"""
    found = identified(name, SAMPLED.get(name, 1))
    low = {mistake: dict(n) for mistake, n in found.items() if n["named"] < NAMED * n["all"]}
    assert not low, f"{name}: named too seldom: {low}"


@pytest.mark.parametrize("level", LEVELS)
def test_mistakes_are_named_in_random_exercises(level: int, tmp_path: Path) -> None:
    """不只是玩具：随机的题里也叫得出名字。"""
    make_exercise(level, 1, tmp_path / "one.md")
    total: Counter[str] = sum(identified(f"{tmp_path / 'one.py'}:exercise").values(), Counter())
    assert total["named"] >= NAMED * total["all"] > 0


@pytest.mark.full
@pytest.mark.parametrize("name", SAMPLED)
def test_each_injected_mistake_is_named_in_every_cell(name: str) -> None:
    """格多的几个玩具：每一格、每种错误。"""
    low = {mistake: dict(n) for mistake, n in identified(name).items() if n["named"] < NAMED * n["all"]}
    assert not low, f"{name}: named too seldom: {low}"


def test_every_mistake_of_the_catalogue_is_injected_somewhere() -> None:
    """目录里没有一种错误是没有试过的；「抄成了别的格」另有测试。"""
    sheets = [Sheet(recorded(toy)) for toy in (*TOYS, "more")]
    tried = {name for one in sheets for cell in one.cells.values() for name, _ in wrong_answers(one, cell)}
    assert {row.id for row in ROWS} == set(TITLES)
    assert set(TITLES) - tried == {"swapped-cells", "copied-other-cell"}


def test_a_number_copied_from_another_cell_is_named() -> None:
    """别的错都对不上、却正是另一格的数时，说是抄错了格。"""
    sheet = Sheet(recorded("broadcast"))
    right = {one.id: numbers(one.asked, one.noise) for one in sheet.cells.values()}
    for name, other in (("G2", "F5"), ("F2", "C4")):
        assert Grader(sheet, {**right, name: right[other]}).report()[name].names == ["copied-other-cell"]
    assert Grader(sheet, {**right, "F5": "123.4"}).report()["F5"].names == []


def table() -> str:
    """整张表：每种错误一行，每个玩具一列，写「叫对的 / 注入的」。"""
    names = [*TOYS, "more"]
    found = {name: identified(name) for name in names}
    rows = [f"| 错误 | {' | '.join(names)} | 合计 | 单独叫出 |", f"| :--- |{' ---: |' * (len(names) + 2)}"]
    every = Counter[str]()
    for mistake in TITLES:
        counts = [found[name].get(mistake, Counter()) for name in names]
        total: Counter[str] = sum(counts, Counter())
        if total["all"]:
            shown = " | ".join(f"{n['named']}/{n['all']}" if n["all"] else "" for n in counts)
            share = f"{100 * total['named'] / total['all']:.1f}%"
            rows.append(f"| {mistake} | {shown} | {share} | {100 * total['alone'] / total['all']:.0f}% |")
        every.update(total)
    rows.append(f"合计 {every['named']}/{every['all']}，单独叫出 {every['alone']}")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
