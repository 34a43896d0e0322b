"""MinHash-LSH：把一份文档缩成几个数，相似的文档多半有一个数相同。

流入：一份文档的 shingle 集合；流出：``bands`` 个 64 位的键。下一个文件：``dedup.py``。

两个集合在一个随机排列下的最小元素相同，概率恰是它们的 Jaccard 相似度 s。取 ``bands·rows`` 个排列，每 ``rows`` 个
最小值合成一个键；一个键相同的概率是 s^rows，至少一个相同是 1 - (1 - s^rows)^bands：在阈值处接近 1，往下迅速减小。
出处：Broder，*On the resemblance and containment of documents*，1997；Indyk 与 Motwani，1998。
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinygrad_llm.common.cleaning.config import NearConfig
from tinygrad_llm.common.cleaning.words import Hashes, mixed

__all__ = ["band_keys", "jaccard"]

_BLOCK = 512  # 一次算几个 shingle：中间结果留在缓存里
_BASE = np.uint64(0x9FB21C651E98DF25)


def band_keys(shingles: Hashes, config: NearConfig) -> Hashes:
    """一份文档的各段的键。

    Args:
        shingles: shingle 集合，非空。
        config: 几段、每段几个最小值。

    Returns:
        (bands,)；只由集合决定，与机器和进程无关。
    """
    slope, shift = _permutations(config.bands * config.rows)
    least = np.full(slope.size, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, shingles.size, _BLOCK):
        block = slope[:, None] * shingles[None, start : start + _BLOCK]  # (bands·rows, 至多 _BLOCK)
        block += shift[:, None]
        np.minimum(least, block.min(1), out=least)
    rows = mixed(least).reshape(config.bands, config.rows)
    keys = np.arange(config.bands, dtype=np.uint64)
    for column in rows.T:
        keys = keys * _BASE + column
    return mixed(keys)


def jaccard(a: Hashes, b: Hashes) -> float:
    """两个集合的 Jaccard 相似度：交集的大小除以并集的大小。

    Args:
        a: 升序、不重复。
        b: 升序、不重复。

    Returns:
        0 到 1；两个都空时为 0。
    """
    if a.size == 0 or b.size == 0:
        return 0.0
    together = np.concatenate([a, b])
    together.sort()
    common = int(np.count_nonzero(together[1:] == together[:-1]))
    return common / (together.size - common)


@lru_cache(maxsize=2)
def _permutations(count: int) -> tuple[Hashes, Hashes]:
    """x → a·x + b mod 2^64，a 为奇数：一一对应，也就是一个排列。x 已经搅拌过，所以这样简单的排列就够随机。"""
    numbers = mixed(np.arange(1, 2 * count + 1, dtype=np.uint64) * _BASE)
    return numbers[:count] | np.uint64(1), numbers[count:]
