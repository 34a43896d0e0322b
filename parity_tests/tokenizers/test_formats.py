"""别处来的词表：与 tiktoken、HF ``tokenizers`` 自己读出的 id 相同，写出去再读回来不变，坏文件指名文件与行。"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tokenizers
from tiktoken.load import data_gym_to_mergeable_bpe_ranks, load_tiktoken_bpe
from tokenizers import models, normalizers, pre_tokenizers, trainers

from parity_tests.tokenizers.samples import ORIGINAL_PATTERNS, SAMPLE, small
from parity_tests.tokenizers.test_bpe import fuzzed
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.formats import load_any, load_named, save_as
from tinygrad_llm.common.tokenizers.formats_tiktoken import parse_tiktoken
from tinygrad_llm.common.tokenizers.known import KNOWN

SPECIALS = ["<|endoftext|>", "<|user|>"]
ODD = b" vi\xe1\xbb\x87c"


def hf_trained(folder: Path, *, pre_tokenizer: Any, normalizer: Any = None, skip: str = "") -> Path:
    """HF 自己训练的 ``tokenizer.json``：特殊 token 在最前面，``skip`` 里的字节不进词表。"""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        trained.normalizer = normalizer
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(skip))
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator([SAMPLE, "x1y22z333 " * 9], trainer)
    trained.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def hf_loaded(path: Path) -> tokenizers.Tokenizer:
    """HF 读入的同一个文件；正文里的特殊 token 名也当作普通的字，与我们相同。"""
    found = tokenizers.Tokenizer.from_file(str(path))
    found.encode_special_tokens = True
    return found


def check_equal(ours: Tokenizer, theirs: tokenizers.Tokenizer, count: int = 400) -> None:
    """在随机文本与缺字节的文本上 id 相同。"""
    for text in [SAMPLE, "\x00!\x01!\x7f", "<|user|>", *fuzzed(count)]:
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == expected, text
        assert ours.encode_readable(text) == expected, text


BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL])


@pytest.mark.parametrize(("style", "pattern"), [(BYTE_LEVEL, "gpt2"), (DIGITS, "smollm")])
@pytest.mark.parametrize("skip", ["", "ĀāĆ¡"])
def test_hf_tokenizers_own_files_give_the_same_ids(style: object, pattern: str, skip: str, tmp_path: Path) -> None:
    """GPT-2 与 SmolLM2 的写法；词表缺几个字节也一样。"""
    path = hf_trained(tmp_path, pre_tokenizer=style, skip=skip)
    ours = load_any(path)
    assert (ours.pattern, ours.specials, ours.eot) == (pattern, tuple(SPECIALS), 0)
    assert len(ours.missing) == len(skip)
    check_equal(ours, hf_loaded(path))


@pytest.mark.parametrize("name", ["llama3", "qwen2", "o200k"])
def test_hf_split_patterns_are_recognised(name: str, tmp_path: Path) -> None:
    """Llama 3、Qwen 与 GPT-4o 的切法凭正则的原文认出；Qwen 还先作 NFC。"""
    split = pre_tokenizers.Split(tokenizers.Regex(FOREIGN[name]), "isolated")
    both = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    path = hf_trained(tmp_path, pre_tokenizer=both, normalizer=normalizers.NFC() if name == "qwen2" else None)
    ours = load_any(path)
    assert (ours.pattern, ours.normalization) == (name, "NFC" if name == "qwen2" else "")
    check_equal(ours, hf_loaded(path))


FOREIGN = {name: text.replace(r"\Z", r"\z") for name, text in ORIGINAL_PATTERNS.items()}


@pytest.mark.parametrize("name", ORIGINAL_PATTERNS)
def test_exported_tokenizer_json_gives_the_same_ids_in_hf(name: str, tmp_path: Path) -> None:
    """六种切法都写得出去：HF 读入后 id 相同，我们读回来内容相同。"""
    ours = Tokenizer(small().merges, SPECIALS, name)
    save_as(ours, tmp_path / "tokenizer.json", "hf")
    theirs = hf_loaded(tmp_path / "tokenizer.json")
    check_equal(ours, theirs)
    assert theirs.token_to_id("<|user|>") == ours.special("<|user|>")
    assert load_any(tmp_path) == ours
    assert theirs.decode(ours.encode(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("name", ORIGINAL_PATTERNS)
def test_tiktoken_files_give_tiktokens_ids(name: str, tmp_path: Path) -> None:
    """写出的文件由 tiktoken 自己读，id 相同；我们读回来内容相同。"""
    ours = Tokenizer(small().merges, [], name)
    path = tmp_path / "ours.tiktoken"
    save_as(ours, path, "tiktoken")
    pattern = ORIGINAL_PATTERNS[name].replace(r"\Z", "$")
    theirs = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(str(path)), special_tokens={})
    for text in fuzzed(300):
        assert ours.encode(text) == theirs.encode_ordinary(text)
    assert load_any(path, pattern=name) == ours


def with_an_odd_token() -> bytes:
    """一份词表，其中一个 token 由自己的字节合并不出来，名次又早于它的一半，像 Llama 3 里的那些。"""
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [b"\xe1\xbb", b"\xe1\xbb\x87", b" v", b" vi", ODD, b" vi\xe1\xbb\x87", b"ab", b"ODD!"]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


def test_tokens_that_merging_cannot_build_follow_tiktoken(tmp_path: Path) -> None:
    """整块取它，块内按拼成的字节合并；写成 ``tokenizer.json`` 后 HF 也给出同样的 id。"""
    path = tmp_path / "odd.tiktoken"
    path.write_bytes(with_an_odd_token())
    ours = load_any(path, "llama3")
    assert len(ours.layout.odd) == 2
    pattern = ORIGINAL_PATTERNS["llama3"]
    theirs = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(str(path)), special_tokens={})
    texts = [" việc", " việcx", "ODD!", "xODD!", " vi", " việ việc", "ab" * 300, " việc" * 90, *fuzzed(200)]
    save_as(ours, tmp_path / "tokenizer.json", "hf")
    check = hf_loaded(tmp_path / "tokenizer.json")
    for text in texts:
        expected = theirs.encode_ordinary(text)
        assert ours.encode(text) == ours.encode_readable(text) == expected, text
        assert check.encode(text).ids == expected, text
    assert load_any(tmp_path / "tokenizer.json") == ours
    ours.save(tmp_path / "ours.json")
    assert load_any(tmp_path / "ours.json") == ours


@pytest.mark.parametrize("names", [("vocab.bpe", "encoder.json"), ("merges.txt", "vocab.json")])
def test_gpt2s_two_files_load(names: tuple[str, str], tmp_path: Path) -> None:
    """HF 写下的两个文件；tiktoken 读同样的文件得到同样的名次。"""
    path = hf_trained(tmp_path, pre_tokenizer=BYTE_LEVEL)
    model = tokenizers.Tokenizer.from_file(str(path))
    model.model.save(str(tmp_path))
    (tmp_path / "merges.txt").rename(tmp_path / names[0])
    (tmp_path / "vocab.json").rename(tmp_path / names[1])
    ours = load_any(tmp_path / names[0])
    assert set(SPECIALS) == set(ours.specials)
    assert ours == load_any(tmp_path / names[1])
    model.encode_special_tokens = True
    check_equal(ours, model, 100)
    path.unlink()
    assert load_any(tmp_path) == ours


def test_tiktoken_reads_the_same_ranks_from_gpt2s_files(tmp_path: Path) -> None:
    """GPT-2 自己的编号：字节在前，次序是可见字符在前；与 tiktoken 的读法相同。"""
    order = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order += [byte for byte in range(256) if byte not in order]
    from tinygrad_llm.common.tokenizers.symbols import chars_of

    base = small()
    encoder = {chars_of(bytes([byte])): id for id, byte in enumerate(order)}
    rows = ["#version: 0.2"]
    for id, (left, right) in enumerate(base.merges, start=256):
        rows.append(f"{chars_of(base.symbols[left])} {chars_of(base.symbols[right])}")
        encoder[chars_of(base.symbols[id])] = id
    encoder["<|endoftext|>"] = len(encoder)
    (tmp_path / "vocab.bpe").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")
    ranks = data_gym_to_mergeable_bpe_ranks(str(tmp_path / "vocab.bpe"), str(tmp_path / "encoder.json"))
    ours = load_any(tmp_path)
    assert {ours.token_bytes(id): id for id in range(ours.vocab_size - 1)} == ranks
    assert ours.eot == ours.vocab_size - 1


def test_a_known_name_without_its_file_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """什么也不下载：报错指名文件夹与文件；放好之后就读得到。"""
    monkeypatch.setenv("ZERO_ONE_LLM_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something tried to use the network"))
    for name in KNOWN:
        with pytest.raises(DataError, match="nothing is ever downloaded") as caught:
            load_named(name)
        assert caught.value.where == str(tmp_path / "vocabularies")
        assert KNOWN[name].files[0] in caught.value.fix
    path = tmp_path / "vocabularies" / "gpt2" / "tokenizer.json"
    path.parent.mkdir(parents=True)
    save_as(small(), path, "hf")
    assert load_named("gpt2") == small()


def test_an_unknown_tiktoken_file_needs_a_pattern(tmp_path: Path) -> None:
    """文件里没有切法；不猜，而是要用户说明。"""
    path = tmp_path / "x.tiktoken"
    save_as(small().with_specials([]), path, "tiktoken")
    with pytest.raises(UserError, match="how text is split") as caught:
        load_any(path)
    assert "--pattern" in caught.value.fix
    named = parse_tiktoken(path.read_bytes(), "x", "gpt4", {"<|end|>": 400})
    assert (named.special("<|end|>"), named.vocab_size) == (400, 401)
    with pytest.raises(UserError, match=r"unused|outside"):
        named.token_bytes(380)


def test_ids_that_do_not_follow_the_merges_are_not_written_as_tiktoken(tmp_path: Path) -> None:
    """这个格式只有一个数，宁可拒绝也不写错。"""
    base = train_bpe(SAMPLE, 300, [])
    count = len(base.symbols)
    from tinygrad_llm.common.tokenizers.layout import Layout

    turned = Tokenizer(base.merges, [], layout=Layout(tuple(range(count))[::-1], ()))
    with pytest.raises(UserError, match="cannot be written"):
        save_as(turned, tmp_path / "x.tiktoken", "tiktoken")
    with pytest.raises(UserError, match="unknown format"):
        save_as(turned, tmp_path / "x", "pickle")
    save_as(turned, tmp_path / "x.json", "hf")
    assert load_any(tmp_path / "x.json") == turned
