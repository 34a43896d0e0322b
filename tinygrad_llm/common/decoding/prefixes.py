"""各槽的缓存里是哪些 token：新来的开头与谁有公共前缀，就从谁那里接着算。

流入：喂进各槽的 token；流出：公共前缀的长度。下一个文件：``scheduler.py``。
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prefixes", "common_prefix"]

Ids = NDArray[np.int64]


def common_prefix(a: Ids, b: Ids) -> int:
    """两串 id 从头起有几个相同。"""
    size = min(len(a), len(b))
    apart = np.flatnonzero(a[:size] != b[:size])
    return int(apart[0]) if len(apart) else size


class Prefixes:
    """各槽里的 token，与解码器的缓存一一对应。

    Args:
        slots: 几个槽。
        context: 每个槽的上限。
    """

    def __init__(self, slots: int, context: int) -> None:
        self._ids, self._lengths = np.zeros((slots, context), np.int64), [0] * slots

    def tokens(self, slot: int) -> Ids:
        """槽里的 token。"""
        return self._ids[slot, : self._lengths[slot]]

    def extend(self, slot: int, ids: Ids) -> None:
        """接着喂进了 ``ids``。"""
        start = self._lengths[slot]
        self._ids[slot, start : start + len(ids)] = ids
        self._lengths[slot] = start + len(ids)

    def move(self, source: int, target: int, length: int) -> None:
        """``target`` 变成 ``source`` 的前 ``length`` 个；两者可以是同一个。"""
        self._ids[target, :length] = self._ids[source, :length]
        self._lengths[target] = length

    def best(self, prompt: Ids) -> tuple[int, int]:
        """公共前缀最长的槽与长度；一样长时，取不会丢下别的 token 的那个。"""
        found = [common_prefix(self.tokens(slot), prompt) for slot in range(len(self._lengths))]
        slot = max(range(len(found)), key=lambda i: (found[i], -self._lengths[i]))
        return slot, found[slot]
