"""统计：一批文档有多长，由哪些字符、语言与词组成。

流入：文档；流出：可以相加、写成 JSON 的统计。下一个文件：``report.py`` 画出来。

长度逐份统计；字符、语言与词组只看每个分片的头三百份，够看出由什么组成，时间与内存都有上限。
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_llm.common.cleaning.characters import count_kinds
from tinygrad_llm.common.cleaning.language import guess_language
from tinygrad_llm.common.cleaning.words import find_words

__all__ = ["KIND_NAMES", "MAX_GRAM", "Statistics"]

KIND_NAMES = ("符号", "空白", "数字", "字母", "汉字与假名")
MAX_GRAM = 3
SAMPLED_DOCUMENTS = 300
GRAM_CHARS = 30_000
KEPT_GRAMS = 300


@dataclass
class Statistics:
    """一批文档的统计。

    Attributes:
        documents: 几份。
        chars: 多少字符。
        bytes: 写成 UTF-8 有多少字节。
        lengths: 长度的分布：2 的几次方到份数；长度为 n 的归入 ``n.bit_length()``。
        kinds: 字符的类别到个数，次序同 ``KIND_NAMES``；只看每个分片的头三百份。
        languages: 语言到字符数；只看每个分片的头三百份。
        grams: 词组到次数，以词数为键；只数了 ``gram_chars`` 个字符。
        gram_chars: 数词组时看过多少字符。
    """

    documents: int = 0
    chars: int = 0
    bytes: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    kinds: list[int] = field(default_factory=lambda: [0] * len(KIND_NAMES))
    languages: Counter[str] = field(default_factory=Counter)
    grams: dict[int, Counter[str]] = field(default_factory=lambda: {n: Counter() for n in range(1, MAX_GRAM + 1)})
    gram_chars: int = 0

    def add(self, text: str) -> None:
        """计入一份文档。"""
        self.documents += 1
        self.chars += len(text)
        self.bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.lengths[len(text).bit_length()] += 1
        if self.documents > SAMPLED_DOCUMENTS:
            return
        for kind, count in enumerate(count_kinds(text)):
            self.kinds[kind] += count
        self.languages[guess_language(text)] += len(text)
        if self.gram_chars < GRAM_CHARS:
            part = text[: GRAM_CHARS - self.gram_chars]
            self.gram_chars += len(part)
            self._count_grams(part)

    def _count_grams(self, text: str) -> None:
        found = find_words(text)
        plain, ends = found.text.lower(), found.starts + found.lengths
        words = [plain[start:end] for start, end in zip(found.starts.tolist(), ends.tolist(), strict=True)]
        for n, counter in self.grams.items():
            counter.update(map(" ".join, zip(*(words[shift:] for shift in range(n)), strict=False)))

    def merge(self, other: Statistics) -> None:
        """并入后面一个分片的统计。"""
        self.documents += other.documents
        self.chars += other.chars
        self.bytes += other.bytes
        self.gram_chars += other.gram_chars
        self.lengths.update(other.lengths)
        self.languages.update(other.languages)
        self.kinds = [a + b for a, b in zip(self.kinds, other.kinds, strict=True)]
        for n, counter in self.grams.items():
            counter.update(other.grams[n])
            if len(counter) > 2 * KEPT_GRAMS:
                self.grams[n] = Counter(dict(ranked(counter, KEPT_GRAMS)))

    def to_json(self, kept_grams: int = KEPT_GRAMS) -> dict[str, Any]:
        """写成 JSON 能表示的字典；词组只留最常见的几个。"""
        grams = {n: dict(ranked(counter, kept_grams)) for n, counter in self.grams.items()}
        return {**vars(self), "grams": grams}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Statistics:
        """由 ``to_json`` 写出又读回的字典复原；JSON 的键都是字符串。"""
        return cls(
            **{
                **content,
                "lengths": Counter({int(bits): count for bits, count in content["lengths"].items()}),
                "languages": Counter(content["languages"]),
                "grams": {int(n): Counter(counts) for n, counts in content["grams"].items()},
            }
        )


def ranked(counter: Counter[str], count: int) -> list[tuple[str, int]]:
    """最多的几项；次数相同的按字典序，于是结果与计数的先后无关。"""
    least = min(heapq.nlargest(count, counter.values()), default=0)  # 末一项的次数：多于它的全取，等于它的按字典序补足
    more = sorted((item for item in counter.items() if item[1] > least), key=lambda item: (-item[1], item[0]))
    equal = heapq.nsmallest(count - len(more), (key for key, value in counter.items() if value == least))
    return [*more, *((key, least) for key in equal)]
