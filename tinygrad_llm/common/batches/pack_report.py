"""``python -m torch_llm data pack-report DIR --context T``：几种成行的方法，各用掉多少、丢掉多少。

流入：分片文件夹与行长；流出：一张表。没有一种方法样样最好，这张表让人看着自己的语料选。怎样打包见 ``packing.py``。
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from tinygrad_llm.common.batches.inspect import histogram
from tinygrad_llm.common.batches.packing import FILLS, LONGS, Plan, plan_rows
from tinygrad_llm.common.batches.store import Split, open_store
from tinygrad_llm.common.errors import UserError

__all__ = ["PackReportConfig", "main", "report_rows"]

_COLUMNS = ("method", "rows", "used", "lost", "BOS rows", "docs cut", "docs/row", "planned in")

_LEGEND = """\
windows     documents joined end to end, then cut every T tokens
pad, crop   how the end of a row is filled when no whole document fits
+ crop      of a document longer than a row only the first row is kept
+ split     it is split into several rows; the later ones do not begin at BOS
used        share of the slots in all rows that hold a token
lost        share of all tokens that are in no row"""


@dataclass(frozen=True)
class PackReportConfig:
    """比较几种成行的方法。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    folder: Path
    """分片文件夹。"""
    context: int = 1024
    """行长（token）。"""
    split: Literal["train", "val"] = "train"
    """看哪个集合。"""

    def __post_init__(self) -> None:
        if self.context < 1:
            raise UserError(f"--context must be at least 1, got {self.context}", fix="try --context 1024")


def main(config: PackReportConfig) -> None:
    """印出长度的分布与各种方法的比较。"""
    from rich.console import Console
    from rich.table import Table

    split = open_store(config.folder).split(config.split)
    console = Console(highlight=False)
    console.print(f"document lengths in {config.split} (tokens):")
    for line in histogram(split.lengths):
        console.print(line)
    longer = float((split.lengths > config.context).mean())
    console.print(f"{longer:.1%} of the documents are longer than a row of {config.context:,}\n")
    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for row in report_rows(split, config.context):
        table.add_row(*row)
    console.print(table)
    console.print(f"\n{_LEGEND}")


def report_rows(split: Split, context: int) -> list[tuple[str, ...]]:
    """表的各行，已写成文字。

    Args:
        split: 一个集合。
        context: 行长 T。

    Returns:
        每种方法一行，列见表头；数据不足一个窗口时没有 ``windows``。
    """
    rows = [_windows_row(split, context)] if split.tokens.size > context else []
    for long in reversed(LONGS):
        for fill in reversed(FILLS):
            started_at = time.perf_counter()
            plan = plan_rows(split.starts, split.lengths, context, fill=fill, long=long)
            rows.append(_plan_row(f"{fill} + {long}", plan, split, time.perf_counter() - started_at))
    return rows


def _windows_row(split: Split, context: int) -> tuple[str, ...]:
    windows = split.windows(context).size
    starts = np.arange(windows) * context
    aligned = np.isin(starts, split.starts).mean()
    edges = np.searchsorted(split.starts, [0, windows * context])
    cut = np.unique(np.searchsorted(split.starts, starts[~np.isin(starts, split.starts)], side="right")).size
    lost = 1 - windows * context / (split.tokens.size - 1)
    return (
        "windows",
        f"{windows:,}",
        f"{1:.2%}",
        f"{lost:.2%}",
        f"{aligned:.1%}",
        f"{cut:,}",
        f"{(edges[1] - edges[0]) / windows:.1f}",
        "-",
    )


def _plan_row(method: str, plan: Plan, split: Split, elapsed_s: float) -> tuple[str, ...]:
    firsts = plan.starts[np.append(0, plan.row_ends[:-1])]
    return (
        method,
        f"{plan.rows:,}",
        f"{plan.utilisation:.2%}",
        f"{plan.cropped:.2%}",
        f"{np.isin(firsts, split.starts).mean():.1%}",
        f"{plan.cropped_documents + plan.split_documents:,}",
        f"{plan.starts.size / plan.rows:.1f}",
        f"{elapsed_s:.2f} s",
    )
