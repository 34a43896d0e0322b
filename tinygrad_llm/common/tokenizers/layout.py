"""编号：符号按学到的先后排，id 却可以随词表的作者喜欢。

流入：一份词表里每个 token 的 id；流出：符号与 id 的对应。自己训练的分词器用 ``plain_layout``，两者相同；别处来的词表
（见 ``formats.py``）常把特殊 token 放在最前面，缺几个字节，或者含有合并造不出的 token。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

__all__ = ["MISSING", "ODD_PAIR", "Layout", "plain_layout"]

MISSING = -1
"""词表里没有的字节，它的符号没有 id。"""

ODD_PAIR = (-1, -1)
"""这个符号不是由两个更早的符号合并而来，见 ``Layout.odd``。"""


@dataclass(frozen=True)
class Layout:
    """符号与特殊 token 的 id。

    Attributes:
        symbol_ids: 第 n 号符号（字节与合并，见 ``symbols.py``）的 id；词表缺的字节为 ``MISSING``。
        special_ids: 各特殊 token 的 id，次序同它们的名字。
        odd: 合并造不出的符号的字节。Llama 3 的词表有几百个：整块恰好等于它时直接取它，在块内则像 tiktoken 那样，
            任何两个相邻的符号拼成它就合并。
        unused: 编码永远不产生的 id 的字节，只用于解码。
    """

    symbol_ids: tuple[int, ...]
    special_ids: tuple[int, ...]
    odd: Mapping[int, bytes] = field(default_factory=dict)
    unused: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def vocab_size(self) -> int:
        """最大的 id 加一。"""
        return max(chain(self.symbol_ids, self.special_ids, self.unused)) + 1

    def problem(self, merges: int, specials: int) -> str:
        """与这么多合并、这么多特殊 token 是否相配、id 是否互不相同；空串表示没有问题。"""
        if len(self.symbol_ids) != 256 + merges or len(self.special_ids) != specials:
            return f"{len(self.symbol_ids)} + {len(self.special_ids)} ids for {256 + merges} + {specials} tokens"
        if MISSING in self.symbol_ids[256:]:
            return "a merged token has no id"
        used = [id for id in chain(self.symbol_ids, self.special_ids, self.unused) if id != MISSING]
        if not used or min(used) < 0 or len(set(used)) != len(used):
            return "the ids must be distinct and not negative"
        if max(used) > 4 * len(used) + 1024:  # 稀疏到这个地步的不是词表，而会按最大的 id 分配内存
            return f"id {max(used)} in a vocabulary of {len(used)} tokens"
        return ""


def plain_layout(merges: int, specials: int) -> Layout:
    """自己训练的分词器：id 就是符号的号码，特殊 token 排在最后。"""
    symbols = 256 + merges
    return Layout(tuple(range(symbols)), tuple(range(symbols, symbols + specials)))
