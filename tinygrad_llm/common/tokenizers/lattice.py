"""格图：一块文本的全部切法，位置是结点，片段是边；在它上面求和、求最大、抽样。

流入：一块文本与片段的对数概率；流出：期望次数、概率最大的切法，或按概率抽出的一种切法。
三者是同一个递推，只是把「汇到一个结点的几条边」合起来的办法不同：相加、取大、抽一条。
下一个文件：``unigram.py``。
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping

__all__ = ["best_path", "expected_counts", "sampled_path"]

Edge = tuple[int, float]
"""到达一个结点的一条边：起点与对数概率。"""


def expected_counts(
    chunk: str, scores: Mapping[str, float], longest: int, counts: dict[str, float], times: int = 1
) -> float:
    """前向—后向：每条边的后验概率乘 ``times``，加到 ``counts``。

    Args:
        chunk: 一块文本，须有一种切法。
        scores: 片段到对数概率。
        longest: 最长的片段有几个字符。
        counts: 片段到期望次数，就地累加。
        times: 这一块出现了几次。

    Returns:
        这一块的对数似然：全部切法的概率之和的对数。
    """
    edges = [list(_edges(chunk, stop, scores, longest, -math.inf)) for stop in range(1, len(chunk) + 1)]
    forward = _forward(edges)
    backward = [-math.inf] * (len(chunk) + 1)
    backward[-1] = 0.0
    total = forward[-1]
    for stop in range(len(chunk), 0, -1):
        onward = backward[stop]
        for start, score in edges[stop - 1]:
            after = score + onward
            counts[chunk[start:stop]] += times * math.exp(forward[start] + after - total)
            backward[start] = _log_add(backward[start], after)
    return total


def best_path(chunk: str, scores: Mapping[str, float], longest: int, unknown: float) -> tuple[list[str], float]:
    """Viterbi：概率最大的切法；一样大时取最后一段较长的。

    Args:
        chunk: 一块文本。
        scores: 片段到对数概率。
        longest: 最长的片段有几个字符。
        unknown: 不在词表里的单个字符的对数概率。

    Returns:
        各段与它们的对数概率之和。
    """
    best = [0.0]
    origin = [0]
    for stop in range(1, len(chunk) + 1):
        top, start = -math.inf, stop - 1
        for begin, score in _edges(chunk, stop, scores, longest, unknown):
            if best[begin] + score > top:
                top, start = best[begin] + score, begin
        best.append(top)
        origin.append(start)
    pieces: list[str] = []
    stop = len(chunk)
    while stop:
        pieces.append(chunk[origin[stop] : stop])
        stop = origin[stop]
    return pieces[::-1], best[-1]


def sampled_path(
    chunk: str, scores: Mapping[str, float], longest: int, unknown: float, alpha: float, rng: random.Random
) -> list[str]:
    """前向求和、后向抽样：一种切法被抽中的概率与 ``(各段概率之积) ** alpha`` 成正比。

    Args:
        chunk: 一块文本。
        scores: 片段到对数概率。
        longest: 最长的片段有几个字符。
        unknown: 不在词表里的单个字符的对数概率。
        alpha: 0 时各种切法机会均等，越大越接近 ``best_path``。
        rng: 随机数的来源。

    Returns:
        各段。
    """
    edges = [
        [(start, alpha * score) for start, score in _edges(chunk, stop, scores, longest, unknown)]
        for stop in range(1, len(chunk) + 1)
    ]
    forward = _forward(edges)
    pieces: list[str] = []
    stop = len(chunk)
    while stop:
        mark = rng.random()
        start = stop - 1
        for start, score in edges[stop - 1]:  # 舍入使余数不尽时，留在最后一条边
            mark -= math.exp(forward[start] + score - forward[stop])
            if mark < 0:
                break
        pieces.append(chunk[start:stop])
        stop = start
    return pieces[::-1]


def _edges(chunk: str, stop: int, scores: Mapping[str, float], longest: int, unknown: float) -> Iterator[Edge]:
    """到达 ``stop`` 的边，长的在前；单个字符不在词表里时给一条 ``unknown`` 的边。"""
    for start in range(max(0, stop - longest), stop):
        score = scores.get(chunk[start:stop])
        if score is not None:
            yield start, score
        elif start == stop - 1 and unknown > -math.inf:
            yield start, unknown


def _forward(edges: list[list[Edge]]) -> list[float]:
    """从开头到每个结点的全部路的概率之和，取对数。"""
    forward = [0.0]
    for incoming in edges:
        total = -math.inf
        for start, score in incoming:
            total = _log_add(total, forward[start] + score)
        forward.append(total)
    return forward


def _log_add(a: float, b: float) -> float:
    """``log(e^a + e^b)``，不溢出。"""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
