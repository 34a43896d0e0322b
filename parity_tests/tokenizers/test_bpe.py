"""BPE 的编码：两条路径处处相等，任何字节可还原，正文永远不会变成特殊 token。"""

from __future__ import annotations

import random
import sys
import time
import unicodedata
from collections.abc import Iterator

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.tokenizers.samples import ORIGINAL_PATTERNS, SAMPLE, TEXTS, TRICKY, small
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import TokenIdError, Tokenizer, new_rows, train_bpe
from tinygrad_llm.common.tokenizers.layout import MISSING, Layout


@pytest.fixture
def tokenizer() -> Tokenizer:
    """同一个小分词器，供普通测试使用。"""
    return small()


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


@pytest.mark.parametrize("unit", ["a", " ", "\n", "1", "😀", "ab"])
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
    assert bare._tiktoken is None
    assert bare.encode(SAMPLE) == expected
    assert bare.encode_batch([SAMPLE, "", "a"], threads=2) == [expected, [], [97]]


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


# ---------------------------------------------------------------- 与 tiktoken 对照


def fuzzed(count: int) -> Iterator[str]:
    """随机文本：一半是容易出错的片段，一半是任意的已分配字符。"""
    rng = random.Random(11)
    words = [*TRICKY[:-1], *SAMPLE.split(" ")[:60], "'S", "HTTPServer", "x1y22z333", "\n/", "don't"]
    while count:
        parts = []
        for _ in range(rng.randint(0, 12)):
            char = chr(rng.randrange(0x30000))
            is_known = unicodedata.category(char) not in ("Cs", "Cn")
            parts.append(char if is_known and rng.random() < 0.5 else rng.choice(words))
        yield rng.choice(["", " "]).join(parts)
        count -= 1


