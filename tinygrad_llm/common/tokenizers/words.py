"""按词分：最先读的分词器，一个词一个 id。

流入：任意文本；流出：id。没见过的词都变成同一个 ``<|unk|>``，原文里的空白也不保留——这两处不足正是后面几个文件要补的。
下一个文件：``characters.py``。
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import well_formed
from tinygrad_llm.common.tokenizers.vocabulary import UnitTokenizer, read_vocabulary

__all__ = ["WordTokenizer", "load_words", "split_words", "train_words"]

KIND = "words"
_HAN = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # 汉字与假名之间没有空格，一个字算一个词
_WORD = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+|[^\w\s]")
_NO_SPACE_BEFORE = re.compile(rf"[{_HAN}]|[,.;:!?%)\]}}'’”，。；：！？、）》」…]")
_NO_SPACE_AFTER = re.compile(rf"[{_HAN}]|[(\[{{$#@'‘“，。；：！？、（《「]")


def split_words(text: str) -> list[str]:
    """把文本切成词：一串字母或数字、一个汉字、一个标点；空白丢掉。"""
    return _WORD.findall(text)


def train_words(text: str, vocab_size: int | None = None) -> WordTokenizer:
    """收集文本里的词，多的在前，一样多的按字典序。

    Args:
        text: 训练文本。
        vocab_size: 至多多少个 id，含两个特殊 token；None 收下每一个词。

    Returns:
        分词器。

    Raises:
        UserError: 词表连特殊 token 都放不下。
    """
    counts = Counter(split_words(well_formed(text)))
    room = len(counts) if vocab_size is None else vocab_size - len(WordTokenizer.specials)
    if room < 0:
        raise UserError(f"vocab_size {vocab_size} has no room for the special tokens", fix="use vocab_size >= 2")
    return WordTokenizer([word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:room]])


class WordTokenizer(UnitTokenizer):
    """词表与切词的规则；不可变。

    Attributes:
        vocabulary: 词表。
    """

    kind = KIND

    def encode(self, text: str) -> list[int]:
        """文本 → id；词表里没有的词是 ``<|unk|>``。"""
        found = map(self.vocabulary.find, split_words(well_formed(text)))
        return [self._unknown if id is None else id for id in found]

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；词间补一个空格，标点旁与汉字之间不补，所以未必与原文相同。"""
        text, previous = "", ""
        for id in ids:
            word = self.vocabulary.text(id)
            is_glued = _NO_SPACE_BEFORE.fullmatch(word) or _NO_SPACE_AFTER.fullmatch(previous)
            text += word if is_glued or not previous else f" {word}"
            previous = word
        return text


def load_words(path: Path) -> WordTokenizer:
    """读入 ``WordTokenizer.save`` 写下的文件。

    Raises:
        DataError: 文件缺失或不合法。
    """
    vocabulary, _ = read_vocabulary(path, KIND)
    return WordTokenizer(vocabulary.units)
