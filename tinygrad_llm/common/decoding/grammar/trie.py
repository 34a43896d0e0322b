"""词表的前缀树，一层一层摊平成数组：一次走完就得到整个词表的掩码。

流入：各 token 的字节；流出：每一层的 ``(父节点, 字节)``。下一个文件：``constraint.py``。

逐个 token 试，要把公共的前缀反复走很多遍；沿前缀树走，每个节点只走一次。第 d 层的全部节点只依赖第 d−1 层，
所以一层就是一次查表：``states[d] = table[states[d-1][parent], byte]``。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.tokenizers.interface import TextTokenizer, TokenIdError

__all__ = ["Level", "Trie", "build_trie", "text_tokens"]


@dataclass(frozen=True)
class Level:
    """一层节点，即长为 d 的各个前缀。

    Attributes:
        parent: 各节点的父节点在上一层里的下标。
        byte: 各节点的最后一个字节。
        tokens: 恰在这一层结束的 token。
        places: 它们各在哪个节点结束。
    """

    parent: NDArray[np.intp]
    byte: NDArray[np.uint8]
    tokens: NDArray[np.intp]
    places: NDArray[np.intp]


@dataclass(frozen=True)
class Trie:
    """词表的前缀树。

    Attributes:
        levels: 由浅到深。
        size: 掩码的长度：最大的 id 加一。
        spellable: 单独成一个 token 的字节，写成 256 位的整数。
    """

    levels: tuple[Level, ...]
    size: int
    spellable: int


def text_tokens(tokenizer: TextTokenizer) -> dict[int, bytes]:
    """能写成文字的 token 与它们的字节；特殊 token 与空的不在其中。"""
    specials = {tokenizer.special(name) for name in tokenizer.specials}
    found = {}
    for id in range(tokenizer.vocab_size):
        try:
            data = b"" if id in specials else tokenizer.token_bytes(id)
        except TokenIdError:  # 词表里空着的 id
            continue
        if data:
            found[id] = data
    return found


def build_trie(tokens: Mapping[int, bytes], size: int) -> Trie:
    """建树：把 token 按字节排好序，与前一个相同的前缀有多长，从那里起就是新的节点。

    Args:
        tokens: id 到它的字节，都不为空。
        size: 掩码的长度。
    """
    order = sorted(tokens, key=lambda id: tokens[id])
    words = [tokens[id] for id in order]
    lengths = np.array([len(word) for word in words], dtype=np.intp)
    shared = np.array([0, *map(_common, words, words[1:])][: len(words)], dtype=np.intp)
    ids = np.array(order, dtype=np.intp)
    levels: list[Level] = []
    before = np.zeros(1, dtype=np.intp)  # 上一层的各节点由哪个 token 引入
    for depth in range(int(lengths.max(initial=0))):
        new = np.flatnonzero((shared <= depth) & (depth < lengths))
        byte = np.array([words[i][depth] for i in new], dtype=np.uint8)
        ending = np.flatnonzero(lengths == depth + 1)
        levels.append(Level(_covering(before, new), byte, ids[ending], _covering(new, ending)))
        before = new
    spellable = sum(1 << word[0] for word in set(words) if len(word) == 1)
    return Trie(tuple(levels), size, spellable)


def _covering(starts: NDArray[np.intp], tokens: NDArray[np.intp]) -> NDArray[np.intp]:
    """各 token 在哪个节点之下：排在它之前（含）、最后引入的那个。"""
    return np.asarray(np.searchsorted(starts, tokens, side="right") - 1, dtype=np.intp)


def _common(a: bytes, b: bytes) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def walked(trie: Trie, table_for: Any, safe_of: Any, start: int) -> NDArray[np.bool_]:
    """从格局 ``start`` 出发，哪些 token 走得通，而且走完之后不是死路。

    Args:
        trie: 词表。
        table_for: 见 ``Recogniser.table_for``。
        safe_of: 给出 ``Recogniser.safe`` 的函数：表会在途中变长。
        start: 格局的编号。
    """
    allowed = np.zeros(trie.size, dtype=np.bool_)
    states = np.array([start], dtype=np.int32)
    for level in trie.levels:
        table = table_for(states)
        states = table[states[level.parent], level.byte]
        allowed[level.tokens] = safe_of()[states[level.places]]
        if not states.any():
            break
    return allowed
