"""一个可以手算的「模型」：下一个 token 的 logits 只看最后两个 token，查表得来。

流入：种子；流出：与真正的解码器同样的接口。
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class MarkovSlots:
    """``BatchDecoder``；每个槽只记得喂过什么。

    Args:
        table: ``(V, V, V)``：前一个、最后一个 token 到 logits。
        slots: 槽数。
        context: 上下文。

    Attributes:
        slots: 槽数。
        context: 上下文。
        fed: 喂过几个 token，复制来的不算。
    """

    def __init__(self, table: NDArray[np.float64], slots: int = 1, context: int = 64) -> None:
        self.table, self.slots, self.context, self.fed = table, slots, context, 0
        self.held: list[list[int]] = [[] for _ in range(slots)]

    def feed(self, rows: Any) -> NDArray[Any]:
        """各槽最后一个位置的 logits。"""
        for slot, ids in rows:
            self.held[slot] += [int(id) for id in ids]
            self.fed += len(ids)
            assert len(self.held[slot]) <= self.context
        return np.stack([self.after(self.held[slot]) for slot, _ in rows])

    def after(self, ids: list[int]) -> NDArray[np.float64]:
        """``ids`` 之后的 logits。"""
        found: NDArray[np.float64] = self.table[ids[-2] if len(ids) > 1 else 0, ids[-1]]
        return found

    def feed_all(self, rows: Any) -> list[NDArray[Any]]:
        """各槽全部新位置的 logits。"""
        return [np.stack([self.feed([(slot, [id])])[0] for id in ids]) for slot, ids in rows]

    def length(self, slot: int) -> int:
        """槽里有几个。"""
        return len(self.held[slot])

    def truncate(self, slot: int, length: int) -> None:
        """只留前几个。"""
        assert length <= len(self.held[slot])
        del self.held[slot][length:]

    def share(self, source: int, target: int, length: int) -> None:
        """复制。"""
        assert length <= len(self.held[source])
        self.held[target] = self.held[source][:length]


def random_table(size: int, seed: int) -> NDArray[np.float64]:
    """随机的表。"""
    return np.random.default_rng(seed).normal(size=(size, size, size)) * 2
