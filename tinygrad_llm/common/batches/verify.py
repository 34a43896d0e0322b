"""``python -m torch_llm data verify DIR``：逐字节核对一个分片文件夹。

流入：文件夹；流出：每个文件一行，或一条指名文件的错误。怎样核对见 ``checks.py``。
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tinygrad_llm.common.batches.checks import check_contents, check_sizes
from tinygrad_llm.common.batches.index import read_index
from tinygrad_llm.common.batches.store import open_store
from tinygrad_llm.common.progress import format_bytes

__all__ = ["VerifyConfig", "main"]


@dataclass(frozen=True)
class VerifyConfig:
    """核对分片。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    folder: Path
    """分片文件夹。"""


def main(config: VerifyConfig) -> None:
    """核对大小、摘要、id 的范围、文档的起点与分词器；不管以前是否核对过。"""
    started_at = time.perf_counter()
    index = read_index(config.folder)
    check_sizes(config.folder, index)
    width = max(map(len, index.files))

    def done(name: str) -> None:
        print(f"ok  {name:<{width}}  {format_bytes(index.files[name].size)}", flush=True)

    check_contents(config.folder, index, again=True, on_file=done)
    open_store(config.folder)
    size, elapsed_s = sum(entry.size for entry in index.files.values()), time.perf_counter() - started_at
    print(f"intact: {len(index.files)} files, {format_bytes(size)}, {format_bytes(size / elapsed_s)} per s")
