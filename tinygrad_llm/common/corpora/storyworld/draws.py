"""随机数：由（种子，数据流，划分，序号）算出的一串整数，与机器、Python 版本、调用次序都无关。

流入：四个整数或名字；流出：``Draws``，只做整数运算的抽签筒；以及 ``split_of``，把内容分进训练、验证、测试。
下一个文件：``grammar.py``（怎样用抽签筒选出一种说法）。
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import numpy as np

__all__ = ["SPLITS", "Draws", "split_of"]

T = TypeVar("T")

SPLITS = ("train", "val", "test")
_SHARE = ("train",) * 8 + ("val", "test")  # 内容的十分之八归训练，验证与测试各得十分之一
_BATCH = 64
_WORD = (1 << 64) - 1


class Draws:
    """一个抽签筒：同样的四元组总给出同样的签。

    只用 Philox 的原始输出（NumPy 保证其逐位不变），不用 ``Generator`` 的方法（它们的算法可以随版本改变）。

    Args:
        seed: 世界的种子，0 到 2⁶⁴ - 1。
        stream: 数据流的名字，如 ``"stories/en"``；不同的流互不相干。
        split: ``SPLITS`` 之一。
        index: 第几项，非负。
    """

    __slots__ = ("_at", "_bits", "_pool")

    def __init__(self, seed: int, stream: str, split: str = "train", index: int = 0) -> None:
        counter = np.array([0, 0, index, SPLITS.index(split)], dtype=np.uint64)
        key = np.array([seed, _number(stream)], dtype=np.uint64)
        self._bits = np.random.Philox(counter=counter, key=key)
        self._pool: list[int] = []
        self._at = 0

    def below(self, n: int) -> int:
        """0 到 n - 1 之间的一个整数；64 位上的偏差小于 n / 2⁶⁴。"""
        if self._at == len(self._pool):
            self._pool = self._bits.random_raw(_BATCH).tolist()
            self._at = 0
        self._at += 1
        return (self._pool[self._at - 1] * n) >> 64

    def between(self, low: int, high: int) -> int:
        """闭区间 [low, high] 内的一个整数。"""
        return low + self.below(high - low + 1)

    def chance(self, part: int, whole: int) -> bool:
        """以 part / whole 的概率为真。"""
        return self.below(whole) < part

    def pick(self, options: Sequence[T]) -> T:
        """等可能地选一个。"""
        return options[self.below(len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """不放回地抽 ``count`` 个，次序也是随机的。"""
        rest = list(options)
        for i in range(count):
            j = i + self.below(len(rest) - i)
            rest[i], rest[j] = rest[j], rest[i]
        return rest[:count]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """随机的一个排列。"""
        return self.sample(options, len(options))


def split_of(content: str) -> str:
    """内容属于哪个划分：只看内容本身，与种子、序号无关，于是任何种子的测试项都不会出现在任何种子的训练项里。

    Args:
        content: 能认出这一项的内容，如 ``"add/3/4"``；内容相同（或只是换了说法）的项必须写成同一个字符串。

    Returns:
        ``"train"``、``"val"`` 或 ``"test"``。
    """
    digest = blake2b(content.encode(), digest_size=8, person=b"storyworld").digest()
    return _SHARE[int.from_bytes(digest, "little") % len(_SHARE)]


@lru_cache(maxsize=1024)
def _number(stream: str) -> int:
    return int.from_bytes(blake2b(stream.encode(), digest_size=8).digest(), "little") & _WORD
