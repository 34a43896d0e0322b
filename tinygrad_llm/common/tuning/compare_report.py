"""几种学法比出来的表与图：终端上一张，Markdown 与网页各一份，JSON 给程序读。

流入：各格的结果；流出：``compare.json``、``compare.html``、``compare.md``。
同一种学法的几个种子合在一起：一道题的分数是各种子的平均，区间由各题重抽；与基准之差逐题相减，题的难易因此抵消。
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_llm.common.progress import format_bytes, format_duration
from tinygrad_llm.common.scoring.intervals import Interval, bootstrap_interval, paired_difference, wilson_interval
from tinygrad_llm.common.study.cells import save_json
from tinygrad_llm.common.study.tables import markdown_table, write_markdown

if TYPE_CHECKING:
    from tinygrad_llm.common.tuning.compare import Measured
    from tinygrad_llm.common.tuning.ways import SftCompareConfig

__all__ = ["publish", "summary"]

RESULT = "compare"
COSTS = {
    "trained": ("学了几个参数", "个", 1.0),
    "memory_bytes": ("内存峰值", "MiB", 2.0**20),
    "step_s": ("一步", "毫秒", 1e-3),
    "stored_bytes": ("要存的权重", "KiB", 2.0**10),
}
"""要画的代价：标题、单位、一个单位是多少。"""


def publish(folder: Path, config: SftCompareConfig, cells: Sequence[Measured]) -> None:
    """写下三份，印出表。

    Args:
        folder: 比较的文件夹。
        config: 设置。
        cells: 各格的结果。
    """
    rows = summary(cells)
    names = list(rows[0]["forgotten"])
    table = markdown_table(_headers(names), [_row(row, names) for row in rows])
    first = rows[0]
    note = (
        f"{config.seeds} seed(s) each, n = {first['questions']} held-out questions, {first['before']:.1%} right before "
        f"training; 95 % intervals over questions, the difference to {first['way']} question by question. "
        "Forgetting is bits per byte before -> after. Memory is the peak of each training's own process."
    )
    save_json(folder / f"{RESULT}.json", {"ways": rows, "cells": [_cell(one) for one in cells]})
    write_markdown(folder / f"{RESULT}.md", "Full tuning, last layers, LoRA", [note, table])
    _write_page(folder / f"{RESULT}.html", rows, cells, names)
    print(f"{table}\n{note}\nwrote {folder}")


def summary(cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """一种学法一行，写得成 JSON。

    Args:
        cells: 各格的结果；头一种学法是基准。
    """
    groups: dict[str, list[Measured]] = {}
    for one in cells:
        groups.setdefault(one.way, []).append(one)
    baseline = _scores(next(iter(groups.values())))
    return [_summed(way, group, baseline) for way, group in groups.items()]


def _scores(group: Sequence[Measured]) -> Any:
    """每道题的分数：几个种子里对了几成。"""
    return np.mean([one.right for one in group], axis=0)


def _summed(way: str, group: Sequence[Measured], baseline: Any) -> dict[str, Any]:
    scores, first = _scores(group), group[0]
    is_one = len(group) == 1
    rate = wilson_interval(int(scores.sum()), scores.size) if is_one else bootstrap_interval(scores)
    return {
        "way": way,
        "trained": first.trained,
        "share": first.trained / first.parameters,
        "exact_match": _interval(rate),
        "difference": _interval(paired_difference(baseline, scores)),
        "by_seed": {str(one.seed): one.exact_match for one in group},
        "questions": int(scores.size),
        "before": first.before,
        "loss": [float(np.mean([one.losses[i] for one in group])) for i in (0, 1)],
        "forgotten": {
            name: [first.forgotten[name].old_before, float(np.mean([one.forgotten[name].old_after for one in group]))]
            for name in first.forgotten
        },
        "memory_bytes": max(one.memory_bytes for one in group),
        "step_s": float(np.median([one.step_s for one in group])),
        "total_s": float(np.mean([one.total_s for one in group])),
        "stored_bytes": first.stored_bytes,
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _cell(one: Measured) -> dict[str, Any]:
    """一格，写得成 JSON。"""
    return {
        "way": one.way, "seed": one.seed, "exact_match": one.exact_match, "right": one.right.astype(int).tolist(),
        "losses": list(one.losses), "forgotten": {name: dict(f._asdict()) for name, f in one.forgotten.items()},
        "memory_bytes": one.memory_bytes, "step_s": one.step_s, "total_s": one.total_s,
        "stored_bytes": one.stored_bytes,
    }  # fmt: skip


def _headers(names: Sequence[str]) -> list[str]:
    forgotten = [f"{name}, bits/byte" for name in names]
    return [
        "way", "trained", "share", "exact match", "vs first", "held-out loss", *forgotten, "peak memory", "s/step",
        "time", "stored",
    ]  # fmt: skip


def _row(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    forgotten = ["{:.3f} -> {:.3f}".format(*row["forgotten"][name]) for name in names]
    return [
        row["way"], f"{row['trained']:,}", f"{row['share']:.2%}", _percent(row["exact_match"]),
        _percent(row["difference"], sign="+"), f"{row['loss'][1]:.4f}", *forgotten, format_bytes(row["memory_bytes"]),
        f"{row['step_s']:.3f}", format_duration(row["total_s"]), format_bytes(row["stored_bytes"]),
    ]  # fmt: skip


def _percent(found: dict[str, float], sign: str = "") -> str:
    return f"{found['value']:{sign}.1%} [{found['low']:{sign}.1%}, {found['high']:{sign}.1%}]"


def _write_page(path: Path, rows: Sequence[dict[str, Any]], cells: Sequence[Measured], names: Sequence[str]) -> None:
    from tinygrad_llm.common.charts import Whisker, bar_chart, interval_chart
    from tinygrad_llm.common.report import Section, page, preformatted, side_by_side, table, write_page

    ways = [row["way"] for row in rows]
    right = [Whisker(row["way"], *(100 * row["exact_match"][key] for key in ("value", "low", "high"))) for row in rows]
    charts = [interval_chart(right, title="答对几成（95 % 区间）", x_label="%")]
    for name in names:
        after = [row["forgotten"][name][1] for row in rows]
        start = rows[0]["forgotten"][name][0]
        charts.append(bar_chart(ways, after, title=f"忘了多少：{name}（之前 {start:.3f}）", x_label="bits/byte"))
    for key, (title, unit, scale) in COSTS.items():
        charts.append(bar_chart(ways, [row[key] / scale for row in rows], title=title, x_label=unit))
    seeds = [
        [one.way, one.seed, f"{one.exact_match:.1%}", one.losses[1], format_duration(one.total_s)] for one in cells
    ]
    sections = [
        Section(
            "比较", table(_headers(names), [_row(row, names) for row in rows]), "头一种学法是基准；区间由各题重抽。"
        ),
        Section("图", side_by_side(charts)),
        Section("各格", table(["学法", "种子", "答对", "留作评估的损失", "用时（秒）"], seeds)),
        Section("JSON", preformatted(json.dumps(rows, ensure_ascii=False, indent=1))),
    ]
    write_page(path, page("全部参数、末几层与 LoRA", sections, subtitle="sft-compare"))