def plain_tiktoken(tokenizer: Tokenizer) -> tiktoken.Encoding:
    r"""同样的次序、带 ``\\p`` 的原文正则，直接交给 tiktoken。"""
    pattern = ORIGINAL_PATTERNS[tokenizer.pattern].replace(r"\Z", "$")
    ranks = {token: rank for rank, token in enumerate(tokenizer.symbols)}
    return tiktoken.Encoding("plain", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def check_against_tiktoken(count: int) -> None:
    """六种切法轮流，每条文本三种编码相同并能还原。"""
    ours = [Tokenizer(small().merges, pattern=name) for name in ORIGINAL_PATTERNS]
    pairs = [(one, plain_tiktoken(one)) for one in ours]
    for index, text in enumerate(fuzzed(count)):
        tokenizer, plain = pairs[index % len(pairs)]
        ids = tokenizer.encode(text)
        assert ids == plain.encode_ordinary(text), (tokenizer.pattern, text)
        assert ids == tokenizer.encode_readable(text), (tokenizer.pattern, text)
        assert tokenizer.decode(ids) == text


def test_ids_equal_tiktokens_on_fuzzed_strings() -> None:
    """同样的合并，tiktoken 给出什么 id，我们就给出什么 id。"""
    check_against_tiktoken(2000)


@pytest.mark.full
def test_ids_equal_tiktokens_on_100_000_fuzzed_strings() -> None:
    """同上，十万条。"""
    check_against_tiktoken(100_000)


def check_random_bytes(count: int) -> None:
    """随机字节串逐字节还原。"""
    rng, tokenizer = random.Random(5), small()
    for _ in range(count):
        data = rng.randbytes(rng.randint(0, 40))
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


def test_random_bytes_round_trip() -> None:
    """不论是不是 UTF-8。"""
    check_random_bytes(2000)


@pytest.mark.full
def test_100_000_random_byte_strings_round_trip() -> None:
    """同上，十万串。"""
    check_random_bytes(100_000)


def check_injections(count: int) -> None:
    """把特殊 token 的名字拼进正文，四种编码都不产生特殊 id。"""
    rng = random.Random(3)
    tokenizer = small().with_specials(["<|user|>", "<|assistant|>", "[INST]", " "])
    special = set(tokenizer.layout.special_ids)
    for text in fuzzed(count):
        name = rng.choice(tokenizer.specials)
        cut = rng.randint(0, len(text))
        spliced = text[:cut] + name[: rng.randint(1, len(name))] + name + text[cut:]
        found = [tokenizer.encode(spliced), tokenizer.encode_readable(spliced)]
        found += [tokenizer.encode_bytes(spliced.encode()), tokenizer.encode_to_numpy(spliced).tolist()]
        assert all(map(special.isdisjoint, found)), spliced
        assert tokenizer.decode(found[0]) == spliced


def test_injected_names_never_become_special_ids() -> None:
    """用户文本永远不会变成特殊 token。"""
    check_injections(500)


@pytest.mark.full
def test_10_000_injections_give_no_special_id() -> None:
    """同上，一万条。"""
    check_injections(10_000)


def test_a_long_random_chunk_takes_the_same_merges(tokenizer: Tokenizer) -> None:
    """没有空白的长串走另一种合并的办法，结果与 tiktoken 相同。"""
    text = "".join(random.Random(1).choices("theca on1é中😀", k=20_000)).replace(" ", "")
    assert tokenizer.encode_readable(text) == plain_tiktoken(tokenizer).encode_ordinary(text)


def test_batches_and_arrays_hold_the_same_ids(tokenizer: Tokenizer) -> None:
    """多线程与 NumPy 的结果与逐篇编码相同；长文本分段编码也相同。"""
    texts = [SAMPLE * 3, "", "中文", SAMPLE]
    assert tokenizer.encode_batch(texts, threads=3) == [tokenizer.encode(text) for text in texts]
    long = SAMPLE * 3000
    ids = tokenizer.encode_to_numpy(long)
    assert len(long) > 1 << 20
    assert ids.dtype == np.uint16
    assert ids.tolist() == tokenizer.encode(long) == plain_tiktoken(tokenizer).encode_ordinary(long)
    assert tokenizer.encode_to_numpy("").tolist() == []


# ---------------------------------------------------------------- 编号、缺字节、添 token


def shifted(missing: bytes = b"", odd: dict[int, bytes] | None = None) -> Tokenizer:
    """同样的合并，id 倒着排，特殊 token 在最前面，另有一个从不产生的 id。"""
    base = small()
    count = len(base.symbols)
    ids = [MISSING if n < 256 and n in missing else count + 4 - n for n in range(count)]
    return Tokenizer(base.merges, ["<|endoftext|>", "<|x|>"], layout=Layout(tuple(ids), (0, 2), odd or {}, {1: b"?"}))


@given(TEXTS)
def test_any_order_of_ids_gives_the_same_tokens(text: str) -> None:
    """id 的编排只是改名：切出的字节串不变，两条路径相同，能还原。"""
    base, other = small(), shifted()
    ids = other.encode(text)
    assert ids == other.encode_readable(text)
    assert list(map(other.token_bytes, ids)) == list(map(base.token_bytes, base.encode(text)))
    assert other.decode(ids) == text
    assert ids == other.encode_to_numpy(text).tolist()


def test_bytes_missing_from_the_vocabulary_are_skipped_and_never_raise() -> None:
    """缺的字节用到时跳过，两侧的字节因此相邻、可以合并；没有用到时毫无影响。"""
    tokenizer = shifted(missing=b"\x01\xff")
    assert tokenizer.missing == b"\x01\xff"
    assert tokenizer.encode(SAMPLE) == shifted().encode(SAMPLE)
    for encode in (tokenizer.encode, tokenizer.encode_readable):
        assert tokenizer.decode(encode("th\x01e !\x01!")) == "the !!"
        assert encode("\x01") == []
        assert encode("!!\x01") == encode("!!")
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(b"a\xffb")) == b"ab"
    with pytest.raises(TokenIdError):
        tokenizer.token_bytes(tokenizer.vocab_size)
    assert tokenizer.token_bytes(1) == b"?"


def test_added_tokens_keep_every_old_id(tokenizer: Tokenizer) -> None:
    """添 token 之后，旧 id 的含义不变，新 id 接在后面；该添的行恰是新 id。"""
    for old in (tokenizer, shifted(missing=b"\x01")):
        new = old.with_specials(["<|user|>", "<|tool|>"])
        assert new.vocab_size == old.vocab_size + 2
        assert [new.special("<|user|>"), new.special("<|tool|>")] == [old.vocab_size, old.vocab_size + 1]
        assert new.encode(SAMPLE) == old.encode(SAMPLE)
        assert new.eot == old.eot
        assert new_rows(old, new) == range(old.vocab_size, new.vocab_size)
        assert new != old


@pytest.mark.parametrize("names", [["<|endoftext|>"], ["a", "a"], [""]])
def test_tokens_that_cannot_be_added_are_refused(tokenizer: Tokenizer, names: list[str]) -> None:
    """已有的、重复的、空的名字。"""
    with pytest.raises(UserError):
        tokenizer.with_specials(names)


def test_rows_of_a_changed_vocabulary_cannot_be_reused(tokenizer: Tokenizer) -> None:
    """旧 id 换了含义，或少了一个，都要指名。"""
    with pytest.raises(UserError, match="token 359 was"):
        new_rows(tokenizer, train_bpe(SAMPLE, 361))
    with pytest.raises(UserError, match="would no longer fit"):
        new_rows(tokenizer, Tokenizer(tokenizer.merges, []))
