"""WordPiece：编码等于 HF ``tokenizers``，训练等于每一轮从头数的朴素写法。"""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import models

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.vocabulary import UNKNOWN
from tinygrad_llm.common.tokenizers.wordpiece import MAX_WORD, WordPieceTokenizer, learn_wordpieces, train_wordpiece
from tinygrad_llm.common.tokenizers.words import split_words

_LETTERS = "abc好é"
_PIECES = st.lists(
    st.text(_LETTERS, min_size=1, max_size=4).flatmap(lambda s: st.sampled_from((s, f"##{s}"))), unique=True
)


@given(_PIECES, st.lists(st.text(_LETTERS + "z", min_size=1, max_size=12), max_size=5))
def test_encoding_equals_hf_tokenizers(pieces: list[str], words: list[str]) -> None:
    """最长匹配与 HF 的不同：词表相同，id 却不同。"""
    ours = WordPieceTokenizer(pieces)
    vocab = {piece: id for id, piece in enumerate(pieces)} | {UNKNOWN: ours.special(UNKNOWN)}
    theirs = HFTokenizer(models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=MAX_WORD))
    assert [ours.encode_word(word) for word in words] == [theirs.encode(word).ids for word in words]
    text = " ".join(words)
    assert ours.encode(text) == theirs.encode(split_words(text), is_pretokenized=True).ids


@pytest.mark.parametrize("length", [MAX_WORD, MAX_WORD + 1])
def test_overlong_words_are_unknown_as_in_hf(length: int) -> None:
    """过长的词的界限与 HF 差一。"""
    ours = WordPieceTokenizer(["a", "##a"])
    theirs = HFTokenizer(
        models.WordPiece({"a": 0, "##a": 1, UNKNOWN: 2}, unk_token=UNKNOWN, max_input_chars_per_word=MAX_WORD)
    )
    assert ours.encode("a" * length) == theirs.encode("a" * length).ids


def _naive(text: str, wanted: int, min_count: int) -> list[str]:
    """每一轮从头数所有的对，比值用分数精确比较。"""
    words = [[word[0], *(f"##{letter}" for letter in word[1:])] for word in split_words(text)]
    pieces = sorted({piece for word in words for piece in word})
    while len(pieces) < wanted:
        singles = Counter(piece for word in words for piece in word)
        pairs = Counter(pair for word in words for pair in pairwise(word))
        scored = [
            (-Fraction(count, singles[a] * singles[b]), -count, (a, b))
            for (a, b), count in pairs.items()
            if count >= min_count
        ]
        if not scored:
            break
        a, b = min(scored)[2]
        joined = a + b.removeprefix("##")
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == (a, b):
                    word[i : i + 2] = [joined]
                i += 1
        if joined not in pieces:
            pieces.append(joined)
    return pieces


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_training_equals_recounting_from_scratch(seed: int, min_count: int) -> None:
    """增减的次数与从头数的不同：某一轮挑错了对。"""
    rng = random.Random(seed)
    text = " ".join("".join(rng.choices("abcd好", k=rng.randint(1, 7))) for _ in range(30))
    assert learn_wordpieces(text, 40, min_count) == _naive(text, 40, min_count)


def test_likelihood_prefers_the_pair_that_occurs_only_together() -> None:
    """挑选的标准退化成了「次数最多」，与 BPE 无异。"""
    text = "ab " * 10 + "ac " * 9 + "db " * 9 + "xy " * 5
    assert learn_wordpieces(text, 7, 2)[-1] == "xy"


def test_decoding_joins_pieces_and_separates_words() -> None:
    """``##`` 的片段没有接上，或词间少了空格。"""
    tokenizer = train_wordpiece("playing player played " * 20, 20)
    assert tokenizer.decode(tokenizer.encode("player playing")) == "player playing"
    assert tokenizer.decode(tokenizer.encode("player zoo")) == f"player {UNKNOWN}"


@pytest.mark.parametrize(("size", "advice"), [(3, ">="), (10_000, "<=")])
def test_an_impossible_vocabulary_size_names_a_possible_one(size: int, advice: str) -> None:
    """词表太小或太大时，没有说可行的界限，或照着做仍不行。"""
    text = "hello hello help " * 20
    with pytest.raises(UserError) as caught:
        train_wordpiece(text, size)
    assert f"vocab_size {advice} " in caught.value.fix
    possible = int(caught.value.fix.split()[-1])
    assert train_wordpiece(text, possible).vocab_size == possible
