"""打开任何一种分词器：自己的几种看 ``format`` 一栏，别处来的 BPE 词表交给 ``../formats.py``。

流入：路径，或 ``gpt2`` 一类知名词表的名字；流出：分词器。什么也不下载。下一个文件：``command.py``。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.tokenizers.characters import load_characters
from tinygrad_llm.common.tokenizers.formats import load_named
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.unigram import load_unigram
from tinygrad_llm.common.tokenizers.wordpiece import load_wordpiece
from tinygrad_llm.common.tokenizers.words import load_words

__all__ = ["REFERENCES", "open_tokenizer", "references"]

LOADERS: dict[object, Callable[[Path], TextTokenizer]] = {
    "tinygrad_llm.words": load_words,
    "tinygrad_llm.characters": load_characters,
    "tinygrad_llm.wordpiece": load_wordpiece,
    "tinygrad_llm.unigram": load_unigram,
}
REFERENCES = {"gpt2": "gpt2", "gpt4": "cl100k", "gpt4o": "o200k"}
"""压缩率报告里用来比较的知名词表：显示的名字到 ``known.KNOWN`` 里的名字。"""


def open_tokenizer(source: str) -> TextTokenizer:
    """读入一个分词器。

    Args:
        source: 知名词表的名字，或一个文件、文件夹。

    Raises:
        DataError: 缺失、认不出或不合法。
    """
    path = Path(source)
    kind = None
    if path.suffix == ".json" and path.is_file():
        with suppress(OSError, ValueError, RecursionError):
            data = json.loads(path.read_bytes())
            kind = data.get("format") if isinstance(data, dict) else None
    return LOADERS[kind](path) if isinstance(kind, str) and kind in LOADERS else load_named(source)


def references() -> dict[str, TextTokenizer]:
    """``REFERENCES`` 里本机已有的词表；没有的略去。"""
    found: dict[str, TextTokenizer] = {}
    for shown, name in REFERENCES.items():
        with suppress(DataError):
            found[shown] = load_named(name)
    return found
