"""字节级 BPE：训练等于朴素实现，两条编码路径处处相等，任何字节可还原，坏文件一律拒绝。"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
import unicodedata
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.corpora import load_corpus
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers import TokenIdError, Tokenizer, load_tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.merges import Pair, learn_merges, merge_pair, pretokenize

SAMPLE = (
    "the cat sat on the mat, and the other cat's hat is there; we'll see 123 or 1234.\n"
    "    return self.value  # 缩进\n\n\t分词器把文本切成词，分词器再合并字节。😀😀 naïve café e\u0301e\u0301 x² ½\r\n"
) * 3
TRICKY = [
    *[
        "中文分词",
        "😀",
        "👩‍👩‍👧",
        "e\u0301",
        "\u0301",
        "²",
        "½",
        "Ⅷ",
        "٣",
        "१",
        "ß",
        "ﬁ",
        "\x00",
        "\x1c",
        "\x1f",
        "\x7f",
    ],
    *["\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\ufeff", "\ufffd", " ", "  ", " " * 7, "\n", "\r\n", "\t", " \n "],
    *["'s", "'ll", "'", "123", "the", " the", "!", "<|endoftext|>", "\U0010ffff", "\ue000", "\u0378"],
]
TEXTS = st.text() | st.lists(st.sampled_from(TRICKY) | st.text(max_size=3), max_size=30).map("".join)


@cache
def small() -> Tokenizer:
    """在多种文字混排的样例上训练的小分词器。"""
    return train_bpe(SAMPLE, 360)


@pytest.fixture
def tokenizer() -> Tokenizer:
    """同一个小分词器，供普通测试使用。"""
    return small()


# ---------------------------------------------------------------- 切块


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


@given(st.lists(st.sampled_from(TRICKY[:-1]) | st.text(st.characters(exclude_categories=("Cs", "Cn"))), max_size=20))
def test_the_expanded_pattern_is_gpt2s_pattern(parts: list[str]) -> None:
    r"""在标准库已知的字符上，展开后的正则与带 ``\p`` 的原文给出相同的编码。"""
    text = "".join(parts)
    ours = small()
    original = tiktoken.Encoding(
        "original",
        pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        mergeable_ranks={ours.token_bytes(id): id for id in range(359)},
        special_tokens={},
    )
    assert ours.encode(text) == original.encode_ordinary(text)


# ---------------------------------------------------------------- 训练


def naive_merges(text: str, wanted: int) -> list[Pair]:
    """照定义写出的训练：每一轮把全文重数一遍。"""
    words = [list(chunk.encode()) for chunk in pretokenize(text)]
    merges: list[Pair] = []
    while len(merges) < wanted:
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [merge_pair(word, best, 256 + len(merges)) for word in words]
        merges.append(best)
    return merges


@given(st.text("ab ", max_size=60) | st.text("abcé中 \n1", max_size=60), st.integers(0, 40))
def test_the_incremental_trainer_equals_the_naive_one(text: str, wanted: int) -> None:
    """合并的次序逐个相同，包括次数相同与自身重叠（aaa）的情形。"""
    assert learn_merges(text, wanted) == naive_merges(text, wanted)


def test_a_tiny_example_worked_out_by_hand() -> None:
    """``abab`` 三次、``ab`` 一次：先合并 (a, b)，再合并 (ab, ab)。"""
    assert learn_merges("abab1abab1abab1ab", 9) == [(97, 98), (256, 256)]


def test_vocab_size_counts_bytes_merges_and_specials(tokenizer: Tokenizer) -> None:
    """特殊 token 排在最后，每个 id 都有字节。"""
    assert (tokenizer.vocab_size, len(tokenizer.merges)) == (360, 103)
    assert tokenizer.eot == tokenizer.special("<|endoftext|>") == 359
    assert tokenizer.token_bytes(359) == b"<|endoftext|>"
    two = train_bpe(SAMPLE, 300, ["<|user|>", "<|endoftext|>"])
    assert (two.special("<|user|>"), two.eot) == (298, 299)
    assert train_bpe("", 256, []).encode("é") == [0xC3, 0xA9]


def test_too_large_a_vocabulary_names_the_largest_possible() -> None:
    """报错里的上限恰好可行，再多一个就不行。"""
    with pytest.raises(UserError, match="yields only 2 merges") as caught:
        train_bpe("abab", 1000)
    assert caught.value.exit_code == 2
    assert "vocab_size <= 259" in caught.value.fix
    assert train_bpe("abab", 259).vocab_size == 259


@pytest.mark.parametrize("arguments", [(256, ["<|endoftext|>"]), (300, ["x", "x"]), (300, [""]), (300, ["\ud800"])])
def test_impossible_requests_are_refused(arguments: tuple[int, list[str]]) -> None:
    """词表容不下字节，或特殊 token 的名字重复、为空、不合法。"""
    with pytest.raises(UserError) as caught:
        train_bpe(SAMPLE, *arguments)
    assert caught.value.exit_code == 2


def test_training_on_the_default_corpus_is_fast() -> None:
    """python-docs 训练到 1,024 不超过 2 秒。"""
    text = load_corpus("python-docs").text
    started_at = time.process_time()
    train_bpe(text, 1024)
    assert time.process_time() - started_at < 2


# ---------------------------------------------------------------- 编码与解码


@given(TEXTS)
def test_both_encoders_agree_and_text_comes_back(text: str) -> None:
    """任意 Unicode 文本（含未分配的码位）：两条路径 id 相同，解码还原，没有特殊 id。"""
    tokenizer = small()
    ids = tokenizer.encode(text)
    assert ids == tokenizer.encode_readable(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eot not in ids


@given(st.binary() | TEXTS.map(str.encode))
def test_any_bytes_round_trip(data: bytes) -> None:
    """不是 UTF-8 的字节也逐字节还原；是 UTF-8 时与 ``encode`` 相同。"""
    tokenizer = small()
    ids = tokenizer.encode_bytes(data)
    assert tokenizer.decode_bytes(ids) == data
    try:
        assert ids == tokenizer.encode(data.decode())
    except UnicodeDecodeError:
        assert tokenizer.decode(ids) == data.decode("utf-8", "replace")


@given(st.lists(st.sampled_from([*TRICKY, " " * 63, " " * 64, "\n" * 65, "\t" * 200, "\u3000" * 90]), max_size=12))
def test_long_whitespace_is_cut_only_at_chunk_borders(parts: list[str]) -> None:
    """为避开 tiktoken 栈溢出而切开长空白，不改变结果。"""
    tokenizer = small()
    text = "".join(parts)
    assert tokenizer.encode(text) == tokenizer.encode_readable(text)


@pytest.mark.parametrize("unit", ["a", " ", "\n", "1", "!", "中", "ab", "\x00"])
@pytest.mark.parametrize("ending", ["", "b"])
def test_a_megabyte_of_one_character_is_quick(tokenizer: Tokenizer, unit: str, ending: str) -> None:
    """一百万字节的同一个字符：不崩溃，两条路径相同且都在 2 秒以内。"""
    text = unit * (1_000_000 // len(unit.encode())) + ending
    results = []
    for encode in (tokenizer.encode, tokenizer.encode_readable):
        started_at = time.process_time()
        results.append(encode(text))
        assert time.process_time() - started_at < 2
    assert results[0] == results[1]
    assert tokenizer.decode(results[0]) == text


@pytest.mark.parametrize(("text", "shown"), [("a\ud800b", "a\ufffdb"), ("\udc80", "\ufffd"), ("\ud83d\ude00", "😀")])
def test_lone_surrogates_do_not_crash(tokenizer: Tokenizer, text: str, shown: str) -> None:
    """来自 JSON 的落单代理项变成 U+FFFD，成对的变成它们表示的字符。"""
    assert tokenizer.encode(text) == tokenizer.encode_readable(text) == tokenizer.encode(shown)
    assert train_bpe(text * 9, 258).vocab_size == 258


def test_encoding_without_tiktoken_gives_the_same_ids(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有安装 tiktoken 时走可读路径。"""
    expected = tokenizer.encode(SAMPLE)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    bare = Tokenizer(tokenizer.merges, tokenizer.specials)
    monkeypatch.setattr(bare, "encode_readable", lambda text: [*tokenizer.encode_readable(text), -1])
    assert bare.encode(SAMPLE) == [*expected, -1]


