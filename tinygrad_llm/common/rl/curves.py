"""pass@k 曲线：同样的题，训练前后各写 n 个回答，至少对一个的概率随 k 怎样上升。

流入：每道题对了几个；流出：``pass_at_k.html`` 与 ``.json``，带区间与配对检验的 p 值。下一个文件：``seeds.py``。
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.rl.drift import HEADERS as DRIFT_HEADERS
from tinygrad_llm.common.rl.drift import Drift, drift_lines, drift_of, drift_rows, drift_told
from tinygrad_llm.common.rl.measure import powers, solve_rates

__all__ = ["Outcome", "finish", "pass_rows", "pooled", "write_curves"]

CURVES, OUTCOME = "pass_at_k", "exam.json"


class Outcome(NamedTuple):
    """训练前后的考试。

    Attributes:
        before: 出发时每道题对了几个 ``(n,)``。
        after: 训练之后的。
        samples: 每题写了几个。
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    samples: int


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """几个种子的题放在一起：每个种子的每道题是一对。"""
    return Outcome(
        np.concatenate([one.before for one in outcomes]),
        np.concatenate([one.after for one in outcomes]),
        outcomes[0].samples,
    )


def pass_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """每个 k 一行：前、后、差与它的 95 % 区间、双侧的 p 值；同一道题配成一对。"""
    from tinygrad_llm.common.scoring import bootstrap_interval, paired_difference, paired_p_value

    rows = []
    for k in powers(outcome.samples):
        before, after = (solve_rates(one, outcome.samples, k) for one in (outcome.before, outcome.after))
        first, last, gap = bootstrap_interval(before), bootstrap_interval(after), paired_difference(before, after)
        rows.append(
            {
                "k": k,
                "before": first.value,
                "before_interval": [first.low, first.high],
                "after": last.value,
                "after_interval": [last.low, last.high],
                "difference": gap.value,
                "difference_interval": [gap.low, gap.high],
                "p": paired_p_value(before, after),
            }
        )
    return rows


def write_curves(
    folder: Path, outcomes: Mapping[str, Outcome], title: str, drifts: Mapping[str, Drift] | None = None
) -> Path:
    """画出曲线，写下数字。

    Args:
        folder: 写在哪里。
        outcomes: 名字到结果；每个名字两条曲线。
        title: 页面的标题。
        drifts: 名字到代价；没有量过的不写。

    Returns:
        写好的网页。

    Raises:
        OutOfDiskError: 写不进去。
    """
    from tinygrad_llm.common.report import Section, Series, line_chart, page, side_by_side, table, write_page

    tables = {name: pass_rows(one) for name, one in outcomes.items()}
    charts, sections = [], []
    for name, rows in tables.items():
        ks = [float(row["k"]) for row in rows]
        lines = [
            Series(label, ks, [row[key] for row in rows]) for key, label in (("before", "训练前"), ("after", "训练后"))
        ]
        charts.append(line_chart(lines, title=name, x_label="k", y_label="pass@k"))
    n, samples = len(next(iter(outcomes.values())).before), next(iter(outcomes.values())).samples
    note = f"{n} 道留出的题，每题写 {samples} 个回答；pass@k 是「k 个里至少对一个」的无偏估计。"
    sections.append(Section("曲线", side_by_side(charts), note))
    head = ["", "k", "训练前", "训练后", "差", "差的 95 % 区间", "p"]
    body = [
        [name, row["k"], *(_points(row[key]) for key in ("before", "after", "difference")), _span(row), row["p"]]
        for name, rows in tables.items()
        for row in rows
    ]
    sections.append(Section("数字", table(head, body), "同一道题前后配成一对；p 由双侧的符号置换检验得出。"))
    if drifts:
        note = "KL 由模型自己的回答估得，0 就是还没离开；bits/byte 量的是出发点学过的文本，升高就是忘。"
        sections.append(Section("代价：离开多远，忘了多少", table(DRIFT_HEADERS, drift_rows(drifts)), note))
    path = folder / f"{CURVES}.html"
    write_page(path, page(title, sections, subtitle="pass@k"))
    told = {
        "problems": n, "samples": samples, "curves": tables,
        "drift": {name: drift_told(one) for name, one in (drifts or {}).items()},
    }  # fmt: skip
    write_page(path.with_suffix(".json"), json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    return path


def finish(folder: Path, outcome: Outcome) -> None:
    """一次训练的末尾：写报告与曲线，说出结果。"""
    from tinygrad_llm.common.report import training_report

    drift = drift_of(folder)
    path = write_curves(folder, {"": outcome}, folder.resolve().name, {} if drift is None else {"": drift})
    told = {"before": outcome.before.tolist(), "after": outcome.after.tolist(), "samples": outcome.samples}
    write_atomically(folder / OUTCOME, json.dumps(told).encode())
    print(*described(outcome), *([] if drift is None else drift_lines(drift)), sep="\n")
    print(f"report: {training_report(folder)}\npass@k: {path}")


def described(outcome: Outcome) -> list[str]:
    """给终端看的几行。"""
    return [
        f"pass@{row['k']}: {row['before']:.1%} -> {row['after']:.1%} ({row['difference']:+.1%}, 95 % interval "
        f"{_span(row)}, p = {row['p']:.2g}, n = {len(outcome.before)})"
        for row in pass_rows(outcome)
    ]


def _points(value: float) -> str:
    return f"{value:.1%}"


def _span(row: Mapping[str, Any]) -> str:
    low, high = row["difference_interval"]
    return f"{low:+.1%} to {high:+.1%}"
