"""字节级 BPE 的训练：数出块里相邻的对，一次次合并最多的那一对。

流入：训练文本与合并数；流出：合并列表，第 i 项造出 id 256 + i（0–255 是字节本身）。
下一个文件：``bpe.py``（用这份列表编码与解码）。

朴素的办法每合并一次就把全文重数一遍。这里每个不同的块只存一份，记着它出现几次；各对的次数与「哪些块里有它」一直保持最新，
一次合并只碰含有那一对的块，而且只改那一对左右的邻居。
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from operator import add

from tinygrad_llm.common.tokenizers.interface import well_formed
from tinygrad_llm.common.tokenizers.split import pieces, pretokenize
from tinygrad_llm.common.tokenizers.symbols import chars_of, numbers_of, symbol_of

__all__ = ["Pair", "count_chunks", "learn_merges"]

Pair = tuple[int, int]


def count_chunks(texts: str | Iterable[str], pattern: str = "gpt2") -> Counter[str]:
    """每个不同的块出现几次；一次只读一段，所以内存只与不同的块的个数有关，与全文多长无关。

    Args:
        texts: 一段文本，或逐个给出文本的迭代器（合并从不跨文本）。
        pattern: 切法的名字，见 ``split.PATTERNS``。

    Returns:
        块到次数。
    """
    chunks: Counter[str] = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        for piece in pieces(well_formed(text)):
            chunks.update(pretokenize(piece, pattern))
    return chunks


def learn_merges(
    texts: str | Iterable[str],
    wanted: int,
    pattern: str = "gpt2",
    progress: Callable[[int, int], None] | None = None,
) -> list[Pair]:
    """学出合并：每一轮取次数最多的一对。

    次数相同时取最小的一对，先比左边再比右边；字节按 GPT-2 的次序比（可见字符在前，见 ``symbols.py``），合并按造出的
    先后，都排在字节之后。因此结果只由文本决定，并与 HF ``tokenizers`` 的 ``BpeTrainer`` 相同。

    Args:
        texts: 一段文本，或逐个给出文本的迭代器。
        wanted: 要学多少次合并。
        pattern: 切法的名字。
        progress: 每学出一个合并就调用一次，参数是（已学出几个，要学几个）。

    Returns:
        至多 ``wanted`` 个合并；每个块都已合成一个 token 时提前结束。
    """
    chunks = count_chunks(texts, pattern)
    words = [chars_of(chunk.encode()) for chunk in chunks]
    repeats = list(chunks.values())
    counts: defaultdict[str, int] = defaultdict(int)  # 每一对在全文中的次数
    homes: defaultdict[str, list[int]] = defaultdict(list)  # 含有它的词；只增不减，轮到时再看它还在不在
    for index, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            counts[pair] += repeats[index]
            homes[pair].append(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)

    merges: list[str] = []
    while heap and len(merges) < wanted:
        negative, pair = heapq.heappop(heap)
        if counts[pair] != -negative:  # 过时的条目：减少过的对以现值放回，消失的丢掉（惰性删除）
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
            continue
        symbol = symbol_of(256 + len(merges))
        merges.append(pair)
        changes: defaultdict[str, int] = defaultdict(int)
        for index in homes.pop(pair):
            before = words[index]
            words[index] = before.replace(pair, symbol)
            for new in _neighbours(before.split(pair), pair, symbol, repeats[index], changes):
                homes[new].append(index)
        changes[pair] = -counts[pair]  # 它已全部合并，只剩 0 次
        for other, change in changes.items():
            counts[other] += change
            if change > 0:  # 减少的对不必入堆：它的旧条目更靠前，弹出时会被改正
                heapq.heappush(heap, (-counts[other], other))
        if progress is not None:
            progress(len(merges), wanted)
    return [(left, right) for left, right in map(numbers_of, merges)]


def _neighbours(parts: list[str], pair: str, symbol: str, repeats: int, changes: defaultdict[str, int]) -> list[str]:
    """一个词里 ``pair`` 变成 ``symbol`` 之后，各对的次数怎样变。

    只有与 ``pair`` 相邻的对受影响：左边的 ``xl`` 变成 ``xs``，右边的 ``ry`` 变成 ``sy``，两个 ``pair`` 紧挨着时 ``rl``
    变成 ``ss``（l、r、s 是 ``pair`` 的左右两半与新符号）。

    Args:
        parts: 词以 ``pair`` 隔开的各段。
        pair: 被合并的一对。
        symbol: 合并造出的符号。
        repeats: 这个词在全文中的次数。
        changes: 每一对的次数的变化，在此累加。

    Returns:
        这个词里新出现的对，可能重复。
    """
    left, right = pair[0], pair[1]
    last = len(parts) - 1
    added: list[str] = []
    for index, part in enumerate(parts):
        if part:
            if index > 0:
                changes[right + part[0]] -= repeats
                added.append(symbol + part[0])
            if index < last:
                changes[part[-1] + left] -= repeats
                added.append(part[-1] + symbol)
        elif 0 < index < last:
            changes[right + left] -= repeats
            added.append(symbol + symbol)
    for new in added:
        changes[new] += repeats
    return added