def test_text_never_becomes_a_special_token(tokenizer: Tokenizer) -> None:
    """正文里写着特殊 token 的名字，也只是普通字节。"""
    text = "<|endoftext|>" * 3
    assert max(tokenizer.encode(text)) < tokenizer.eot
    assert max(tokenizer.encode_bytes(text.encode())) < tokenizer.eot
    assert tokenizer.decode([tokenizer.eot]) == "<|endoftext|>"


def test_byte_lengths_add_up_to_the_length_of_the_text(tokenizer: Tokenizer) -> None:
    """普通 token 的字节数之和等于文本的字节数；特殊 token 记 0；数组只读。"""
    lengths = tokenizer.byte_lengths
    assert lengths.dtype == np.int64
    assert lengths[tokenizer.encode(SAMPLE)].sum() == len(SAMPLE.encode())
    assert (lengths[tokenizer.eot], lengths[0], lengths.shape) == (0, 1, (360,))
    with pytest.raises(ValueError, match="read-only"):
        lengths[0] = 7


@pytest.mark.parametrize("id", [-1, 360, 10**30])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, id: int) -> None:
    """越界的 id（尤其是负数）不会悄悄取到别的 token。"""
    with pytest.raises(TokenIdError, match="outside the vocabulary of 360"):
        tokenizer.decode([1, id])
    with pytest.raises(ValueError, match="outside"):
        tokenizer.token_bytes(id)


def test_partial_characters_are_shown_as_replacement(tokenizer: Tokenizer) -> None:
    """半个汉字解码为 U+FFFD，不抛异常；NumPy 整数也可解码。"""
    assert tokenizer.decode(np.array([0xE4, 0xB8])) == "\ufffd"


