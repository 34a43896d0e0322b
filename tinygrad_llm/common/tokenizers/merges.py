"""字节级 BPE 的算法：把文本切成块，再学出合并的次序。

流入：训练文本与合并数；流出：合并列表，第 i 项造出 id 256 + i（0–255 是字节本身）。
下一个文件：``bpe.py``（用这份列表编码与解码）。
"""

from __future__ import annotations

import heapq
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from itertools import groupby, pairwise

Pair = tuple[int, int]

SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode White_Space，写在 [] 里用


@cache
def split_pattern() -> str:
    r"""GPT-2 的切块正则，字符类已按本机的 Unicode 表展开。

    原文是 ``'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+``。标准库 ``re`` 没有 ``\p``，
    它的 ``\s`` 也比 Unicode 多出 U+001C–001F，所以三个类都写成区间。同一个字符串也交给 tiktoken：
    两条编码路径用同一张 Unicode 表，结果才会处处相等。Python 升级带来的新字符只影响它们自己的切块，不影响还原。
    """
    ranges: dict[str, list[str]] = {"L": [], "N": []}
    start = 0
    for major, run in groupby(map(unicodedata.category, map(chr, range(sys.maxunicode + 1))), key=lambda c: c[0]):
        stop = start + sum(1 for _ in run)
        if major in ranges:
            ranges[major].append(f"\\U{start:08x}-\\U{stop - 1:08x}")
        start = stop
    letter, number = "".join(ranges["L"]), "".join(ranges["N"])
    return (
        rf"'(?:[sdmt]|ll|ve|re)| ?[{letter}]+| ?[{number}]+| ?[^{SPACE}{letter}{number}]+"
        rf"|[{SPACE}]+(?![^{SPACE}])|[{SPACE}]+"
    )


@cache
def _splitter() -> re.Pattern[str]:
    return re.compile(split_pattern())


def pretokenize(text: str) -> list[str]:
    """把文本切成块：词（带前导空格）、数字、标点、空白；首尾相接即为原文，合并从不跨块。"""
    return _splitter().findall(text)


def learn_merges(text: str, wanted: int) -> list[Pair]:
    """增量地学出合并：每一轮只重算含有该对的词，次数最多的一对由堆给出。

    次数相同时取 (左 id, 右 id) 最小的一对，因此结果只由文本决定。

    Args:
        text: 合法的 Unicode 文本（没有落单的代理项）。
        wanted: 要学多少次合并。

    Returns:
        至多 ``wanted`` 个合并；每个词都已合成一个 token 时提前结束。
    """
    chunks = Counter(pretokenize(text))
    words = [list(chunk.encode()) for chunk in chunks]
    repeats = list(chunks.values())
    counts: defaultdict[Pair, int] = defaultdict(int)  # 每一对在全文中的次数
    homes: defaultdict[Pair, set[int]] = defaultdict(set)  # 含有它的词；只增不减，多出的词重算一次也无害
    for index, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += repeats[index]
            homes[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)

    merges: list[Pair] = []
    while heap and len(merges) < wanted:
        negative, pair = heapq.heappop(heap)
        if counts[pair] != -negative:  # 过时的条目：减少过的对以现值放回，消失的丢掉（惰性删除）
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
            continue
        new_id = 256 + len(merges)
        merges.append(pair)
        changes: defaultdict[Pair, int] = defaultdict(int)
        for index in homes.pop(pair):
            merged = merge_pair(words[index], pair, new_id)
            for old in pairwise(words[index]):
                changes[old] -= repeats[index]
            for new in pairwise(merged):
                changes[new] += repeats[index]
                homes[new].add(index)
            words[index] = merged
        for other, change in changes.items():
            counts[other] += change
            if change > 0:  # 减少的对不必入堆：它的旧条目更靠前，弹出时会被改正
                heapq.heappush(heap, (-counts[other], other))
    return merges


def merge_pair(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """从左到右把每个不重叠的 ``pair`` 换成 ``new_id``。"""
    left, right = pair
    merged: list[int] = []
    i, last = 0, len(ids) - 1
    while i <= last:
        if ids[i] == left and i < last and ids[i + 1] == right:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged
