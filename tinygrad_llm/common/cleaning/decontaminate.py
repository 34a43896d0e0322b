"""去污染：含有考题的文档不该进训练集，否则考试量到的是背诵。

流入：考题文件；流出：考题的 n-gram 散列，与「一份文档是否含有考题」。下一个文件：``stages.py``。

文档里有考题的任何连续 ``ngram`` 个词就整份去掉：答案常在考题旁边，只剪掉命中的一段，剩下的仍是泄漏。
比 ``ngram`` 短的考题要整条出现才算；短于 ``min_words`` 的不查。词不分大小写、全半角、空白与标点，
所以这几种小改动瞒不过；改动一个词，只要前后还有连续 ``ngram`` 个词没动，也瞒不过。
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.cleaning.config import DecontaminateConfig
from tinygrad_llm.common.cleaning.words import Hashes, find_words, joined, ngrams
from tinygrad_llm.common.errors import DataError

__all__ = ["Leaks", "find_leak", "index_items", "leaked_grams", "read_items", "strings_of"]

_SIEVE_BITS = 22


@dataclass(frozen=True)
class Leaks:
    """考题的索引。

    Attributes:
        grams: 词数到散列：升序、不重复；最长的是 ``ngram``，更短的是整条的短考题。
        sieve: 散列的低位到「可能有」；绝大多数 n-gram 在这里一步就排除。
        items: 收了几条考题。
        too_short: 太短而没有收的条数。
    """

    grams: dict[int, Hashes]
    sieve: npt.NDArray[np.bool_]
    items: int
    too_short: int


def read_items(path: Path) -> Iterator[str]:
    """读考题：``.jsonl`` 里每个对象的每个字符串是一条，别的文本每行一条；都可以是 ``.gz``。

    Args:
        path: 考题文件。

    Yields:
        各条文字。

    Raises:
        DataError: 读不了，不是 UTF-8，或有一行不是 JSON；消息里有行号。
    """
    name = path.name.removesuffix(".gz")
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    number = 1
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                if name.endswith((".jsonl", ".json")):
                    yield from strings_of(json.loads(line)) if line.strip() else ()
                else:
                    yield line.strip()
                number += 1
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the test set: {reason}", where=str(path), fix="check the file") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"broken line in the test set: {str(error)[:80]}",
            where=f"{path}:{number + isinstance(error, UnicodeError)}",
        ) from error


def strings_of(value: object) -> Iterator[str]:
    """JSON 里的各个字符串，不论嵌得多深。"""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_of(item)


def index_items(items: Iterator[str], config: DecontaminateConfig) -> Leaks:
    """把考题编成索引。

    Args:
        items: 各条考题。
        config: 设置。

    Returns:
        索引；内存为每个不同的 n-gram 8 字节。
    """
    found: dict[int, list[Hashes]] = {}
    kept = too_short = 0
    for item in items:
        words = find_words(item).hashes
        if words.size < min(config.min_words, config.ngram):
            too_short += bool(words.size)
            continue
        kept += 1
        n = min(words.size, config.ngram)
        found.setdefault(n, []).append(ngrams(words, n))
    grams = {n: np.unique(np.concatenate(found[n])) for n in sorted(found)}
    sieve = np.zeros(1 << _SIEVE_BITS, np.bool_)
    for hashes in grams.values():
        sieve[_slot(hashes)] = True
    return Leaks(grams, sieve, kept, too_short)


def find_leak(text: str, leaks: Leaks) -> str:
    """一份文档里的第一处考题。

    Args:
        text: 文档。
        leaks: 索引。

    Returns:
        命中的那一段，没有则为空串。
    """
    words = find_words(text)
    for n, grams in _growing(words.hashes, leaks.grams):
        hits = _hits(grams, n, leaks)
        if hits.size:
            first, last = int(hits[0]), int(hits[0]) + n - 1
            return words.text[words.starts[first] : words.starts[last] + words.lengths[last]]
    return ""


def leaked_grams(text: str, leaks: Leaks) -> Hashes:
    """一份文档里全部的考题 n-gram。

    Args:
        text: 文档。
        leaks: 索引。

    Returns:
        散列，升序、不重复；各种词数的混在一起。
    """
    found = [grams[_hits(grams, n, leaks)] for n, grams in _growing(find_words(text).hashes, leaks.grams)]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _hits(grams: Hashes, n: int, leaks: Leaks) -> npt.NDArray[np.intp]:
    """``n`` 词的 n-gram 里，哪几个位置是考题的。"""
    maybe = np.flatnonzero(leaks.sieve.take(_slot(grams)))
    wanted = leaks.grams[n]
    place = np.searchsorted(wanted, grams[maybe])
    found: npt.NDArray[np.intp] = maybe[wanted[np.minimum(place, wanted.size - 1)] == grams[maybe]]
    return found


def _growing(words: Hashes, lengths: Iterable[int]) -> Iterator[tuple[int, Hashes]]:
    """由短到长，各种词数的 n-gram；长的由短的接上一个词得到。"""
    grams, size = words, 1
    for n in lengths:
        if n > words.size:
            return
        while size < n:
            grams = joined(grams, words, size, 1)
            size += 1
        yield n, grams


def _slot(hashes: Hashes) -> npt.NDArray[np.intp]:
    return (hashes >> np.uint64(64 - _SIEVE_BITS)).astype(np.intp)