def test_an_unknown_special_lists_the_known_ones(tokenizer: Tokenizer) -> None:
    """写错名字时列出有哪些。"""
    with pytest.raises(UserError, match="no special token") as caught:
        tokenizer.special("<|user|>")
    assert "<|endoftext|>" in caught.value.fix


# ---------------------------------------------------------------- 存取


def test_a_saved_tokenizer_encodes_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """存取之后相等、摘要相同、编码相同，不留下临时文件。"""
    path = tmp_path / "tokenizer.json"
    path.write_text("old")
    tokenizer.save(path)
    loaded = load_tokenizer(path)
    assert loaded == tokenizer
    assert hash(loaded) == hash(tokenizer)
    assert loaded.encode(SAMPLE) == tokenizer.encode(SAMPLE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    assert loaded != train_bpe(SAMPLE, 361)
    assert loaded != "tokenizer"


def test_the_digest_is_stable() -> None:
    """摘要只由内容决定；写死的值能发现规范形式被无意改动。"""
    assert Tokenizer([(97, 98)]).digest == "04e345c7434c462c4e14dbf88f05b2bdc66095e69f5e09a20b267e53592ce1cb"
    assert Tokenizer([(97, 98)], ["x"]).digest != Tokenizer([(97, 98)]).digest


def test_a_failed_save_keeps_the_old_file(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """落盘失败时旧文件完好，临时文件被清走，报错指名路径。"""
    path = tmp_path / "tokenizer.json"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left") as caught:
        tokenizer.save(path)
    assert caught.value.where == str(path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("tokenizer.json", "old")]


def test_saving_into_a_missing_folder_is_a_clear_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """文件夹不存在，或路径的一段是文件。"""
    (tmp_path / "file").touch()
    for folder in ("missing", "file"):
        with pytest.raises(DataError, match="cannot write"):
            tokenizer.save(tmp_path / folder / "tokenizer.json")


GOOD: dict[str, Any] = Tokenizer([(97, 98), (256, 99)]).to_json()
BROKEN: dict[str, Any] = {
    "a list": [],
    "null": None,
    "other format": GOOD | {"format": "other"},
    "newer version": GOOD | {"version": 2},
    "other pattern": GOOD | {"pattern": "o200k"},
    "no merges": {key: value for key, value in GOOD.items() if key != "merges"},
    "merges not a list": GOOD | {"merges": {"a": 1}},
    "triple": GOOD | {"merges": [[1, 2, 3]]},
    "own id": GOOD | {"merges": [[256, 1]]},
    "later id": GOOD | {"merges": [[97, 98], [258, 1]]},
    "negative id": GOOD | {"merges": [[-1, 1]]},
    "float id": GOOD | {"merges": [[1.0, 2]]},
    "bool id": GOOD | {"merges": [[True, 2]]},
    "text id": GOOD | {"merges": [["a", "b"]]},
    "same pair twice": GOOD | {"merges": [[97, 98], [97, 98]]},
    "same bytes twice": GOOD | {"merges": [[97, 98], [98, 99], [256, 99], [97, 257]]},
    "unreachable": GOOD | {"merges": [[98, 99], [97, 98], [257, 99]]},
    "exploding": GOOD | {"merges": [[97, 97], *([id, id] for id in range(256, 300))]},
    "huge in all": GOOD | {"merges": [[97, 97], *([id, id] for id in range(256, 276)), [276, 98], [276, 99], [276, 1]]},
    "specials not a list": GOOD | {"specials": "<|endoftext|>"},
    "special twice": GOOD | {"specials": ["x", "x"]},
    "special not text": GOOD | {"specials": [["x"]]},
    "special surrogate": GOOD | {"specials": ["\ud800"]},
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    """每一种不合法的内容都报 DataError（退出码 4），并指名文件。"""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(BROKEN[name]))
    with pytest.raises(DataError) as caught:
        load_tokenizer(path)
    assert (caught.value.where, caught.value.exit_code) == (str(path), 4)
    assert caught.value.problem


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000])
def test_files_that_are_not_json_are_refused(content: bytes, tmp_path: Path) -> None:
    """空文件、截断、乱码、嵌套极深、超长整数。"""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="JSON"):
        load_tokenizer(path)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    """文件不存在，或是个文件夹。"""
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            load_tokenizer(path)


@given(st.data())
def test_mutated_files_load_or_fail_cleanly(data: st.DataObject) -> None:
    """随意改动 JSON 的一处：要么照样合法，要么 DataError，绝无别的异常。"""
    mutated = copy.deepcopy(GOOD)
    junk = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(0, 300))
    key = data.draw(st.sampled_from(sorted(mutated)))
    if key in ("merges", "specials") and data.draw(st.booleans()):
        mutated[key][0] = data.draw(junk | st.tuples(junk, junk).map(list))
    else:
        mutated[key] = data.draw(junk)
    try:
        loaded = Tokenizer.from_json(mutated)
    except DataError:
        return
    assert loaded.encode("abc abc") == loaded.encode_readable("abc abc")
