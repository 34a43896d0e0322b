"""WordPiece：词内再分，词首的片段原样写，词中的片段以 ``##`` 开头。

流入：任意文本；流出：id。训练像 BPE 一样逐对合并，只是挑选的标准不同：不是次数最多的一对，而是合并后使训练文本的
似然增加最多的一对，即 ``次数(ab) / (次数(a) · 次数(b))`` 最大。编码却不按合并的次序，而是从左到右取词表里最长的片段。
下一个文件：``unigram.py``。来历：Schuster 与 Nakajima 2012，BERT 沿用。
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import well_formed
from tinygrad_llm.common.tokenizers.vocabulary import UnitTokenizer, read_vocabulary
from tinygrad_llm.common.tokenizers.words import split_words

__all__ = ["WordPieceTokenizer", "learn_wordpieces", "load_wordpiece", "train_wordpiece"]

KIND = "wordpiece"
INSIDE = "##"
MAX_WORD = 100  # 更长的「词」多半是网址或乱码，整个算作不认识；BERT 也取这个数
SymbolPair = tuple[str, str]


def train_wordpiece(text: str, vocab_size: int, min_count: int = 10) -> WordPieceTokenizer:
    """训练一个 WordPiece 分词器。

    Args:
        text: 训练文本。
        vocab_size: 词表大小，含出现过的单字与两个特殊 token。
        min_count: 一对至少出现几次才可以合并；似然的标准偏爱罕见的一对，取得太小，词表会被它们占满。

    Returns:
        分词器。

    Raises:
        UserError: 词表放不下单字与特殊 token，或文本不足以产生这么多片段。
    """
    wanted = vocab_size - len(WordPieceTokenizer.specials)
    pieces = learn_wordpieces(well_formed(text), wanted, min_count)
    if len(pieces) != wanted:
        bound = "<=" if len(pieces) < wanted else ">="
        raise UserError(
            f"vocab_size {vocab_size} leaves {wanted} pieces, the text yields {len(pieces)}",
            fix=f"use vocab_size {bound} {len(pieces) + len(WordPieceTokenizer.specials)}",
        )
    return WordPieceTokenizer(pieces)


def learn_wordpieces(text: str, wanted: int, min_count: int = 10) -> list[str]:
    """学出片段：先是单字（按字典序），然后按合并的次序。

    次数随合并增减，不从头数；似然的比值每一轮都重算，因为一次合并牵动所有含 a 或 b 的对。
    比值相同时取次数多的，再取字典序在前的。

    Args:
        text: 合法的 Unicode 文本。
        wanted: 要多少个片段。
        min_count: 一对至少出现几次。

    Returns:
        各个片段；单字已超过 ``wanted`` 时返回全部单字，没有可合并的对时提前结束。
    """
    repeats = Counter(split_words(text))
    words = [[word[0], *(INSIDE + letter for letter in word[1:])] for word in repeats]
    times = list(repeats.values())
    singles: Counter[str] = Counter()
    pairs: Counter[SymbolPair] = Counter()
    homes: defaultdict[SymbolPair, set[int]] = defaultdict(set)  # 含有它的词；只增不减，多出的词重算一次也无害
    for index, word in enumerate(words):
        _tally(word, times[index], singles, pairs)
        for pair in pairwise(word):
            homes[pair].add(index)
    pieces = sorted(singles)
    known = set(pieces)
    while len(pieces) < wanted:
        scored = [
            (-count / (singles[pair[0]] * singles[pair[1]]), -count, pair)
            for pair, count in pairs.items()
            if count >= min_count
        ]
        if not scored:
            break
        best = min(scored)[2]
        joined = best[0] + best[1].removeprefix(INSIDE)
        for index in homes.pop(best):
            _tally(words[index], -times[index], singles, pairs)
            words[index] = _merged(words[index], best, joined)
            _tally(words[index], times[index], singles, pairs)
            for pair in pairwise(words[index]):
                homes[pair].add(index)
        pairs = +pairs  # 丢掉减到零的对
        if joined not in known:  # 同一个片段可以由不同的两半合成
            known.add(joined)
            pieces.append(joined)
    return pieces


def _tally(word: list[str], times: int, singles: Counter[str], pairs: Counter[SymbolPair]) -> None:
    for piece in word:
        singles[piece] += times
    for pair in pairwise(word):
        pairs[pair] += times


def _merged(word: list[str], pair: SymbolPair, joined: str) -> list[str]:
    """从左到右把每个不重叠的 ``pair`` 换成 ``joined``。"""
    merged: list[str] = []
    i = 0
    while i < len(word):
        is_pair = tuple(word[i : i + 2]) == pair
        merged.append(joined if is_pair else word[i])
        i += 2 if is_pair else 1
    return merged


class WordPieceTokenizer(UnitTokenizer):
    """片段的词表与最长匹配的编码；不可变。

    Attributes:
        vocabulary: 词表，词中的片段带着 ``##``。
    """

    kind = KIND

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__(pieces)
        self._longest = max((len(piece.removeprefix(INSIDE)) for piece in pieces), default=0)

    def encode(self, text: str) -> list[int]:
        """文本 → id；一个词只要有一处拼不出，整个词就是 ``<|unk|>``。"""
        ids: list[int] = []
        for word in split_words(well_formed(text)):
            ids += self.encode_word(word)
        return ids

    def encode_word(self, word: str) -> list[int]:
        """一个词：从左到右，每次取词表里最长的片段。"""
        if len(word) > MAX_WORD:
            return [self._unknown]
        ids: list[int] = []
        start = 0
        while start < len(word):
            prefix = INSIDE if start else ""
            stops = range(min(len(word), start + self._longest), start, -1)
            fits = ((self.vocabulary.find(prefix + word[start:stop]), stop) for stop in stops)
            id, start = next(((id, stop) for id, stop in fits if id is not None), (self._unknown, -1))
            if start < 0:
                return [self._unknown]
            ids.append(id)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；词间一个空格，``##`` 的片段接在前一个后面。"""
        words: list[str] = []
        for id in ids:
            piece = self.vocabulary.text(id)
            if words and piece.startswith(INSIDE) and piece != INSIDE:
                words[-1] += piece.removeprefix(INSIDE)
            else:
                words.append(piece)
        return " ".join(words)


def load_wordpiece(path: Path) -> WordPieceTokenizer:
    """读入 ``WordPieceTokenizer.save`` 写下的文件。

    Raises:
        DataError: 文件缺失或不合法。
    """
    vocabulary, _ = read_vocabulary(path, KIND)
    return WordPieceTokenizer(vocabulary.units)
