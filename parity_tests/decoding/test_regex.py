"""正则：认得的文字与 Python 的 ``re`` 相同；每一步的掩码与 ``regex`` 的部分匹配相同。"""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.decoding.words import BYTES, JSON_TOKENIZER, WordTokenizer
from tinygrad_llm.common.decoding.grammar.constraint import regex_constraint
from tinygrad_llm.common.errors import UserError

ATOMS = ["a", "b", "é", "中", r"\d", r"\w", "[a-c]", "[^ab]", ".", r"\.", "[b-d中]", r"[^\W\d]", r"\x61"]
TEXT = st.text(alphabet="ab1é中 .", max_size=6)
SUFFIXES = ["", "", "*", "+", "?", "{2}", "{0,3}", "{1,}", "*?"]


def patterns() -> st.SearchStrategy[str]:
    """随机的正则。"""

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        one = st.tuples(inner, st.sampled_from(SUFFIXES)).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
        return st.lists(one, min_size=1, max_size=3).map("".join) | st.tuples(inner, inner).map("|".join)

    return st.recursive(st.sampled_from(ATOMS), grown, max_leaves=5)


@given(pattern=patterns(), data=st.data(), texts=st.lists(TEXT, max_size=5))
def test_it_matches_other_texts_than_re(pattern: str, data: st.DataObject, texts: list[str]) -> None:
    """随机的正则与文字（一半由正则造出）：认不认得与 ``re.fullmatch`` 不同。"""
    constraint = regex_constraint(f"{pattern}|zz", JSON_TOKENIZER)
    made = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True, alphabet=st.sampled_from("abcd1é中 ._zA"))
    for text in [*texts, data.draw(made)]:
        assert constraint.matches(text) == (re.fullmatch(f"{pattern}|zz", text, re.ASCII) is not None), text


@given(pattern=patterns(), seed=st.integers(0, 2**32 - 1))
def test_a_mask_differs_from_partial_matching(pattern: str, seed: int) -> None:
    """沿随机的一路走，某个 token 该不该允许与「接上它之后还能不能匹配」不同；只比整个的字。"""
    regex = pytest.importorskip("regex")
    whole = ["ab", "abc", "aé1", "中a", "  ", "1.", "é", "中", *map(chr, range(128))]
    tokenizer = WordTokenizer([*map(str.encode, whole), *BYTES[128:]])
    constraint, rng, written = regex_constraint(pattern, tokenizer), np.random.default_rng(seed), ""
    compiled = regex.compile(pattern.replace("*?", "*"), regex.ASCII)  # 懒惰的重复，部分匹配会多认
    state = constraint.start()
    for _ in range(4):
        mask = constraint.mask(state)
        possible = [compiled.fullmatch(written + word, partial=True) is not None for word in whole]
        narrower = [i for i, may in enumerate(possible) if may != mask[i]]
        assert not narrower, [whole[i] for i in narrower]
        assert constraint.is_final(state) == (compiled.fullmatch(written) is not None)
        onward = np.flatnonzero(mask[: len(whole)])
        if not len(onward):
            break
        token = int(rng.choice(onward))
        state, written = constraint.advance(state, token), written + whole[token]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a)\1", r"\1 is not supported"),
        ("(?=a)b", "look-around"),
        (r"\bword", r"\b is not supported"),
        ("a(b", "expected ')'"),
        ("a)b", "without its"),
        ("*a", "nothing to repeat"),
        ("a**", "repetition of a repetition"),
        ("[z-a]", "bad character range"),
        ("[ab", "ends too early"),
        ("a{3,1}", "from 3 to 1"),
        ("a^b", "inside the expression"),
        (r"\ud800", "hexadecimal"),
        ("(" * 200 + ")" * 200, "nested groups"),
        ("a{60000}b{60000}", "states"),
        (r"[^\x00-\uffff\U]", "not supported"),
    ],
)
def test_a_wrong_expression_is_accepted(pattern: str, said: str) -> None:
    """写法不对或不收的正则被收下了，或报错没有说清是哪里。"""
    with pytest.raises(UserError) as caught:
        regex_constraint(pattern, JSON_TOKENIZER)
    assert said in str(caught.value)
    assert caught.value.fix


def test_an_expression_that_nothing_matches_is_accepted() -> None:
    """什么也不匹配的正则被收下了，拿去约束就会卡住。"""
    with pytest.raises(UserError, match="nothing can satisfy"):
        regex_constraint(r"a[^\d\D]", JSON_TOKENIZER)


def test_a_token_leads_into_a_dead_end() -> None:
    """词表里没有单独的 ``q``：写下 ``p`` 之后只能靠 ``q`` 收尾，所以不许单写 ``p``，``pq`` 一起写则可以。"""
    tokenizer = WordTokenizer([b"a", b"p", b"pq", b"ap"])
    constraint = regex_constraint("a(pq)?", tokenizer)
    assert constraint.mask(constraint.start()).tolist() == [True, False, False, False, False]
    after = constraint.advance(constraint.start(), 0)
    assert constraint.mask(after).tolist() == [False, False, True, False, False]
    assert constraint.is_final(after)
    with pytest.raises(UserError, match="the vocabulary cannot spell it"):
        regex_constraint("q+", tokenizer)


def test_broken_utf8_is_written() -> None:
    """词表里有半个汉字的 token：它可以写，但其后只许接完这个字的字节。"""
    half = JSON_TOKENIZER.words.index("中".encode()[:2])
    constraint = regex_constraint(".{2}", JSON_TOKENIZER)
    state = constraint.advance(constraint.start(), half)
    allowed = {JSON_TOKENIZER.words[i] for i in np.flatnonzero(constraint.mask(state))}
    assert b"a" not in allowed
    assert b"\xad" in allowed
    assert b'\xad\xe6"' not in allowed
    assert not constraint.is_final(state)
