"""过滤：长度、字符的组成、篇内的重复、语言；每个函数说出一份文档该去掉的理由，或一声不响。

流入：一段文字与阈值；流出：理由（英文短语，计数用），不去掉则为空串。下一个文件：``pii.py``。
"""

from __future__ import annotations

import numpy as np

from tinygrad_llm.common.cleaning.characters import DIGIT, IDEOGRAPH, SPACE, SYMBOL, code_points, count_kinds, kinds
from tinygrad_llm.common.cleaning.config import LanguageConfig, LengthConfig, RepetitionConfig, SymbolsConfig
from tinygrad_llm.common.cleaning.language import UNKNOWN, guess_language
from tinygrad_llm.common.cleaning.words import Hashes, find_words, ngrams

__all__ = [
    "language_reason",
    "length_reason",
    "repeated_ngram_share",
    "repeated_share",
    "repetition_reason",
    "symbols_reason",
]

NGRAM = 10
SHORT_LINE = 20
LONG_WORD = 100
FEW_WORDS = 50


def length_reason(text: str, config: LengthConfig) -> str:
    """太短或太长。

    Args:
        text: 文字。
        config: 阈值。

    Returns:
        理由，或空串。
    """
    if len(text) > config.max_chars:
        return "too long"
    if len(text) < config.min_chars:
        wide = int(np.count_nonzero(kinds(code_points(text)) == IDEOGRAPH))
        if len(text) + wide < config.min_chars:
            return "too short"
    return ""


def symbols_reason(text: str, config: SymbolsConfig) -> str:
    """符号、数字或极长的「词」太多。

    Args:
        text: 文字。
        config: 阈值。

    Returns:
        理由，或空串。
    """
    counts = count_kinds(text)
    visible = max(len(text) - counts[SPACE], 1)
    if counts[SYMBOL] > config.max_symbols * visible:
        return "mostly symbols"
    if counts[DIGIT] > config.max_digits * visible:
        return "mostly digits"
    lengths = find_words(text).lengths
    if lengths.max(initial=0) > LONG_WORD and lengths[lengths > LONG_WORD].sum() > config.max_long_words * visible:
        return "mostly endless words"
    return ""


def repetition_reason(text: str, config: RepetitionConfig) -> str:
    """篇内重复太多：行、段落、词组，或同一个词。

    Args:
        text: 文字。
        config: 阈值。

    Returns:
        理由，或空串。
    """
    lines = [line for line in map(str.strip, text.split("\n")) if len(line) >= SHORT_LINE]
    if repeated_share(lines, len(text)) > config.max_lines:
        return "repeated lines"
    paragraphs = [part for part in map(str.strip, text.split("\n\n")) if part]
    if repeated_share(paragraphs, len(text)) > config.max_paragraphs:
        return "repeated paragraphs"
    words = find_words(text).hashes
    if words.size < FEW_WORDS:
        return ""
    in_order = np.sort(words)
    starts = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1  # 除第一种外，每种词从哪里开始
    counts = np.diff(starts, prepend=0, append=words.size)
    if counts.max() > config.max_top_word * words.size:
        return "one word over and over"
    # 重复的词组里每个词都在前面出现过：不同的词够多，重复的就不会多，不必细数
    is_varied = counts.size >= (1 - config.max_ngrams) * words.size
    if not is_varied and repeated_ngram_share(words, NGRAM) > config.max_ngrams:
        return "repeated phrases"
    return ""


def repeated_share(parts: list[str], total: int) -> float:
    """重复出现的部分占多少字符：第一次出现不算。

    Args:
        parts: 各行或各段。
        total: 全文的字符数。

    Returns:
        0 到 1。
    """
    again = sum(map(len, parts)) - sum(map(len, set(parts)))
    return again / max(total, 1)


def repeated_ngram_share(words: Hashes, n: int) -> float:
    """落在重复的 ``n`` 词组里的词占多少；词组第一次出现不算。

    Args:
        words: 词的散列。
        n: 几个词一组。

    Returns:
        0 到 1；不足 ``n`` 个词时为 0。
    """
    grams = ngrams(words, n)
    in_order = np.sort(grams)
    if not (in_order[1:] == in_order[:-1]).any():
        return 0.0
    _, first = np.unique(grams, return_index=True)
    is_again = np.ones(grams.size, np.int64)
    is_again[first] = 0
    edges = np.zeros(words.size + 1, np.int64)  # 每个重复的词组盖住从它开始的 n 个词
    edges[: grams.size] += is_again
    edges[n : n + grams.size] -= is_again
    return float(np.count_nonzero(np.cumsum(edges)) / words.size)


def language_reason(text: str, config: LanguageConfig) -> str:
    """不是要留的语言。

    Args:
        text: 文字。
        config: 要留哪些。

    Returns:
        理由，如 ``"language fr"``，或空串。
    """
    if not config.keep:
        return ""
    found = guess_language(text)
    is_kept = config.keep_unknown if found == UNKNOWN else found in config.keep
    return "" if is_kept else f"language {found}"
