"""``data clean`` 与 ``data report``：清洗一份语料，或只看看它由什么组成。

流入：命令行；流出：干净的分片与一页报告。实现见 ``pipeline.py`` 与 ``report.py``。
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from time import monotonic, perf_counter
from typing import ClassVar, Literal

from tinygrad_llm.common.cleaning.config import CleanConfig
from tinygrad_llm.common.cleaning.pipeline import Result, Runner, clean
from tinygrad_llm.common.cleaning.ray_runner import run_ray
from tinygrad_llm.common.cleaning.report import REPORT, clean_report, corpus_report
from tinygrad_llm.common.cleaning.statistics import Statistics
from tinygrad_llm.common.cleaning.workers import run_local
from tinygrad_llm.common.corpora import Faults, documents
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.report import write_page
from tinygrad_llm.common.system import usable_cpus

__all__ = ["CleanOptions", "ReportOptions", "clean_corpus", "report_corpus"]

NOTICE_INTERVAL_S = 2.0
REPORT_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class CleanOptions(CleanConfig):
    """清洗一份语料：规整、过滤、去污染、抹去个人信息、查重；写出干净的 JSON lines 与一页报告。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    source: str
    """语料名、文件、文件夹或通配式，见 data list。"""
    out: Path = Path("cleaned")
    """写到哪个文件夹；须为空，或是同样的清洗上次的结果。"""
    field: str = ""
    """记录里正文的字段，几个用逗号隔开；默认为 text。"""
    on_error: Literal["stop", "skip"] = "stop"
    """坏输入：stop 就此停下，skip 计数并略过。"""
    runner: Literal["local", "ray"] = "local"
    """在哪里运行：local 是本机的几个进程，ray 是 Ray 集群（各机器须能读写 --out）。"""
    workers: int = 0
    """几个进程；0 是全部的核。"""
    shard_mb: float = 8.0
    """一个分片约多少百万字符；每个进程的内存约为它的几十倍。"""
    no_gzip: bool = False
    """写成 .jsonl 而不是 .jsonl.gz。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = super().problems()
        if self.workers < 0:
            found.append(f"workers must be 0 or more, got {self.workers}")
        if not 0 < self.shard_mb <= 1000:
            found.append(f"shard_mb must lie in (0, 1000], got {self.shard_mb}")
        return found


@dataclass(frozen=True)
class ReportOptions:
    """一份语料由什么组成：长度、字符、语言、词组，写成一页。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    source: str
    """语料名、文件、文件夹或通配式，见 data list。"""
    out: Path = Path(REPORT)
    """写到哪个文件。"""
    field: str = ""
    """记录里正文的字段，几个用逗号隔开；默认为 text。"""
    on_error: Literal["stop", "skip"] = "stop"
    """坏输入：stop 就此停下，skip 计数并略过。"""


def clean_corpus(options: CleanOptions) -> None:
    """``data clean``。

    Args:
        options: 选项。

    Raises:
        UserError: 设置不对、输入坏了、被打断或写不进去；见 ``clean``。
    """
    config = CleanConfig(**{one.name: getattr(options, one.name) for one in fields(CleanConfig)})
    faults = Faults(options.on_error)
    runner: Runner = run_ray if options.runner == "ray" else run_local
    started_at = perf_counter()
    result = clean(
        documents(options.source, on_error=faults, field=options.field),
        options.out,
        config,
        runner=runner,
        workers=options.workers or usable_cpus(),
        shard_chars=max(int(options.shard_mb * 1e6), 1),
        is_compressed=not options.no_gzip,
        notice=_throttled(),
        finish=lambda found, folder: write_page(folder / REPORT, clean_report(options.source, found, faults)),
    )
    if not result.is_new:
        print(f"{options.out} is up to date: same input, same settings, every file intact")
        return
    _print_result(result, options.out, perf_counter() - started_at)
    if faults.counts:
        print(faults.summary())


def report_corpus(options: ReportOptions) -> None:
    """``data report``。

    Args:
        options: 选项。

    Raises:
        DataError: 输入坏了。
        OutOfDiskError: 写不进去。
    """
    if not options.out.parent.is_dir():
        raise UserError("the folder of the report does not exist", where=str(options.out), fix="create it first")
    faults, statistics = Faults(options.on_error), Statistics()
    stream = documents(options.source, on_error=faults, field=options.field)
    while batch := list(islice(stream, REPORT_BATCH)):
        part = Statistics()
        for document in batch:
            part.add(document.text)
        statistics.merge(part)
    write_page(options.out, corpus_report(options.source, statistics, faults))
    print(f"{statistics.documents:,} documents, {format_bytes(statistics.bytes)}; report: {options.out}")


def _print_result(result: Result, out: Path, elapsed_s: float) -> None:
    width = max(map(len, result.tallies))
    print(f"{'stage':<{width}}  {'documents':>10}  {'removed':>8}  {'changed':>8}  why")
    for name, tally in result.tallies.items():
        why = ", ".join(f"{reason} {count:,}" for reason, count in tally.reasons.most_common(4))
        print(f"{name:<{width}}  {tally.seen:>10,}  {tally.removed:>8,}  {tally.changed:>8,}  {why}".rstrip())
    before, after = result.before, result.after
    print(
        f"kept {after.documents:,} of {before.documents:,} documents, "
        f"{format_bytes(after.bytes)} of {format_bytes(before.bytes)}, in {elapsed_s:.1f} s"
    )
    print(f"wrote {out} ({len(result.files)} files); report: {out / REPORT}")


def _throttled() -> Callable[[str], None]:
    """进度写到 stderr，至多两秒一句。"""
    last = [float("-inf")]

    def notice(text: str) -> None:
        if monotonic() - last[0] >= NOTICE_INTERVAL_S:
            print(text, file=sys.stderr, flush=True)
            last[0] = monotonic()

    return notice
