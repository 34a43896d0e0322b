"""切块：各种切法与 tiktoken 的原文相同，首尾相接即为原文，一兆字节的同一个字符也很快。"""

from __future__ import annotations

import sys
import time
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.tokenizers.samples import ORIGINAL_PATTERNS, TRICKY
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import train_bpe
from tinygrad_llm.common.tokenizers.split import PATTERNS, pieces, pretokenize, split_pattern

EDGY = [*"sS\u017ftTlLvVeErRdDmM'/ \n\r\t!1²aAǅʰ中", "\u0301", "\x85", "\x1c", "\u2028", "ll", "'LL", "\n/", "  "]
KNOWN = st.characters(exclude_categories=("Cs", "Cn"))
TEXTS = st.lists(st.sampled_from(EDGY) | st.sampled_from(TRICKY[:-1]) | KNOWN, max_size=30).map("".join)


def test_every_character_falls_into_its_unicode_class() -> None:
    """四类字符各连成一串，每串恰为一块：若有一个字符分错了类，那一串就会断开。"""
    groups: dict[str, list[str]] = {"L": [], "N": [], "space": [], "other": []}
    for character in map(chr, range(sys.maxunicode + 1)):
        major = unicodedata.category(character)[0]
        if character.isspace() and not "\x1c" <= character <= "\x1f":  # str.isspace 比 White_Space 多出的四个
            major = "space"
        groups[major if major in groups else "other"].append(character)
    for name, characters in groups.items():
        whole = "".join(characters)
        assert pretokenize(whole) == [whole], name


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("we'll go, it's 42!", ["we", "'ll", " go", ",", " it", "'s", " 42", "!"]),
        ("a  b", ["a", " ", " b"]),
        ("a \n  b", ["a", " \n ", " b"]),
        ("a\n\nb", ["a", "\n", "\n", "b"]),
        ("x   ", ["x", "   "]),
        ("x²3", ["x", "²3"]),
        ("中文，分词", ["中文", "，", "分词"]),
        ("e\u0301t", ["e", "\u0301", "t"]),
        ("a\x1cb", ["a", "\x1c", "b"]),
    ],
)
def test_known_splits(text: str, chunks: list[str]) -> None:
    """与 GPT-2 的规则逐字对照的例子。"""
    assert pretokenize(text) == chunks


@pytest.mark.parametrize("name", ORIGINAL_PATTERNS)
@given(text=TEXTS)
def test_the_expanded_pattern_splits_like_the_original(name: str, text: str) -> None:
    r"""在标准库已知的字符上，展开后的正则与带 ``\p`` 的原文切出相同的块。"""
    assert pretokenize(text, name) == regex.findall(ORIGINAL_PATTERNS[name], text)


def test_every_pattern_has_an_original_to_compare_with() -> None:
    """添了切法却没有对照，就等于没有测。"""
    assert set(ORIGINAL_PATTERNS) == set(PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
@given(text=TEXTS | st.text(), size=st.integers(1, 9))
def test_chunks_join_to_the_text_and_pieces_do_not_change_them(name: str, text: str, size: int) -> None:
    """首尾相接即为原文；先切成大段再切块，结果不变。"""
    chunks = pretokenize(text, name)
    assert "".join(chunks) == text
    assert all(chunks)
    assert [chunk for piece in pieces(text, size) for chunk in pretokenize(piece, name)] == chunks


def test_a_long_text_is_really_cut_into_pieces() -> None:
    """每段只比要求的略长；没有边界的长串才会整段留下。"""
    text = "word and 词，\n" * 1000
    found = list(pieces(text, 100))
    assert "".join(found) == text
    assert max(map(len, found)) < 120
    assert list(pieces("x" * 1000, 100)) == ["x" * 1000]


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("unit", [" ", "A", "1", "\n", "😀", "\u0301"])
def test_a_megabyte_of_one_character_splits_quickly(name: str, unit: str) -> None:
    """一百万字节的同一个字符，后面有没有别的字都一样：不回溯成平方。"""
    text = unit * (1_000_000 // len(unit.encode()))
    started_at = time.process_time()
    for whole in (text, text + "b"):
        assert "".join(pretokenize(whole, name)) == whole
    assert time.process_time() - started_at < 4


def test_an_unknown_pattern_names_the_known_ones() -> None:
    """写错名字时列出有哪些。"""
    with pytest.raises(UserError, match="unknown split pattern") as caught:
        train_bpe("text", 300, pattern="gpt5")
    assert "o200k" in caught.value.fix


@pytest.mark.parametrize("name", PATTERNS)
def test_no_possessive_quantifier_is_left_for_python_3_10(name: str) -> None:
    """Python 3.10 的 ``re`` 不认占有式，会报错。"""
    assert regex.search(r"[+*?}]\+", split_pattern(name)) is None
    assert r"\z" not in split_pattern(name)
