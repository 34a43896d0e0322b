"""总账的几种样子：终端的表、JSON、提交在这里的 ``ledger.md``、徽章。

流入：``Ledger``；流出：文本。网页见 ``page.py``。
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import torch

from parity_tests.ledger.measure import DIFFERENCE, FORWARD, GRADIENT, tolerance
from parity_tests.ledger.survey import Cell

PATH = Path(__file__).with_name("ledger.md")

COLUMNS = (
    ("float64", FORWARD),
    ("float64", GRADIENT),
    ("float64", DIFFERENCE),
    ("float32", FORWARD),
    ("float32", GRADIENT),
)
"""表的五列：dtype 与比较的种类。"""

QUICK, FULL = 50, 500
"""每个算子的两种取样各抽几个例子：平时与 ``--full``。"""

SHOWN_SCRIPTS = 3


@dataclass(frozen=True)
class Ledger:
    """一次总账。

    Attributes:
        cells: 全部格子。
        seed: 种子。
        examples: 每个算子的两种取样各几个例子。
        seconds: 用了多久。
    """

    cells: list[Cell]
    seed: int
    examples: int
    seconds: float

    @property
    def ops(self) -> list[str]:
        """量过的算子，按名字。"""
        return sorted({cell.op for cell in self.cells})

    @property
    def failures(self) -> list[Cell]:
        """超出容差的格子，最坏的在前。"""
        return sorted((c for c in self.cells if not c.worst.passed), key=lambda c: -c.worst.share)

    @property
    def comparisons(self) -> int:
        """比较的总数：一个例子、一种比较算一次。"""
        return sum(cell.examples for cell in self.cells)

    def worst(self, **wanted: str) -> Cell | None:
        """满足条件（``op``、``dtype``、``shape``、``check``）的格子里用掉容差最多的一格。"""
        chosen = [c for c in self.cells if all(getattr(c, k) == v for k, v in wanted.items())]
        return max(chosen, key=lambda c: (c.worst.share, c.worst.ulps), default=None)


def environment() -> dict[str, str]:
    """在哪里量的。"""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "hypothesis": hypothesis.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def summary(ledger: Ledger) -> list[str]:
    """几行英文的结论。"""
    bounds = ", ".join(
        f"{dtype} vs {'central difference' if check == DIFFERENCE else 'torch'} rtol {tolerance(check, dtype).rtol:g}"
        for dtype, check in (("float64", GRADIENT), ("float64", DIFFERENCE), ("float32", GRADIENT))
    )
    versions = ", ".join(f"{name} {version}" for name, version in environment().items())
    return [
        f"{len(ledger.ops)} ops, {len(ledger.cells):,} cells, {ledger.comparisons:,} comparisons, "
        f"{len(ledger.failures)} failures in {ledger.seconds:.0f} s (seed {ledger.seed}, {ledger.examples} examples)",
        f"bounds: {bounds}",
        versions,
    ]


def number(cell: Cell | None, kind: str = "relative") -> str:
    """一格的数；没有量过的是空的，分毫不差的写作 0。"""
    if cell is None:
        return ""
    value = getattr(cell.worst, kind)
    return "0" if value == 0 else f"{value:.1e}" if kind == "relative" else f"{value:.3g}"


def table(ledger: Ledger) -> str:
    """终端的表：每个算子一行，五种比较里各自最大的相对误差（括号里是 ulp），最坏的在下面。"""
    heads = ["op", "examples", *(f"{dtype} {check}" for dtype, check in COLUMNS), "of bound"]
    rows = []
    for op in ledger.ops:
        top = ledger.worst(op=op)
        share = top.worst.share if top else 0.0
        found = [ledger.worst(op=op, dtype=dtype, check=check) for dtype, check in COLUMNS]
        values = [
            f"{number(c)} ({number(c, 'ulps')})" if c and c.worst.relative and c.check != DIFFERENCE else number(c)
            for c in found
        ]
        rows.append((share, [op, f"{_examples(ledger, op):,}", *values, f"{share:.1e}" if share else "0"]))
    lines = [heads, *(row for _, row in sorted(rows, key=lambda r: (r[0], r[1])))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    body = [
        "  ".join(_placed(i, text, w) for i, (text, w) in enumerate(zip(line, widths, strict=True))) for line in lines
    ]
    return "\n".join([body[0], "-" * len(body[0]), *body[1:]])


def _placed(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _examples(ledger: Ledger, op: str) -> int:
    """一个算子量过几个例子（前向每例一次，每种 dtype 各一次）。"""
    return sum(c.examples for c in ledger.cells if c.op == op and c.check == FORWARD)


def failures_text(ledger: Ledger) -> str:
    """不合格的格子，各附脚本。"""
    parts = []
    for c in ledger.failures:
        head = f"FAILED {c.op} {c.dtype} {c.shape} {c.check}: {c.worst.where}, relative {c.worst.relative:.3e}"
        parts.append("\n".join([head, f"  engine {c.worst.ours}  expected {c.worst.theirs}", c.script, ""]))
    return "\n".join(parts)


def as_json(ledger: Ledger) -> dict[str, Any]:
    """全部数据；``page.py`` 画的就是它。"""
    return {
        "environment": environment(),
        "seed": ledger.seed,
        "examples": ledger.examples,
        "seconds": round(ledger.seconds, 1),
        "ops": len(ledger.ops),
        "comparisons": ledger.comparisons,
        "failures": len(ledger.failures),
        "cells": [_cell_json(cell) for cell in ledger.cells],
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    flat = asdict(cell)
    flat["worst"], flat["replayed"] = cell.worst._asdict(), cell.replayed._asdict()
    for error in (flat["worst"], flat["replayed"]):
        error["relative"], error["ulps"] = (_finite(error[key]) for key in ("relative", "ulps"))
    return {**flat, "passed": cell.worst.passed}


def _finite(value: float) -> float | None:
    """JSON 没有无穷：根本没法比的写作 null。"""
    return value if value < float("inf") else None


def badge(ledger: Ledger) -> str:
    """徽章，自成一体的 SVG。"""
    failed = len(ledger.failures)
    text = f"{failed} failing" if failed else f"{len(ledger.ops)} ops, 0 failures"
    left, right = 50, 12 + round(6.4 * len(text))
    color = "#b3261e" if failed else "#1f7a4d"
    font = 'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle"'
    size = f'width="{left + right}" height="20"'
    words = f'<text x="{left / 2}" y="14">parity</text><text x="{left + right / 2}" y="14">{text}</text>'
    boxes = f'<rect {size} fill="#3c4043"/><rect x="{left}" width="{right}" height="20" fill="{color}"/>'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="parity: {text}">
<title>parity: {text}</title>
<clipPath id="r"><rect {size} rx="4"/></clipPath>
<g clip-path="url(#r)">{boxes}</g>
<g fill="#fff" {font}>{words}</g>
</svg>
"""


