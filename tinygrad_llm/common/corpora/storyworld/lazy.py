"""惰性序列：``seq[i]`` 当场算出第 i 项，不存任何东西；没有长度，要多少有多少。

流入：生成一项的函数；流出：可以索引、可以取一段、可以一直迭代的序列。下一个文件：``__init__.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tinygrad_llm.common.corpora.storyworld.draws import SPLITS
from tinygrad_llm.common.corpora.storyworld.items import Item
from tinygrad_llm.common.corpora.storyworld.lexicon import LANGUAGES
from tinygrad_llm.common.errors import UserError

__all__ = ["BOTH", "Lazy"]

I = TypeVar("I", bound=Item)
BOTH = "both"
"""两种语言交替：偶数项英文，奇数项中文。"""


class Lazy(Generic[I]):
    """没有尽头的数据。

    第 i 项是（种子，语言，划分，i）的纯函数；同一项在任何机器、任何次序下取出都相同。可以 pickle 到别的进程。

    Args:
        kind: 数据的种类，用于显示。
        make: ``make(seed, lang, split, index)`` 生成一项。
        seed: 世界的种子，0 到 2⁶⁴ - 1。
        lang: ``en``、``zh`` 或 ``both``。
        split: ``train``、``val`` 或 ``test``。

    Raises:
        UserError: 参数不对。
    """

    def __init__(self, kind: str, make: Callable[[int, str, str, int], I], seed: int, lang: str, split: str) -> None:
        if not 0 <= seed < 2**64:
            raise UserError(f"seed must lie in [0, 2**64), got {seed}", where="storyworld", fix="use a small integer")
        if lang not in (*LANGUAGES, BOTH):
            raise UserError(f"unknown language {lang!r}", where="storyworld", fix="use en, zh or both")
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}", where="storyworld", fix=f"use one of {', '.join(SPLITS)}")
        self.kind, self.seed, self.lang, self.split = kind, seed, lang, split
        self._make = make

    def __getitem__(self, index: int) -> I:
        """第 ``index`` 项。

        Raises:
            IndexError: 序号为负或过大：没有尽头的序列没有「倒数第一项」。
        """
        if not 0 <= index < 2**63:
            raise IndexError(f"index must lie in [0, 2**63), got {index}")
        if self.lang == BOTH:
            return self._make(self.seed, LANGUAGES[index % 2], self.split, index // 2)
        return self._make(self.seed, self.lang, self.split, index)

    def take(self, n: int, start: int = 0) -> list[I]:
        """从第 ``start`` 项起的 ``n`` 项。"""
        return [self[index] for index in range(start, start + n)]

    def __iter__(self) -> Iterator[I]:
        index = 0
        while True:
            yield self[index]
            index += 1

    def __repr__(self) -> str:
        return f"Lazy({self.kind}, seed={self.seed}, lang={self.lang!r}, split={self.split!r})"
