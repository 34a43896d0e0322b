"""语言：先看文字，再看虚词，猜一篇文字是哪种语言。

流入：一段文字；流出：语言的两字母代号，认不出为 ``"und"``。下一个文件：``filters.py`` 按它取舍。

多数文字只属于一两种语言：谚文是韩语，假名是日语，只有汉字是汉语；西里尔与阿拉伯字母靠各语言独有的字母分开。
拉丁字母的语言靠虚词：每种语言最常见的几十个词占去它正文的三四成，在别的语言里几乎不出现。
认的是「这篇正文主要是什么语言」；夹着的代码与网址不影响结果，源代码按其中的英文词算作英语。
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.cleaning.characters import code_points
from tinygrad_llm.common.cleaning.function_words import FUNCTION_WORDS

__all__ = ["LANGUAGES", "UNKNOWN", "guess_language"]

UNKNOWN = "und"
_SAMPLE = 1500
REMEMBERED = 512
"""记着最近几段；一段不过 ``_SAMPLE`` 个字符，一兆上下。"""
_MIN_LETTERS = 4
_MIN_WORDS = 3

# 文字的码位区间；同一文字可以有几段
_SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "latin": ((0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x250), (0x1E00, 0x1F00)),
    "han": ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x33480)),
    "kana": ((0x3041, 0x3100), (0x31F0, 0x3200)),
    "hangul": ((0x1100, 0x1200), (0x3131, 0x3190), (0xAC00, 0xD7B0)),
    "cyrillic": ((0x400, 0x530),),
    "arabic": ((0x620, 0x64B), (0x66E, 0x6D4), (0x750, 0x780)),
    "greek": ((0x370, 0x400), (0x1F00, 0x2000)),
    "hebrew": ((0x5D0, 0x5EB),),
    "devanagari": ((0x900, 0x980),),
    "bengali": ((0x980, 0xA00),),
    "tamil": ((0xB80, 0xC00),),
    "thai": ((0xE00, 0xE80),),
    "georgian": ((0x10A0, 0x1100),),
    "armenian": ((0x530, 0x590),),
}
_NAMES = tuple(_SCRIPTS)
_SOLE = {"hangul": "ko", "greek": "el", "hebrew": "he", "devanagari": "hi", "bengali": "bn"}
_SOLE |= {"tamil": "ta", "thai": "th", "georgian": "ka", "armenian": "hy"}
# 同一文字里各语言独有的字母；先写的先认，都没有就是最后一种
_CYRILLIC = (("uk", "іїєґ"), ("sr", "ђћљњџј"), ("ru", "ыэё"), ("bg", "ъ"), ("ru", ""))
_ARABIC = (("ur", "ٹڈڑےں"), ("fa", "پچژگیک"), ("ar", ""))

LANGUAGES = tuple(sorted({*FUNCTION_WORDS, *_SOLE.values(), "zh", "ja", *(name for name, _ in (*_CYRILLIC, *_ARABIC))}))
"""认得的语言。"""
_LATIN_WORD = re.compile(r"[^\W\d_]+")
_ASCII_LETTERS = bytes(code if chr(code).isalpha() and code < 128 else 32 for code in range(256))
"""字母照旧，其余换成空格。"""


def guess_language(text: str) -> str:
    """猜一篇文字的语言；记着最近看过的片段，清洗前后的统计与筛选先后来问同一份文字，只猜一遍。

    Args:
        text: 任意文字；太长时取开头、中间、结尾三段。

    Returns:
        ``LANGUAGES`` 之一，或 ``UNKNOWN``：字母不足四个，或用拉丁字母写成而几乎没有虚词。
    """
    return _guess(_sample(text))


@lru_cache(maxsize=REMEMBERED)
def _guess(text: str) -> str:
    counts = np.bincount(_script_table().take(code_points(text), mode="clip"), minlength=len(_NAMES) + 1)
    letters = dict(zip(_NAMES, counts[1:].tolist(), strict=True))
    # 一个汉字的内容约等于两三个字母；夹在中文里的网址与代码不该改变结论
    weight = {name: count * (3 if name in ("han", "kana", "hangul") else 1) for name, count in letters.items()}
    if sum(weight.values()) < _MIN_LETTERS:
        return UNKNOWN
    script = max(weight, key=lambda name: weight[name])
    if script in ("han", "kana"):
        return "ja" if 10 * letters["kana"] > letters["han"] + letters["kana"] else "zh"
    if script == "latin":
        return _latin_language(text)
    if script in _SOLE:
        return _SOLE[script]
    return _by_letters(text, _CYRILLIC if script == "cyrillic" else _ARABIC)


def _sample(text: str) -> str:
    if len(text) <= _SAMPLE:
        return text
    part, middle = _SAMPLE // 3, len(text) // 2
    return f"{text[:part]} {text[middle : middle + part]} {text[-part:]}"


@lru_cache(maxsize=1)
def _script_table() -> npt.NDArray[np.uint8]:
    table = np.zeros(0x33481, np.uint8)
    for index, ranges in enumerate(_SCRIPTS.values(), start=1):
        for start, stop in ranges:
            table[start:stop] = index
    return table


def _by_letters(text: str, options: tuple[tuple[str, str], ...]) -> str:
    counts = Counter(text.lower())
    return next(name for name, own in options if not own or sum(counts[letter] for letter in own) >= 1)


@lru_cache(maxsize=1)
def _votes() -> dict[str, list[tuple[str, float]]]:
    """虚词到它投的票：几种语言都有的词，票数平分；单个字母也可能是变量名，只算三成。"""
    owners: dict[str, list[str]] = {}
    for language, words in FUNCTION_WORDS.items():
        for word in dict.fromkeys(words.split()):
            owners.setdefault(word, []).append(language)
    return {
        word: [(name, (1 if len(word) > 1 else 0.3) / len(names)) for name in names] for word, names in owners.items()
    }


def _latin_words(text: str) -> list[str]:
    """只由字母组成的词；纯 ASCII 的按字节换，比正则快三倍。"""
    return text.encode().translate(_ASCII_LETTERS).decode().split() if text.isascii() else _LATIN_WORD.findall(text)


def _latin_language(text: str) -> str:
    votes, words = _votes(), _latin_words(text.lower())
    score: dict[str, float] = dict.fromkeys(FUNCTION_WORDS, 0.0)
    counts = Counter(words)
    for word in filter(votes.__contains__, counts):  # 按出现的次序：浮点数相加，次序也要确定
        for language, vote in votes[word]:
            score[language] += vote * counts[word]
    best = max(score, key=lambda name: score[name])
    if len(words) < _MIN_WORDS or score[best] < max(0.02 * len(words), 0.4):
        return UNKNOWN
    return best
