"""把别处来的词表拼成我们的 ``Tokenizer``：各种格式最后都归结为两件事，一份次序与一份 id。

流入：token 的字节与 id，以及合并的次序（有的格式给出合并，有的只给出 token 的名次）；流出：``Tokenizer``。
各种文件怎样读见 ``formats.py``。

tiktoken 按「拼成的字节的名次」合并，HF 按「这一对的名次」合并。只要每个 token 都能由自己的字节编码而来，两者处处相同：
假如一对相邻的符号拼成 t，那么此前没有合并跨过 t 的两端，这一段里的合并与单独编码 t 时完全一样，这一对必是 t 自己的
那一对。
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.tokenizers.bpe import Tokenizer, merge_word, specials_problem
from tinygrad_llm.common.tokenizers.layout import MISSING, ODD_PAIR, Layout, plain_layout
from tinygrad_llm.common.tokenizers.merges import Pair
from tinygrad_llm.common.tokenizers.saved import MAX_TOTAL_BYTES
from tinygrad_llm.common.tokenizers.symbols import chars_of, numbers_of, symbol_of

__all__ = ["VocabularyFile", "from_merges", "from_ranks", "splits"]

MAX_TOKENS = 1 << 20


@dataclass(frozen=True)
class VocabularyFile:
    """一份词表里与次序无关的部分。

    Attributes:
        ids: 普通 token 的字节到 id。
        specials: 特殊 token 的名字到 id。
        pattern: 切法的名字。
        where: 来自哪个文件，用于报错。
        normalization: 编码之前的 Unicode 规范化。
        takes_whole_chunks: 整块恰好在词表里时直接取它（HF 的 ``ignore_merges``）。
    """

    ids: Mapping[bytes, int]
    specials: Mapping[str, int]
    pattern: str
    where: str
    normalization: str = ""
    takes_whole_chunks: bool = False
    unused: Mapping[int, bytes] = field(default_factory=dict)

    def error(self, problem: str) -> DataError:
        """一个指明文件的错误。"""
        return DataError(problem, where=self.where, fix="fetch the file again, or use a byte-level BPE vocabulary")


def from_ranks(vocabulary: VocabularyFile, ordered: Sequence[bytes]) -> Tokenizer:
    """只知道名次：由名次更靠前的 token 编码每个 token，最后剩下的两半就是它的合并。

    Args:
        vocabulary: 词表。
        ordered: 多于一个字节的 token，按名次排列。

    Raises:
        DataError: 词表不合法。
    """
    if len(ordered) > MAX_TOKENS or sum(map(len, ordered)) > MAX_TOTAL_BYTES:
        raise vocabulary.error(f"{len(ordered)} tokens of {sum(map(len, ordered))} bytes are too many")
    pairs, odd = _recovered(ordered)
    layout = Layout(
        (
            *(vocabulary.ids.get(bytes([byte]), MISSING) for byte in range(256)),
            *map(vocabulary.ids.__getitem__, ordered),
        ),
        tuple(vocabulary.specials.values()),
        odd,
        vocabulary.unused,
    )
    problem = layout.problem(len(pairs), len(vocabulary.specials)) or specials_problem([*vocabulary.specials])
    if problem:
        raise vocabulary.error(problem)
    plain = plain_layout(len(pairs), len(vocabulary.specials))
    found = Tokenizer(
        pairs,
        [*vocabulary.specials],
        vocabulary.pattern,
        vocabulary.normalization,
        None if layout == plain else layout,
    )
    if odd and (bad := found.unreachable()) is not None:
        raise vocabulary.error(f"token {found.symbols[bad]!r} can never be reached")
    return found


def from_merges(vocabulary: VocabularyFile, merges: Iterable[tuple[bytes, bytes]]) -> Tokenizer:
    """已知合并的次序；同一个 token 有几种合并时以最早的为准。

    Args:
        vocabulary: 词表。
        merges: 每个合并的左右两半，按次序排列。

    Raises:
        DataError: 词表不合法，或按这些合并编码与按拼成的字节编码会不同。
    """
    ways: dict[bytes, set[bytes]] = {}  # token → 它的左半有哪几种
    for left, right in merges:
        if left + right not in vocabulary.ids:
            raise vocabulary.error(f"merge {left!r} {right!r} builds a token that has no id")
        ways.setdefault(left + right, set()).add(left)
    ordered = list(ways)
    rest = {token: id for token, id in vocabulary.ids.items() if len(token) != 1 and token not in ways}
    if vocabulary.takes_whole_chunks:
        ordered += rest
    else:
        vocabulary = _without(vocabulary, rest)
    found = from_ranks(vocabulary, ordered)
    number_of = {token: number for number, token in enumerate(found.symbols)}
    for number, (left_half, _) in enumerate(found.merges, start=256):
        token = found.symbols[number]
        if number not in found.layout.odd:
            is_same = found.symbols[left_half] in ways[token] if token in ways else False
        else:
            is_same = vocabulary.takes_whole_chunks and {left for left, _ in splits(token, number_of)} == ways.get(
                token, set()
            )
        if not is_same:
            raise vocabulary.error(f"token {token!r} is not built the way byte-level BPE would build it")
    return found


def splits(token: bytes, known: Mapping[bytes, object]) -> list[tuple[bytes, bytes]]:
    """把一个 token 分成两个已知 token 的全部分法。"""
    cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
    return [(left, right) for left, right in cuts if left in known and right in known]


def _without(vocabulary: VocabularyFile, rest: Mapping[bytes, int]) -> VocabularyFile:
    """没有合并的 token 编码时永远不产生，只用于解码。"""
    ids = {token: id for token, id in vocabulary.ids.items() if token not in rest}
    unused = {**vocabulary.unused, **{id: token for token, id in rest.items()}}
    return VocabularyFile(
        ids, vocabulary.specials, vocabulary.pattern, vocabulary.where, vocabulary.normalization, False, unused
    )


def _recovered(ordered: Sequence[bytes]) -> tuple[list[Pair], dict[int, bytes]]:
    """每个 token 的合并，以及合并不出的那些。"""
    merged: dict[str, str] = {}
    pairs: list[Pair] = []
    odd: dict[int, bytes] = {}
    numbers: dict[bytes, int] = {bytes([byte]): byte for byte in range(256)}
    for number, token in enumerate(ordered, start=256):
        word = merge_word(chars_of(token), merged)
        numbers[token] = number
        if len(word) == 2 and word not in merged:
            merged[word] = symbol_of(number)
            left, right = numbers_of(word)
            pairs.append((left, right))
            continue
        odd[number] = token
        pairs.append(ODD_PAIR)
        for left_bytes, right_bytes in splits(token, numbers):
            merged[symbol_of(numbers[left_bytes]) + symbol_of(numbers[right_bytes])] = symbol_of(number)
    return pairs, odd
