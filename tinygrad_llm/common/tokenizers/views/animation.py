"""合并的一帧一帧：一句话怎样从字节合成 token，合并的次序又是怎样从训练文本里数出来的。

流入：BPE 分词器与一句话，或训练文本；流出：``Frame`` 的序列。下一个文件：``player.py``（网页与终端怎样播放）。

编码不必重跑一遍：合并的结果从不拆开，造出 token x 的合并只会用到比 x 更早的 token。所以把最后的 token 按合并表拆回
字节，再依次合上第 0 次、第 1 次……合并造出的 token，就是编码走过的每一步。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.layout import ODD_PAIR
from tinygrad_llm.common.tokenizers.merges import Pair, learn_merges
from tinygrad_llm.common.tokenizers.split import pretokenize
from tinygrad_llm.common.tokenizers.views.tokens import one_line, readable_run

__all__ = ["Candidate", "Frame", "encoding_frames", "training_frames"]

CANDIDATES = 8
MAX_SAMPLE = 400
MAX_TRAINING = 200_000


@dataclass(frozen=True)
class Candidate:
    """训练中的一对候选。

    Attributes:
        left: 左半，写成看得见的字。
        right: 右半。
        count: 它在训练文本里出现几次。
    """

    left: str
    right: str
    count: int


@dataclass(frozen=True)
class Frame:
    """一帧。

    Attributes:
        tokens: 此刻的各个 token，写成看得见的字。
        numbers: 各个 token 的号码：0–255 是字节，256 + i 由第 i 次合并造出；同一个号码画同一种底色。
        merge: 刚做的是第几次合并；还没有合并时为 -1。
        rule: 刚合并的左半、右半与结果。
        candidates: 训练时，这一步之前次数最多的几对，被选中的在最前。
        corpus_tokens: 训练时，这一步之后训练文本一共几个 token。
    """

    tokens: list[str]
    numbers: list[int]
    merge: int = -1
    rule: tuple[str, str, str] = ("", "", "")
    candidates: list[Candidate] = field(default_factory=list)
    corpus_tokens: int = 0


def encoding_frames(tokenizer: TextTokenizer, text: str) -> list[Frame]:
    """一句话从字节到 token。

    Args:
        tokenizer: 有合并表的分词器（BPE）。
        text: 不为空的文本，至多取开头几百个字符。

    Returns:
        第一帧是字节，最后一帧是 ``tokenizer.encode`` 的结果；用不上的合并不占一帧。

    Raises:
        UserError: 分词器没有合并表，或文本切不出 token。
    """
    if not isinstance(tokenizer, Tokenizer):
        raise UserError("this tokenizer does not merge pairs", fix="give a BPE tokenizer, or none at all")
    number_of = {int(id): number for number, id in enumerate(tokenizer.layout.symbol_ids)}
    final = [number_of[id] for id in tokenizer.encode(text[:MAX_SAMPLE]) if id in number_of]
    if not final:
        raise UserError("the text gives no tokens to watch", fix="use a word or a sentence")
    merges = tokenizer.merges
    used = sorted({number - 256 for top in final for number in _inside(top, merges) if number >= 256})
    cuts = ((merge, [part for top in final for part in _cut(top, merges, merge)]) for merge in [-1, *used])
    return [_frame(parts, merges, tokenizer.symbols, merge) for merge, parts in cuts]


def training_frames(text: str, wanted: int, sample: str) -> list[Frame]:
    """合并怎样从训练文本里学出来：每一步数一遍各对，合并最多的那一对。

    合并由我们自己的训练程序给出；这里照着它重走一遍，顺便数出每一步的候选，并在一句话上看结果。

    Args:
        text: 训练文本，至多取开头二十万个字符：每一步都要全部重数。
        wanted: 几次合并。
        sample: 用来看结果的一句话。

    Returns:
        第一帧是字节，其后每次合并一帧。

    Raises:
        UserError: 文本里没有可以合并的对。
    """
    text = text[:MAX_TRAINING]
    merges = learn_merges(text, wanted)
    if not merges:
        raise UserError("the text has no pair to merge", fix="train on a longer text")
    chunks = Counter(pretokenize(text))
    words = [list(chunk.encode()) for chunk in chunks]
    times = list(chunks.values())
    shown = [list(chunk.encode()) for chunk in pretokenize(sample[:MAX_SAMPLE])]
    names = _names(merges)
    first = _frame(_flat(shown), merges, names)
    frames = [_counted(first, [], times, words)]
    for number, pair in enumerate(merges):
        counts: Counter[Pair] = Counter()
        for word, repeats in zip(words, times, strict=True):
            for found in pairwise(word):
                counts[found] += repeats
        others = [item for item in counts.most_common(CANDIDATES) if item[0] != pair]
        best = [(pair, counts[pair]), *others][:CANDIDATES]
        candidates = [Candidate(one_line(names[left]), one_line(names[right]), count) for (left, right), count in best]
        words = [_merged(word, pair, 256 + number) for word in words]
        shown = [_merged(word, pair, 256 + number) for word in shown]
        frames.append(_counted(_frame(_flat(shown), merges, names, number), candidates, times, words))
    return frames


def _inside(number: int, merges: Sequence[Pair]) -> list[int]:
    """合成一个 token 途中的全部 token，含它自己。"""
    if _is_leaf(number, merges):
        return [number]
    left, right = merges[number - 256]
    return [number, *_inside(left, merges), *_inside(right, merges)]


def _is_leaf(number: int, merges: Sequence[Pair]) -> bool:
    """字节，或个别词表里不是合并而来的 token。"""
    return number < 256 or merges[number - 256] == ODD_PAIR


def _cut(number: int, merges: Sequence[Pair], merge: int) -> list[int]:
    """做完第 ``merge`` 次合并时，一个最终的 token 还是哪几块。"""
    if number - 256 <= merge or _is_leaf(number, merges):
        return [number]
    left, right = merges[number - 256]
    return [*_cut(left, merges, merge), *_cut(right, merges, merge)]


def _names(merges: Sequence[Pair]) -> list[bytes]:
    names = [bytes([value]) for value in range(256)]
    for left, right in merges:
        names.append(names[left] + names[right])
    return names


def _frame(numbers: list[int], merges: Sequence[Pair], names: Sequence[bytes], merge: int = -1) -> Frame:
    rule = ("", "", "")
    if merge >= 0 and not _is_leaf(256 + merge, merges):
        left, right = merges[merge]
        rule = (one_line(names[left]), one_line(names[right]), one_line(names[256 + merge]))
    return Frame(readable_run([names[number] for number in numbers]), numbers, merge, rule)


def _counted(frame: Frame, candidates: list[Candidate], times: list[int], words: list[list[int]]) -> Frame:
    total = sum(repeats * len(word) for word, repeats in zip(words, times, strict=True))
    return Frame(frame.tokens, frame.numbers, frame.merge, frame.rule, candidates, total)


def _flat(words: list[list[int]]) -> list[int]:
    return [number for word in words for number in word]


def _merged(word: list[int], pair: Pair, number: int) -> list[int]:
    """从左到右把每个不重叠的 ``pair`` 换成 ``number``。"""
    if pair[0] not in word:
        return word
    merged: list[int] = []
    i = 0
    while i < len(word):
        is_pair = word[i] == pair[0] and i + 1 < len(word) and word[i + 1] == pair[1]
        merged.append(number if is_pair else word[i])
        i += 2 if is_pair else 1
    return merged
