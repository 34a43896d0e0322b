"""文档：语料流里的一份文本，以及它从哪里来。

流入：读取器读到的一段文本；流出：清洗、分词与打包共用的 ``Document``。下一个文件：``faults.py``（读坏了怎么办）。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document"]


@dataclass(frozen=True, slots=True)
class Document:
    """一份文档。

    Attributes:
        text: 正文。
        source: 出处，写进消息：``"文件:行号"`` 或 ``"语料名#序号"``。
        meta: 随行的其他字段，如标签、网址；读取器原样带着，清洗的各阶段可以往里添。
    """

    text: str
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)
