"""按词与共用的词表文件：认得的词往返不变，没见过的词是 ``<|unk|>``，坏文件一律拒绝。"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers import END_OF_TEXT, TokenIdError
from tinygrad_llm.common.tokenizers.characters import load_characters, train_characters
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.unigram import load_unigram, train_unigram
from tinygrad_llm.common.tokenizers.vocabulary import UNKNOWN
from tinygrad_llm.common.tokenizers.wordpiece import load_wordpiece, train_wordpiece
from tinygrad_llm.common.tokenizers.words import load_words, split_words, train_words

TEXT = 'The cat (a big one) sat on the mat, didn\'t it? "Yes", said 3 cats. 猫坐在垫子上，是吗？'
Loader = Callable[[Path], TextTokenizer]
KINDS: dict[str, tuple[Callable[[], TextTokenizer], Loader]] = {
    "words": (lambda: train_words(TEXT), load_words),
    "characters": (lambda: train_characters(TEXT), load_characters),
    "wordpiece": (lambda: train_wordpiece(TEXT * 20, 60), load_wordpiece),
    "unigram": (lambda: train_unigram(TEXT * 20, 256 + 1 + 60), load_unigram),
}


def test_words_are_runs_of_letters_single_han_and_punctuation() -> None:
    """切词的规则变了：手写的一列对不上。"""
    assert split_words("I'd pay 3.50 for\tcafé_x，好吗?") == [
        *("I", "'", "d", "pay", "3", ".", "50", "for", "café_x", "，", "好", "吗", "?")
    ]


def test_ordinary_prose_survives_the_round_trip() -> None:
    """平常的句子解码后多了或少了空格。"""
    tokenizer = train_words(TEXT)
    for sentence in ("The cat sat on the mat.", "didn't it?", "(a big one)", "猫坐在垫子上，是吗？"):
        assert tokenizer.decode(tokenizer.encode(sentence)) == sentence


def test_unseen_words_become_unknown_and_frequent_words_come_first() -> None:
    """没见过的词没有变成 ``<|unk|>``，或词表没有按次数截断。"""
    tokenizer = train_words("b a a c b a", vocab_size=4)
    assert tokenizer.encode("a b c d") == [0, 1, 2, 2]
    assert tokenizer.decode([0, 1, 2, tokenizer.special(END_OF_TEXT)]) == f"a b {UNKNOWN} {END_OF_TEXT}"
    assert train_words("z y x y").vocabulary.units == ("y", "x", "z")
    with pytest.raises(UserError, match="no room for the special tokens"):
        train_words("a", vocab_size=1)


@pytest.mark.parametrize("kind", KINDS)
def test_text_never_becomes_a_special_id(kind: str) -> None:
    """文本里写着特殊 token 的名字，竟变成了它的 id（认不出的词变成 ``<|unk|>`` 不算）。"""
    tokenizer = KINDS[kind][0]()
    ids = tokenizer.encode(f"{END_OF_TEXT} the {UNKNOWN} cat{END_OF_TEXT}")
    assert tokenizer.special(END_OF_TEXT) not in ids
    assert max(ids) < tokenizer.vocab_size


@pytest.mark.parametrize("kind", KINDS)
@given(st.text(max_size=30))
def test_any_text_encodes_to_ids_inside_the_vocabulary(kind: str, text: str) -> None:
    """某个文本（空串、落单的代理项、没见过的字）使编码或解码出错。"""
    tokenizer = KINDS[kind][0]()
    ids = tokenizer.encode(text)
    assert all(0 <= id < tokenizer.vocab_size for id in ids)
    assert isinstance(tokenizer.decode(ids), str)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_loads_as_the_same(kind: str, tmp_path: Path) -> None:
    """存盘再读回，编码变了。"""
    train, load = KINDS[kind]
    train().save(tmp_path / "t.json")
    loaded = load(tmp_path / "t.json")
    assert loaded.vocab_size == train().vocab_size
    assert loaded.encode(TEXT) == train().encode(TEXT)
    train().save(tmp_path / "again.json")
    assert (tmp_path / "t.json").read_bytes() == (tmp_path / "again.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_outside_the_vocabulary_are_refused(kind: str) -> None:
    """越界的 id 被解码成了别的东西，或消息里没有这个 id。"""
    tokenizer = KINDS[kind][0]()
    for id in (-1, tokenizer.vocab_size):
        with pytest.raises(TokenIdError, match=f"token id {id} is outside the vocabulary of {tokenizer.vocab_size}"):
            tokenizer.decode([id])
    with pytest.raises(UserError, match=r"no special token '<\|nope\|>'"):
        tokenizer.special("<|nope|>")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"format": "something.else"},
        {"version": 2},
        {"units": "abc"},
        {"units": ["a", "a"]},
        {"units": ["a", ""]},
        {"units": ["\ud800"]},
        {"units": [1]},
        {"specials": None},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_damaged_file_is_refused(kind: str, change: dict[str, Any], tmp_path: Path) -> None:
    """改坏的词表文件没有被拒绝，或报错里没有文件名。"""
    train, load = KINDS[kind]
    path = tmp_path / "bad.json"
    train().save(path)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"[1]"])
def test_a_file_that_is_not_json_is_refused(content: bytes, tmp_path: Path) -> None:
    """不是 JSON 的文件引出了 traceback。"""
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_words(path)
    with pytest.raises(DataError, match="cannot read the tokenizer"):
        load_words(tmp_path / "missing.json")
    with pytest.raises(DataError, match="cannot write the tokenizer"):
        train_words("a").save(tmp_path / "missing" / "t.json")
