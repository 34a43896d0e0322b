r"""一整段文本：小规模训练不必分片，一次读进内存。

流入：语料名或路径；流出：一段换行统一为 ``\n`` 的文本，以及训练与验证两部分。
大语料走 ``sources.py`` 的流。下一个文件：``../tokenizers/bpe.py``（文本怎样变成 id）。
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.corpora.sources import documents, is_named
from tinygrad_llm.common.errors import DataError, UserError


@dataclass(frozen=True)
class Corpus:
    r"""一份语料。

    Attributes:
        name: 语料名，或文件、文件夹的名字。
        text: 全文，换行统一为 ``\n``。
    """

    name: str
    text: str


def load_corpus(source: str) -> Corpus:
    """按名字或路径载入语料；各份文档以空行相接。

    Args:
        source: 写法与 ``sources.documents`` 相同。

    Returns:
        语料。

    Raises:
        UserError: 既不是语料名，也不像路径。
        DataError: 文件缺失、为空、读不了或坏了；文件夹里没有文本；具名语料还没有下载。
    """
    pieces = documents(source, on_error=Faults(offers_skip=False), piece_bytes=sys.maxsize)
    text = "\n\n".join(document.text for document in pieces)
    return Corpus(source if is_named(source) else Path(source).resolve().name, text)


def split_text(text: str, val_fraction: float) -> tuple[str, str]:
    """把末尾一段留作验证，在行首切开。

    切点是「训练占 1 - val_fraction」处往前的第一个行首；若它远在一半以前（整篇几乎没有换行），就在该处的字符间切开。

    Args:
        text: 全文，至少两个字符。
        val_fraction: 验证部分所占的比例，在 (0, 1) 内。

    Returns:
        训练文本与验证文本，都不为空，首尾相接即为原文。

    Raises:
        UserError: 比例越界。
        DataError: 文本太短，分不成两份。
    """
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction must lie strictly between 0 and 1, got {val_fraction}", fix="try 0.1")
    if len(text) < 2:
        raise DataError(f"{len(text)} characters cannot be split in two", fix="use a longer text")
    target = min(max(round(len(text) * (1 - val_fraction)), 1), len(text) - 1)
    cut = text.rfind("\n", 0, target) + 1
    if 2 * cut < target:
        cut = target
    return text[:cut], text[cut:]
