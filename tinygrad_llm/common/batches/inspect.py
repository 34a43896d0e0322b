"""``python -m torch_llm data inspect DIR``：分片里有多少、有多长，一个批次看起来是什么样。

流入：分片文件夹；流出：终端上的几张表与着色的文字：相邻的文档底色不同，特殊 token 反白，填充是灰点。
下一个文件：``pack_report.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.batches.store import Store, open_store
from tinygrad_llm.common.batches.stream import IGNORE_INDEX, Shuffled
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.tokenizers import Tokenizer

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["InspectConfig", "histogram", "main"]

_STYLES = ("black on color(152)", "black on color(223)")  # 深浅底的终端上都看得清
_BAR_WIDTH = 40


@dataclass(frozen=True)
class InspectConfig:
    """看看分片里有什么。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    folder: Path
    """分片文件夹。"""
    split: Literal["train", "val"] = "train"
    """看哪个集合的批次。"""
    packing: Literal["windows", "bos", "split"] = "windows"
    """怎样成行：首尾相接再切；整篇装行，每行从文档开头开始；或长文档切成几行。"""
    context: int = 128
    """行长（token）。"""
    rows: int = 4
    """看几行。"""
    step: int = 0
    """第几步的批次。"""
    seed: int = 0
    """打乱用的种子。"""

    def __post_init__(self) -> None:
        if self.context < 1 or self.rows < 1 or self.step < 0:
            raise UserError(
                f"--context and --rows must be positive and --step not negative, "
                f"got {self.context}, {self.rows} and {self.step}",
                fix="correct these flags",
            )


def main(config: InspectConfig) -> None:
    """印出统计、长度的分布与一个解码后的批次。"""
    from rich.console import Console

    store = open_store(config.folder)
    split = store.split(config.split)
    console = Console(highlight=False)
    console.print(_statistics(store))
    console.print(f"\ndocument lengths in {config.split} (tokens):")
    for line in histogram(split.lengths):
        console.print(line)
    samples = split.samples(config.packing, config.context)
    stream = Shuffled(samples, batch_size=config.rows, seed=config.seed)
    x, y = stream.batch(config.step)
    segments = stream.segments(config.step)
    console.print(
        f"\nbatch {config.step} of {config.split}: {config.rows} of {samples.size:,} rows of {config.context} tokens, "
        f"seed {config.seed}"
    )
    for i, row in enumerate(x):
        documents = int(segments[i].max()) + 1
        padding = int((y[i] == IGNORE_INDEX).sum())
        console.print(f"\n[bold]row {i}[/bold]  {documents} document(s), {padding} padded")
        console.print(_coloured(row, segments[i], store.tokenizer))


def histogram(lengths: Numbers) -> list[str]:
    """长度的分布：按 2 的幂分档，每档一行，带一条横杠。"""
    bins = np.bincount(np.log2(lengths).astype(int))
    rows = []
    for power in range(int(np.flatnonzero(bins)[0]), bins.size):
        count = int(bins[power])
        bar = "█" * -(-count * _BAR_WIDTH // int(bins.max()))
        rows.append(f"{1 << power:>9,}-{(2 << power) - 1:<9,} {bar} {count:,}")
    return rows


def _statistics(store: Store) -> Table:
    """每个集合一行。"""
    from rich.table import Table

    index = store.index
    table = Table(
        title=f"{index.source}: {index.dtype}, vocabulary {index.vocab_size:,}, tokenizer {index.tokenizer[:12]}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("split", "documents", "tokens", "text", "bytes/token", "median", "longest", "shards"):
        table.add_column(column, justify="left" if column == "split" else "right", no_wrap=True)
    for name, split in store.splits.items():
        lengths, tokens = split.lengths, split.tokens.size
        figures = [int(np.median(lengths)), int(lengths.max()), len(split.tokens.parts)]
        table.add_row(
            name,
            f"{split.starts.size:,}",
            f"{tokens:,}",
            format_bytes(split.text_bytes),
            f"{split.text_bytes / tokens:.2f}",
            *(f"{figure:,}" for figure in figures),
        )
    return table


def _coloured(row: Numbers, segments: np.ndarray, tokenizer: Tokenizer) -> Text:
    """一行的文字：相邻的文档底色不同。"""
    from rich.text import Text

    text = Text()
    edges = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), row.size]
    for start, stop in pairwise(edges):
        if segments[start] < 0:
            text.append("·" * (stop - start), "dim")
            continue
        style = _STYLES[int(segments[start]) % len(_STYLES)]
        ids = row[start:stop].tolist()
        if ids[0] == tokenizer.eot:
            text.append(tokenizer.decode(ids[:1]), "reverse")
            ids = ids[1:]
        text.append(_visible(tokenizer.decode(ids)), style)
    return text


def _visible(text: str) -> str:
    """换行写成 ↵；其余印不出的字符（包括终端的控制符）写成转义。"""
    text = text.replace("\n", "↵").replace("\t", "→")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
