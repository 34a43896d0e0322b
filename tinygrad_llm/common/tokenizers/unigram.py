"""Unigram：先有一张大词表，再逐步删去最不值得留的片段；每个片段有自己的概率，编码取概率最大的切法。

流入：任意文本；流出：id（0–255 是字节，其后是片段，最后是特殊 token），不认识的字符拆成字节，所以总能还原。
与 BPE 相反，它自上而下：种子是常见的子串，``fit`` 反复用 EM 估计概率、删去一批，直到剩下要的个数。
一块文本的所有切法排成一张格图：位置是结点，片段是边。前向—后向、Viterbi 与采样走的是同一张图，见 ``lattice.py``。
下一个文件：``views/``（看看几种分词器各切成什么样）。来历：Kudo 2018。
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import outside, well_formed
from tinygrad_llm.common.tokenizers.lattice import best_path, expected_counts, sampled_path
from tinygrad_llm.common.tokenizers.split import pretokenize
from tinygrad_llm.common.tokenizers.vocabulary import Vocabulary, read_vocabulary

__all__ = ["UnigramTokenizer", "em_step", "load_unigram", "seed_pieces", "train_unigram"]

KIND = "unigram"
MAX_PIECE = 16
SEEDS_PER_PIECE = 8
EM_ROUNDS = 2  # 每次删减之前
KEPT = 0.75  # 每一轮删去四分之一
UNKNOWN_PENALTY = 10.0  # 不认识的字符比最差的片段再差这么多
LONGEST_CHUNK = 256  # 训练时更长的块切开：一千个等号不值得一张千个结点的格图


def train_unigram(text: str, vocab_size: int) -> UnigramTokenizer:
    """训练一个 Unigram 分词器；同样的文本总是得到同样的分词器。

    Args:
        text: 训练文本。
        vocab_size: 词表大小 = 256 个字节 + 片段数 + 一个特殊 token；出现过的单个字符总是留着。

    Returns:
        分词器。

    Raises:
        UserError: 放不下单个字符，或文本没有这么多常见的子串。
    """
    chunks = _chunks(well_formed(text))
    characters = {letter for chunk in chunks for letter in chunk}
    wanted = vocab_size - 256 - len(UnigramTokenizer.specials)
    if wanted < len(characters):
        least = 256 + len(characters) + len(UnigramTokenizer.specials)
        raise UserError(
            f"vocab_size {vocab_size} has no room for the {len(characters)} characters of the text",
            fix=f"use vocab_size >= {least}",
        )
    scores = seed_pieces(chunks, SEEDS_PER_PIECE * wanted)
    if len(scores) < wanted:
        largest = 256 + len(scores) + len(UnigramTokenizer.specials)
        raise UserError(
            f"the text yields only {len(scores)} repeated pieces, vocab_size {vocab_size} needs {wanted}",
            fix=f"use vocab_size <= {largest}, or more text",
        )
    while True:
        for _ in range(EM_ROUNDS):
            scores, counts, _ = em_step(scores, chunks)
        if len(scores) == wanted:
            break
        scores = _smoothed(counts, _worthiest(scores, counts, max(wanted, int(KEPT * len(scores)))))
    return UnigramTokenizer(_smoothed(counts, counts))


def _chunks(text: str) -> Counter[str]:
    """预切分的块与次数；片段从不跨块。"""
    counts: Counter[str] = Counter()
    for chunk, times in Counter(pretokenize(text)).items():
        for start in range(0, len(chunk), LONGEST_CHUNK):
            counts[chunk[start : start + LONGEST_CHUNK]] += times
    return counts


def seed_pieces(chunks: Mapping[str, int], limit: int) -> dict[str, float]:
    """种子词表：全部单个字符，加上「次数 × 长度」最大的子串；概率先按它们的次数分。

    Args:
        chunks: 块与次数。
        limit: 至多几个片段（单个字符总是全部留下）。

    Returns:
        片段到对数概率。
    """
    counts: Counter[str] = Counter()
    for chunk, times in chunks.items():
        for start in range(len(chunk)):
            for stop in range(start + 1, min(len(chunk), start + MAX_PIECE) + 1):
                counts[chunk[start:stop]] += times
    singles = sorted(piece for piece in counts if len(piece) == 1)
    longer = [piece for piece, count in counts.items() if len(piece) > 1 and count > 1]
    longer.sort(key=lambda piece: (-counts[piece] * len(piece), piece))
    pieces = singles + longer[: max(0, limit - len(singles))]
    log_total = math.log(sum(counts[piece] for piece in pieces))
    return {piece: math.log(counts[piece]) - log_total for piece in pieces}


def em_step(scores: Mapping[str, float], chunks: Mapping[str, int]) -> tuple[dict[str, float], dict[str, float], float]:
    """一轮 EM：E 步求每个片段的期望次数，M 步把概率取成次数之比。

    Args:
        scores: 片段到对数概率；``-inf`` 的片段永远用不上。
        chunks: 块与次数；每块都须有一种切法。

    Returns:
        新的对数概率、期望次数，以及**旧**概率下文本的对数似然；似然一轮轮只增不减。
    """
    longest = max(map(len, scores))
    counts = dict.fromkeys(scores, 0.0)
    likelihood = 0.0
    for chunk, times in chunks.items():
        likelihood += times * expected_counts(chunk, scores, longest, counts, times)
    log_total = math.log(sum(counts.values()))
    updated = {piece: math.log(count) - log_total if count > 0 else -math.inf for piece, count in counts.items()}
    return updated, counts, likelihood


def _smoothed(counts: Mapping[str, float], kept: Iterable[str]) -> dict[str, float]:
    """由期望次数得到对数概率；不到半次的按半次算：EM 会把有了更长片段的单字压到零，没见过的词却还要靠它们来拼。"""
    least = {piece: max(counts[piece], 0.5) for piece in kept}
    log_total = math.log(math.fsum(least.values()))
    return {piece: math.log(count) - log_total for piece, count in least.items()}


def _worthiest(scores: Mapping[str, float], counts: Mapping[str, float], keep: int) -> list[str]:
    """最值得留的 ``keep`` 个片段：单个字符全留，其余按删去它的损失排。

    删去 x，它的每一次出现都要改用次好的切法，似然减少 ``期望次数(x) · (log p(x) - log p(次好))``。
    """
    longest = max(map(len, scores))
    losses: dict[str, float] = {}
    for piece, score in scores.items():
        if len(piece) == 1:
            losses[piece] = math.inf
        elif score > -math.inf:
            others = {name: value for name, value in _inside(piece, scores) if name != piece}
            losses[piece] = counts[piece] * (score - best_path(piece, others, longest, -math.inf)[1])
        else:
            losses[piece] = 0.0
    return sorted(scores, key=lambda piece: (-losses[piece], piece))[:keep]


def _inside(piece: str, scores: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """``piece`` 的子串之中，词表里有的那些。"""
    for start in range(len(piece)):
        for stop in range(start + 1, len(piece) + 1):
            if piece[start:stop] in scores:
                yield piece[start:stop], scores[piece[start:stop]]


class UnigramTokenizer:
    """片段、它们的对数概率与格图上的编码；不可变。

    Attributes:
        scores: 片段到对数概率，按 id 排列（概率大的在前）。
        vocab_size: 词表大小。
    """

    specials: tuple[str, ...] = (END_OF_TEXT,)

    def __init__(self, scores: Mapping[str, float]) -> None:
        if not scores or not all(math.isfinite(score) and score <= 0 for score in scores.values()):
            raise UserError("every piece needs a finite log-probability <= 0", fix="train the tokenizer again")
        ordered = sorted(scores, key=lambda piece: (-scores[piece], piece))
        self.scores = {piece: scores[piece] for piece in ordered}
        self._pieces = Vocabulary(ordered, self.specials)
        self.vocab_size: int = 256 + len(self._pieces)
        self._longest = max(map(len, ordered))
        self._unknown = min(self.scores.values()) - UNKNOWN_PENALTY

    def encode(self, text: str) -> list[int]:
        """文本 → id：每一块取概率最大的切法，不认识的字符拆成它的 UTF-8 字节。"""
        known: dict[str, list[int]] = {}  # 同一个词反复出现，只切一次
        ids: list[int] = []
        for chunk in pretokenize(well_formed(text)):
            if chunk not in known:
                known[chunk] = self._ids(best_path(chunk, self.scores, self._longest, self._unknown)[0])
            ids += known[chunk]
        return ids

    def sample(self, text: str, alpha: float, seed: int) -> list[int]:
        """文本 → id：按概率抽一种切法，训练时用作正则化；同样的参数总是得到同样的 id。

        Args:
            text: 文本。
            alpha: 0 时各种切法机会均等，越大越接近 ``encode``；常用 0.1 到 0.5。
            seed: 种子。
        """
        rng = random.Random(seed)
        ids: list[int] = []
        for chunk in pretokenize(well_formed(text)):
            ids += self._ids(sampled_path(chunk, self.scores, self._longest, self._unknown, alpha, rng))
        return ids

    def _ids(self, pieces: Iterable[str]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            id = self._pieces.find(piece)
            ids += piece.encode() if id is None else [256 + id]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；不完整的 UTF-8 序列显示为 U+FFFD。"""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Id → 字节；特殊 token 还原成它的名字。"""
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节。

        Raises:
            TokenIdError: id 不在 [0, vocab_size) 内。
        """
        if not 0 <= id < self.vocab_size:
            raise outside(id, self.vocab_size)
        return bytes([id]) if id < 256 else self._pieces.text(id - 256).encode()

    def special(self, name: str) -> int:
        """特殊 token 的 id。

        Raises:
            UserError: 没有这个名字。
        """
        return 256 + self._pieces.special(name)

    def save(self, path: Path) -> None:
        """写成 JSON；``load_unigram`` 读回。"""
        self._pieces.save(path, KIND, scores=list(self.scores.values()))


def load_unigram(path: Path) -> UnigramTokenizer:
    """读入 ``UnigramTokenizer.save`` 写下的文件。

    Raises:
        DataError: 文件缺失或不合法。
    """
    pieces, data = read_vocabulary(path, KIND)
    scores = data.get("scores")
    numbers = [score for score in scores if isinstance(score, float | int)] if isinstance(scores, list) else []
    problem = "" if len(numbers) == len(pieces.units) == len(scores or []) else "scores must be one number per unit"
    if not problem:
        try:
            return UnigramTokenizer(dict(zip(pieces.units, numbers, strict=True)))
        except UserError as error:
            problem = error.problem
    raise DataError(problem, where=str(path), fix="restore the file, or train the tokenizer again")
