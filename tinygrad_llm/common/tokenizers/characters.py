"""按字符分：词表小，任何写法的词都拼得出来，空白也不丢；代价是 id 序列很长。

流入：任意文本；流出：id。训练文本里没有的字符仍然是 ``<|unk|>``。
下一个文件：``merges.py`` 与 ``bpe.py``：从字节出发，再没有不认识的东西，常见的词又只占一个 id。
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinygrad_llm.common.tokenizers.interface import well_formed
from tinygrad_llm.common.tokenizers.vocabulary import UnitTokenizer, read_vocabulary

__all__ = ["CharacterTokenizer", "load_characters", "train_characters"]

KIND = "characters"


def train_characters(text: str) -> CharacterTokenizer:
    """收集文本里出现过的字符，按码位排列。"""
    return CharacterTokenizer(sorted(set(well_formed(text))))


class CharacterTokenizer(UnitTokenizer):
    """一个字符一个 id；不可变。

    Attributes:
        vocabulary: 词表。
    """

    kind = KIND

    def encode(self, text: str) -> list[int]:
        """文本 → id；没见过的字符是 ``<|unk|>``。"""
        found = map(self.vocabulary.find, well_formed(text))
        return [self._unknown if id is None else id for id in found]

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；没有 ``<|unk|>`` 时与原文相同。"""
        return "".join(map(self.vocabulary.text, ids))


def load_characters(path: Path) -> CharacterTokenizer:
    """读入 ``CharacterTokenizer.save`` 写下的文件。

    Raises:
        DataError: 文件缺失或不合法。
    """
    vocabulary, _ = read_vocabulary(path, KIND)
    return CharacterTokenizer(vocabulary.units)
