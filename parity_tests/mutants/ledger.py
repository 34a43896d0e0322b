"""变异测试的账本 ``ledger.md``：每一类错误认出了几个，没有认出来的是为什么。

流入：``Outcome``；流出：文本。``--write`` 写下，不许手改。
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable
from pathlib import Path

from parity_tests.mutants.equivalent import EQUIVALENT
from parity_tests.mutants.runner import Outcome

_TOTAL = re.compile(r"\*\*(?P<caught>\d+)/(?P<total>\d+) mutants noticed")
PATH = Path(__file__).with_name("ledger.md")
GROUPS = {
    "forward": "前向", "row": "求导表的一行", "joint": "融合算子的反向", "composed": "融合算子的普通写法",
    "helper": "它们的私有函数", "traversal": "反传的累加", "optimizer": "优化器的更新",
}  # fmt: skip


def survivors(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """该认出而没有认出的。"""
    return [o for o in outcomes if o.verdict == "survived" and o.mutant.name not in EQUIVALENT]


def equivalents(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """与原文是同一个函数的。"""
    return [o for o in outcomes if o.verdict == "survived" and o.mutant.name in EQUIVALENT]


def summary(outcomes: list[Outcome]) -> str:
    """一行总数。"""
    count = collections.Counter(o.verdict for o in outcomes)
    same, alive = len(equivalents(outcomes)), len(survivors(outcomes))
    caught = len(outcomes) - same - alive
    rate = 100 * caught / max(1, len(outcomes) - same)
    return (
        f"{caught}/{len(outcomes) - same} mutants noticed ({rate:.1f} %): {count['killed']} killed, "
        f"{count['timeout']} timeouts, {count['crashed']} crashes; {alive} survived, {same} are equivalent"
    )


def text(outcomes: list[Outcome], drawn: str) -> str:
    """账本的全文。

    Args:
        outcomes: 各变异体的结局。
        drawn: 命令行上说明抽了哪些的选项。
    """
    kinds = sorted({o.mutant.mutation.kind for o in outcomes})
    alive, same = survivors(outcomes), equivalents(outcomes)
    return "\n".join([
        "# 变异测试：账本", "",
        f"`python -m parity_tests mutants {drawn} --write` 生成，不要手改。每个变异体只错一处，只由",
        "它所属的算子（或优化器）自己的快测来认；「等价」的改了写法、没有改函数，逐条说明在后。", "",
        f"**{summary(outcomes)}.**", "",
        *_table("放在哪里", [(GROUPS[g], [o for o in outcomes if o.mutant.target.group == g]) for g in GROUPS]), "",
        *_table("哪一类错误", [(f"{k}", [o for o in outcomes if o.mutant.mutation.kind == k]) for k in kinds]), "",
        *_table("由谁认出", _by_check(outcomes)), "",
        "## 没有认出来的", "", *([f"- `{o.mutant.name}`" for o in alive] or ["没有。"]), "",
        "## 等价的", "", *([f"- `{o.mutant.name}`：{EQUIVALENT[o.mutant.name]}。" for o in same] or ["没有抽到。"]), "",
    ])  # fmt: skip


def read() -> tuple[int, int]:
    """账本里的总数：（认出的，不等价的变异体）。

    Raises:
        ValueError: 账本不是 ``text`` 写的。
    """
    match = _TOTAL.search(PATH.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{PATH.name} has no total")
    return int(match["caught"]), int(match["total"])


def _by_check(outcomes: list[Outcome]) -> list[tuple[str, list[Outcome]]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.verdict == "killed":
            found.setdefault(outcome.check.partition(": ")[2] or outcome.check, []).append(outcome)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def _table(title: str, rows: Iterable[tuple[str, list[Outcome]]]) -> list[str]:
    lines = [f"| {title} | 变异体 | 认出 | 超时或崩溃 | 等价 | 没有认出 |", "| --- | --- | --- | --- | --- | --- |"]
    for name, group in rows:
        if not group:
            continue
        same, alive = len(equivalents(group)), len(survivors(group))
        killed = sum(o.verdict == "killed" for o in group)
        rest = len(group) - same - alive - killed
        lines.append(f"| {name} | {len(group)} | {killed} | {rest} | {same} | {alive} |")
    return lines
