"""``data storyworld KIND``：看几项故事世界的数据，统计它，或写成 JSONL 文件。

流入：命令行；流出：终端上的例子或统计，或一个文件。数据从哪里来见 ``__init__.py``。
"""

from __future__ import annotations

import json
import os
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tinygrad_llm.common.corpora import storyworld as world
from tinygrad_llm.common.corpora.storyworld.items import Answerable, Dialogue, Item, Labelled, Policy, Preference, Story
from tinygrad_llm.common.corpora.storyworld.statistics import balance, content, diversity, unpredictability
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.files import sync_folder, temporary_sibling
from tinygrad_llm.common.progress import format_bytes

__all__ = ["Options", "main"]

_WIDTH = 100
_EXAMPLES = 6
_MANY = 2_000


@dataclass(frozen=True)
class Options:
    """取数据的选项。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    kind: Literal["stories", "questions", "instructions", "labelled", "preferences", "choices", "policy", "dialogues"]
    """哪一种数据。"""
    lang: Literal["en", "zh", "both"] = "both"
    """语言；both 交替。"""
    split: Literal["train", "val", "test"] = "train"
    """划分；三者没有一项相同。"""
    count: int = 0
    """取多少项；0 表示默认：看例子时 6，统计或写文件时 2000。"""
    start: int = 0
    """从第几项起。"""
    seed: int = 0
    """世界的种子。"""
    task: str = ""
    """labelled 的任务（topic、sentiment、spam），questions 的 story 或 world，别的两种的题型（逗号隔开）。"""
    level: int = 0
    """instructions 的难度，1 到 3；0 表示混合。"""
    out: Path | None = None
    """写成 JSONL 文件，一行一项；不给就打印例子。"""
    stats: bool = False
    """打印统计而不是例子。"""

    def __post_init__(self) -> None:
        problems = []
        if self.count < 0 or self.start < 0:
            problems.append("--count and --start must be 0 or more")
        if self.out is not None and self.stats:
            problems.append("--out and --stats exclude each other")
        if self.level and self.kind != "instructions":
            problems.append("--level is for instructions")
        if self.task and self.kind not in ("labelled", "questions", "instructions", "preferences"):
            problems.append(f"--task is not for {self.kind}")
        if problems:
            raise UserError("; ".join(problems), fix='see "data storyworld --help"')


def main(options: Options) -> None:
    """打印、统计或写出数据。

    Args:
        options: 见 ``Options``。

    Raises:
        UserError: 选项不对。
        DataError: 文件写不进去。
    """
    sequence = _sequence(options, options.split)
    if options.out is not None:
        count = options.count or _MANY
        items = (sequence[index] for index in range(options.start, options.start + count))
        size = _write(options.out, items)
        print(f"{options.out}: {count:,} {options.kind}, {format_bytes(size)} (storyworld version {world.VERSION})")
    elif options.stats:
        items_seen = sequence.take(options.count or _MANY, options.start)
        other = "val" if options.split == "train" else "train"
        _print_stats(items_seen, _sequence(options, other).take(max(len(items_seen) // 10, 1)))
    else:
        for item in sequence.take(options.count or _EXAMPLES, options.start):
            _show(item)


def _sequence(options: Options, split: str) -> world.Lazy[Any]:
    """选项所指的序列。"""
    make: Callable[..., world.Lazy[Any]] = getattr(world, options.kind)
    more: dict[str, Any] = {}
    if options.kind == "labelled":
        more["task"] = options.task or "topic"
    elif options.kind == "questions":
        more["about"] = options.task or None
    elif options.kind == "instructions":
        more = {"tasks": tuple(filter(None, options.task.split(","))), "level": options.level or None}
    elif options.kind == "preferences":
        more["tasks"] = tuple(filter(None, options.task.split(",")))
    return make(options.seed, options.lang, split, **more)


# ---- 打印 ----


def _show(item: Item) -> None:
    """一项的可读样子：小标题，正文，答案。"""
    kind = next((str(getattr(item, name)) for name in ("plot", "task", "reason") if hasattr(item, name)), "")
    print(f"── {item.id}  {kind}")
    if isinstance(item, Dialogue):
        for role, text in item.turns:
            _paragraph(f"{role:>9}: ", text)
    elif isinstance(item, Preference):
        _paragraph("   prompt: ", item.prompt)
        _paragraph("   chosen: ", item.chosen)
        _paragraph(" rejected: ", item.rejected)
    elif isinstance(item, Answerable):
        if isinstance(item, Policy):
            _paragraph("   system: ", item.system)
        _paragraph("   prompt: ", item.prompt)
        _paragraph("   answer: ", item.answer)
    elif isinstance(item, Labelled):
        _paragraph(f"{item.label:>9}: ", item.text)
    elif isinstance(item, Story):
        _paragraph("  ", item.text)
    print()


def _paragraph(lead: str, text: str) -> None:
    """按显示宽度折行打印：汉字占两列、处处可断，句读不落在行首。"""
    for line in text.split("\n"):
        used, row = 0, ""
        for token in re.findall(r"[\u2e80-\u9fff][，。、；：！？）》”…]*|[^\s\u2e80-\u9fff]+|\s+", line):
            columns = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in token)
            if used and used + columns > _WIDTH - len(lead):
                print(lead + row.rstrip())
                used, row, lead = 0, "", " " * len(lead)
            if used or not token.isspace():
                used, row = used + columns, row + token
        print(lead + row.rstrip())
        lead = " " * len(lead)


def _print_stats(items: list[Item], held_out: list[Item]) -> None:
    texts = list(map(content, items))
    for name, value in diversity(texts).items():
        print(f"{name:<24}{value:>14,.3f}" if isinstance(value, float) else f"{name:<24}{value:>14,}")
    bits = unpredictability(texts, list(map(content, held_out)))
    print(f"{'5-gram bits per byte':<24}{bits:>14,.3f}  on {len(held_out)} items of another split")
    for name, counts in balance(items).items():
        shown = "  ".join(f"{value} {count}" for value, count in sorted(counts.items()))
        print("\n".join(textwrap.wrap(f"{name}: {shown}", _WIDTH, subsequent_indent="  ")))


# ---- 写文件 ----


def _write(path: Path, items: Iterable[Item]) -> int:
    """一行一项写成 JSONL；写完才改名到位，返回字节数。"""
    temporary = temporary_sibling(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for item in items:
                file.write(json.dumps(item.to_json(), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(
            f"cannot write: {error.strerror}", where=str(path), fix="check the folder and the disk"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return size
