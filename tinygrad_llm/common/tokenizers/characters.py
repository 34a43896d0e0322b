"""按字符分：词表小，任何写法的词都拼得出来，空白也不丢；代价是 id 序列很长。

流入：任意文本；流出：id。训练文本里没有的字符仍然是 ``<|unk|>``。
下一个文件：``merges.py`` 与 ``bpe.py``：从字节出发，再没有不认识的东西，常见的词又只占一个 id。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import well_formed
from tinygrad_llm.common.tokenizers.vocabulary import UNKNOWN, Vocabulary, read_vocabulary

__all__ = ["CharacterTokenizer", "load_characters", "train_characters"]

KIND = "characters"


def train_characters(text: str) -> CharacterTokenizer:
    """收集文本里出现过的字符，按码位排列。"""
    return CharacterTokenizer(sorted(set(well_formed(text))))


class CharacterTokenizer:
    """一个字符一个 id；不可变。

    Attributes:
        vocabulary: 词表。
    """

    specials: tuple[str, ...] = (UNKNOWN, END_OF_TEXT)

    def __init__(self, characters: Sequence[str]) -> None:
        self.vocabulary = Vocabulary(characters, self.specials)
        self._unknown = self.special(UNKNOWN)

    @property
    def vocab_size(self) -> int:
        """词表大小，含特殊 token。"""
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """文本 → id；没见过的字符是 ``<|unk|>``。"""
        found = map(self.vocabulary.find, well_formed(text))
        return [self._unknown if id is None else id for id in found]

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；没有 ``<|unk|>`` 时与原文相同。"""
        return "".join(map(self.vocabulary.text, ids))

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节；特殊 token 是它的名字。

        Raises:
            TokenIdError: id 不在 [0, vocab_size) 内。
        """
        return self.vocabulary.text(id).encode()

    def special(self, name: str) -> int:
        """特殊 token 的 id。

        Raises:
            UserError: 没有这个名字。
        """
        return self.vocabulary.special(name)

    def save(self, path: Path) -> None:
        """写成 JSON；``load_characters`` 读回。"""
        self.vocabulary.save(path, KIND)


def load_characters(path: Path) -> CharacterTokenizer:
    """读入 ``CharacterTokenizer.save`` 写下的文件。

    Raises:
        DataError: 文件缺失或不合法。
    """
    vocabulary, _ = read_vocabulary(path, KIND)
    return CharacterTokenizer(vocabulary.units)
