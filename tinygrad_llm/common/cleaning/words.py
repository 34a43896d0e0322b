"""词：一段文字变成一串 64 位散列，每个词一个；相邻几个词再合成 n-gram 的散列。

流入：字符串；流出：``uint64`` 数组。重复、近似重复、去污染三件事都只比较这些数。
下一个文件：``minhash.py`` 与 ``decontaminate.py``。

词是连续的字母与数字，汉字与假名每字一词；大小写、全半角、标点与空白都不影响散列，所以这几种小改动瞒不过查重。
词的散列是 ``Σ mix(c_i)·B^i``，n-gram 的是 ``Σ w_j·C^j``，都模 2^64，B 与 C 是奇数；只由文字决定，
各进程、各平台相同。不抵御存心构造的碰撞。
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.cleaning.characters import DIGIT, IDEOGRAPH, code_points, folded, folded_points, kinds

__all__ = ["Hashes", "Words", "find_words", "joined", "mixed", "ngrams", "shingles"]

Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
_NGRAM_BASE = 0xD1342543DE82EF95


class Words(NamedTuple):
    """一段文字里的词。

    Attributes:
        hashes: 每个词的散列，按出现的次序。
        starts: 每个词在 ``text`` 里的起点。
        lengths: 每个词有几个字符。
        text: 起点所指的文字：原文，或（含有要合成、要展开的字符时）抹平了大小写与全半角的原文。
    """

    hashes: Hashes
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    text: str


@lru_cache(maxsize=1)
def find_words(text: str) -> Words:
    """找出全部的词；记着上一次的结果，几个阶段先后来问同一份文字，只算一遍。

    Args:
        text: 任意文字。

    Returns:
        词的散列、起点与长度。
    """
    points = folded_points(code_points(text))
    if points is None:
        text = folded(text)
        points = code_points(text)
    kind = kinds(points)
    places = np.flatnonzero(kind >= DIGIT)  # 属于某个词的字符
    if places.size == 0:
        return Words(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64), text)
    is_first = np.ones(places.size, np.bool_)
    np.greater(places[1:], places[:-1] + 1, out=is_first[1:])
    if not text.isascii():
        alone = kind[places] == IDEOGRAPH
        is_first |= alone
        is_first[1:] |= alone[:-1]
    first = np.flatnonzero(is_first)
    forward, backward = _powers(max(places.size.bit_length(), 16))
    values = _mixed_points().take(points.take(places))
    values *= forward[: places.size]
    # 第 k 个词从第 s 个字符开始，和里多乘了 B^s，除掉它：奇数模 2^64 有逆
    hashes = np.add.reduceat(values, first) * backward[first]
    lengths = np.empty_like(first)
    lengths[:-1], lengths[-1] = first[1:] - first[:-1], places.size - first[-1]
    return Words(hashes, places[first], lengths, text)


@lru_cache(maxsize=1)
def _mixed_points() -> Hashes:
    return mixed(np.arange(0x110000, dtype=np.uint64))


@lru_cache(maxsize=8)
def _powers(bits: int) -> tuple[Hashes, Hashes]:
    """B 与它的逆的 0 至 2^bits - 1 次幂，模 2^64。"""
    count = 1 << bits
    inverse = pow(_BASE, -1, 1 << 64)
    both = [
        np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count - 1, base, np.uint64)]))
        for base in (_BASE, inverse)
    ]
    return both[0], both[1]


def mixed(values: Hashes) -> Hashes:
    """splitmix64 的收尾：输入差一位，输出约有一半的位不同。

    出处：Steele、Lea、Flood，*Fast Splittable Pseudorandom Number Generators*，2014。
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def ngrams(words: Hashes, n: int) -> Hashes:
    """每 ``n`` 个相邻的词合成一个散列。

    Args:
        words: 词的散列，(N,)。
        n: 几个词，至少 1。

    Returns:
        (max(N - n + 1, 0),)，按位置排列，可有重复。
    """
    block, size = words, 1
    total, done = (block, 1) if n & 1 else (block[:0], 0)
    while 2 * size <= n:  # 倍增：几次就拼到 n 个词
        block, size = joined(block, block, size, size), 2 * size
        if n & size:
            total, done = (joined(total, block, done, size), done + size) if done else (block, size)
    return total


def joined(left: Hashes, right: Hashes, left_size: int, right_size: int) -> Hashes:
    """每个位置上，``left_size`` 个词与紧接着的 ``right_size`` 个词拼成一个散列。

    Args:
        left: 各位置上 ``left_size`` 个词的散列。
        right: 各位置上 ``right_size`` 个词的散列。
        left_size: 左边几个词。
        right_size: 右边几个词。

    Returns:
        各位置上两者拼成的散列；最后几个位置不够长，没有。
    """
    count = max(right.size - left_size, 0)
    total = left[:count] * np.uint64(pow(_NGRAM_BASE, right_size, 1 << 64))
    total += right[left_size : left_size + count]
    return total


def shingles(text: str, n: int) -> Hashes:
    """一篇文字的 shingle 集合：不重复的 ``n`` 词组。

    不足 ``n`` 个词时，全部的词合成唯一的一个；一个词也没有时为空集。

    Args:
        text: 任意文字。
        n: 每组几个词。

    Returns:
        升序、不重复的散列。
    """
    words = find_words(text).hashes
    return np.unique(mixed(ngrams(words, min(n, words.size)))) if words.size else words