def markdown(ledger: Ledger) -> str:
    """``ledger.md`` 的全文。"""
    versions = "，".join(f"{name} {version}" for name, version in environment().items())
    heads = ["算子", "例子", *(f"{dtype} {_TITLE[check]}" for dtype, check in COLUMNS), "最坏的形状"]
    rows = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(_row(ledger, op) for op in ledger.ops)]
    bounds = "\n".join(_bound_line(dtype, check) for dtype, check in COLUMNS)
    full = " --full" if ledger.examples >= FULL else ""
    parts = [
        "# 总账：每个算子与 torch、与中心差分最大差多少\n",
        f"`python -m parity_tests ledger{full} --write` 生成，不要手改。{versions}；种子 {ledger.seed}，"
        f"每个算子的两种取样各 {ledger.examples} 例。\n",
        f"**{len(ledger.ops)} 个算子，{len(ledger.cells):,} 格（算子 × dtype × 形状 × 比较），"
        f"{ledger.comparisons:,} 次比较，{len(ledger.failures)} 格超出容差。**\n",
        "格里是最大的相对误差 |a − b| / (|b| + atol/rtol)，不超过 rtol 即合格；"
        "括号里的 ulp 以整个数组里最大的数的末位计。"
        "空着的是没有可求导的输入。容差：\n",
        bounds + "\n",
        "\n".join(rows) + "\n",
        _scripts(ledger),
    ]
    return "\n".join(parts)


_TITLE = {FORWARD: "前向", GRADIENT: "梯度", DIFFERENCE: "梯度与中心差分"}


def _bound_line(dtype: str, check: str) -> str:
    limit = tolerance(check, dtype)
    return f"- {dtype} {_TITLE[check]}：rtol {limit.rtol:g}，atol {limit.atol:g}"


def _row(ledger: Ledger, op: str) -> str:
    found = [ledger.worst(op=op, dtype=dtype, check=check) for dtype, check in COLUMNS]
    values = [
        f"{number(c)} ({number(c, 'ulps')})" if c and c.worst.relative and c.check != DIFFERENCE else number(c)
        for c in found
    ]
    top = ledger.worst(op=op, dtype="float64", check=GRADIENT) or ledger.worst(op=op)
    return f"| `{op}` | {_examples(ledger, op):,} | {' | '.join(values)} | {top.shape if top else ''} |"


def _scripts(ledger: Ledger) -> str:
    """每种比较里最坏的几格，各附五行脚本。"""
    lines = [
        "## 最坏的几格\n",
        "每段脚本重放缩小之后的例子，误差至少是最坏的一半；最坏的输入本身见 `--json`。\n",
    ]
    for dtype, check in COLUMNS:
        chosen = [c for c in ledger.cells if (c.dtype, c.check) == (dtype, check) and c.script]
        for c in _top(chosen):
            lines.append(f"### `{c.op}`，{dtype} {_TITLE[check]}，{c.shape}：{c.worst.relative:.2e}\n")
            lines.append(f"{c.worst.where}。\n\n```text\n{c.script}\n```\n")
    return "\n".join(lines)


def _top(cells: Iterable[Cell]) -> list[Cell]:
    """每个算子只取最坏的一格，再取前几名。"""
    best: dict[str, Cell] = {}
    for cell in sorted(cells, key=lambda c: -c.worst.share):
        best.setdefault(cell.op, cell)
    return list(best.values())[:SHOWN_SCRIPTS]
