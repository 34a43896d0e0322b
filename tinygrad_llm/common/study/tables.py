"""研究的 Markdown：标题、几段文字、表。

流入：文字与各行；流出：一个文件。
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.scoring.intervals import student_t

__all__ = ["half_width", "markdown_table", "write_markdown"]

MOST_FREE = 10
"""更大的自由度取这一个的分位数，略宽。"""


def half_width(values: Sequence[float]) -> float:
    """均值的 95% 置信区间的半宽；不足两个值，或有无穷，则为 NaN。"""
    n = len(values)
    if n < 2 or not all(math.isfinite(value) for value in values):
        return math.nan
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return student_t(min(n - 1, MOST_FREE)) * deviation / math.sqrt(n)


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """一张 Markdown 表。"""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_markdown(path: Path, title: str, parts: Sequence[str]) -> None:
    """写下标题与各段。

    Raises:
        DataError: 写不进去。
    """
    try:
        write_atomically(path, "\n\n".join([f"# {title}", *parts, ""]).encode())
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror}", where=str(path), fix="check the folder") from error
