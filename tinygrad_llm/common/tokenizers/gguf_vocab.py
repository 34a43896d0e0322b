"""GGUF 里的词表：``tokenizer.ggml.*`` 几个键，限于字节级 BPE（``llama.cpp`` 称作 ``gpt2`` 模型）。

流入：一个 GGUF 文件；流出：``Tokenizer``。元数据怎样读见 ``../gguf.py``。
"""

from __future__ import annotations

from pathlib import Path

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.gguf import read_gguf
from tinygrad_llm.common.tokenizers.assemble import VocabularyFile, from_merges
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.formats_gpt2 import byte_ids, merge_line

__all__ = ["load_gguf_vocabulary"]

_PREFIX = "tokenizer.ggml."
_PATTERNS = {
    "default": "gpt2", "gpt-2": "gpt2", "smollm": "smollm", "llama-bpe": "llama3", "llama3": "llama3",
    "llama-v3": "llama3", "qwen2": "qwen2", "gpt-4o": "o200k",
}  # fmt: skip
_NORMAL, _UNUSED = 1, 5
_WHOLE_CHUNKS = "llama3"  # llama.cpp 也只对 Llama 3 的词表整块直取


def load_gguf_vocabulary(path: Path) -> Tokenizer:
    """读出词表。

    Raises:
        DataError: 文件不合法，没有词表，或词表不是字节级 BPE。
    """
    metadata = read_gguf(path).metadata

    def refuse(problem: str) -> DataError:
        return DataError(problem, where=str(path), fix="use a GGUF file with a byte-level BPE vocabulary")

    model, pre = metadata.get(f"{_PREFIX}model"), metadata.get(f"{_PREFIX}pre", "default")
    if model != "gpt2" or not isinstance(pre, str) or pre not in _PATTERNS:
        raise refuse(f"vocabulary {model!r} with pre-tokenizer {pre!r} is not a known byte-level BPE")
    tokens, types = metadata.get(f"{_PREFIX}tokens"), metadata.get(f"{_PREFIX}token_type")
    merges = metadata.get(f"{_PREFIX}merges")
    if tokens is None or merges is None or not _are_words(tokens) or not _are_words(merges):
        raise refuse("the tokens or the merges are missing")
    types = types if types is not None else [_NORMAL] * len(tokens)
    if not isinstance(types, list) or len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise refuse(f"{len(tokens)} tokens need as many types and must be distinct")
    ordinary = {name: id for id, name in enumerate(tokens) if types[id] == _NORMAL}
    specials = {name: id for id, name in enumerate(tokens) if types[id] not in (_NORMAL, _UNUSED)}
    known, others = byte_ids(ordinary, str(path))
    if others:
        raise refuse(f"token {min(others)[:40]!r} is not written in byte-level characters")
    pattern = _PATTERNS[pre]
    vocabulary = VocabularyFile(known, specials, pattern, str(path), takes_whole_chunks=pattern == _WHOLE_CHUNKS)
    return from_merges(vocabulary, [merge_line(line, str(path)) for line in merges])


def _are_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
