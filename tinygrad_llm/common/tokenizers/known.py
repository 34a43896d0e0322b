"""几个知名的词表：它们的文件叫什么、放在哪里、怎样认出。什么也不下载。

流入：名字，如 ``gpt2``；流出：本机上的文件，或一条放置它的指示。读文件见 ``formats.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinygrad_llm.common.environment import CACHE, cache_folder
from tinygrad_llm.common.errors import DataError

__all__ = ["KNOWN", "KnownVocabulary", "by_digest", "find_known", "vocabulary_folder"]

_END, _FIM = "<|endoftext|>", ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


@dataclass(frozen=True)
class KnownVocabulary:
    """一个知名的词表。

    Attributes:
        files: 可以放的文件名，先找到的算数。
        sha256: ``.tiktoken`` 文件的摘要。
        pattern: 切法的名字。
        specials: 特殊 token 的名字到 id。
    """

    files: tuple[str, ...]
    sha256: str
    pattern: str
    specials: Mapping[str, int]


KNOWN = {
    "gpt2": KnownVocabulary(
        ("r50k_base.tiktoken", "gpt2/vocab.bpe", "gpt2/merges.txt", "gpt2/tokenizer.json"),
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "gpt2",
        {_END: 50256},
    ),
    "p50k": KnownVocabulary(
        ("p50k_base.tiktoken",),
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        "gpt2",
        {_END: 50256},
    ),
    "cl100k": KnownVocabulary(
        ("cl100k_base.tiktoken",),
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "gpt4",
        {_END: 100257, **{name: 100258 + i for i, name in enumerate(_FIM)}, "<|endofprompt|>": 100276},
    ),
    "o200k": KnownVocabulary(
        ("o200k_base.tiktoken",),
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        "o200k",
        {_END: 199999, "<|endofprompt|>": 200018},
    ),
}
"""名字到词表；GPT-4 用的是 ``cl100k``，GPT-4o 用的是 ``o200k``。"""


def vocabulary_folder() -> Path:
    """知名词表的文件放在这里；不保证已经存在。"""
    return cache_folder() / "vocabularies"


def by_digest(sha256: str) -> KnownVocabulary | None:
    """凭 ``.tiktoken`` 文件的摘要认出词表。"""
    return next((one for one in KNOWN.values() if one.sha256 == sha256), None)


def find_known(name: str) -> Path:
    """本机上的文件。

    Args:
        name: ``KNOWN`` 里的名字。

    Raises:
        DataError: 本机上没有；消息说明把哪个文件放到哪里。
    """
    folder = vocabulary_folder()
    for file in KNOWN[name].files:
        if (folder / file).is_file():
            return folder / file
    raise DataError(
        f"the {name} vocabulary is not on this machine, and nothing is ever downloaded here",
        where=str(folder),
        fix=f"put {' or '.join(KNOWN[name].files[:2])} there (or set {CACHE}), or give the path of a vocabulary file",
    )
