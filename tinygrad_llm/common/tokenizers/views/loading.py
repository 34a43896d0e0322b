"""打开任何一种分词器文件：看它的 ``format`` 一栏是哪一种。

流入：路径；流出：分词器。下一个文件：``command.py``。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tinygrad_llm.common.tokenizers import load_tokenizer
from tinygrad_llm.common.tokenizers.characters import load_characters
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.unigram import load_unigram
from tinygrad_llm.common.tokenizers.wordpiece import load_wordpiece
from tinygrad_llm.common.tokenizers.words import load_words

__all__ = ["load_any"]

LOADERS: dict[str, Callable[[Path], TextTokenizer]] = {
    "tinygrad_llm.words": load_words,
    "tinygrad_llm.characters": load_characters,
    "tinygrad_llm.wordpiece": load_wordpiece,
    "tinygrad_llm.unigram": load_unigram,
}


def load_any(path: Path) -> TextTokenizer:
    """读入一个分词器；不是另外几种的，都当作字节级 BPE，由它来报错。

    Raises:
        DataError: 文件缺失或不合法。
    """
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        data = None
    kind = data.get("format") if isinstance(data, dict) else None
    return LOADERS.get(kind, load_tokenizer)(path) if isinstance(kind, str) else load_tokenizer(path)
