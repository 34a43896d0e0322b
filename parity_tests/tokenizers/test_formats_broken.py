"""坏的词表文件：截断、乱码、重复、不合法的内容，都报 ``DataError``，指名文件，可能时指名行。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.tokenizers.samples import small
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.formats import load_any
from tinygrad_llm.common.tokenizers.formats_hf import hf_json, parse_hf
from tinygrad_llm.common.tokenizers.formats_tiktoken import parse_tiktoken, tiktoken_text

GOOD_LINES = tiktoken_text(small()).encode()
GOOD_HF: dict[str, Any] = json.loads(hf_json(small()))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"YQ== 0\nYQ 1\n", 2),
        (b"YQ== 0\n\nYg== x\n", 3),
        (b"YQ== 0\nYQ== 1\n", 2),
        (b"YQ== 0\nYg== 0\n", 2),
        (b"YQ== 0 0\n", 1),
        (b"YQ== -1\n", 1),
        (b"YQ== 1234567890123\n", 1),
        (b" 3\n", 1),
        (b"\xff\xfe\x00", 1),
        (GOOD_LINES[: len(GOOD_LINES) // 2 - 1] + b"=", None),
    ],
)
def test_a_broken_tiktoken_line_is_named(content: bytes, line: int | None) -> None:
    """报错写着文件与行号。"""
    with pytest.raises(DataError) as caught:
        parse_tiktoken(content, "v.tiktoken", "gpt2")
    assert caught.value.where.startswith("v.tiktoken:")
    assert line is None or caught.value.where == f"v.tiktoken:{line}"


def _hf(**changes: Any) -> dict[str, Any]:
    return {**GOOD_HF, **changes}


def _model(**changes: Any) -> dict[str, Any]:
    return _hf(model={**GOOD_HF["model"], **changes})


SPLIT = {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}
BROKEN_HF: dict[str, Any] = {
    "no model": _hf(model=None),
    "unigram": _model(type="Unigram"),
    "dropout": _model(dropout=0.1),
    "byte fallback": _model(byte_fallback=True),
    "word suffix": _model(end_of_word_suffix="</w>"),
    "no vocab": _model(vocab=None),
    "ids not numbers": _model(vocab={"a": "1"}),
    "token with a space": _model(vocab={**GOOD_HF["model"]["vocab"], "a b": 9999}),
    "empty token": _model(vocab={**GOOD_HF["model"]["vocab"], "": 9999}),
    "id twice": _model(vocab={**GOOD_HF["model"]["vocab"], "zzz": 5}),
    "huge id": _model(vocab={**GOOD_HF["model"]["vocab"], "zzz": 10**12}),
    "negative id": _model(vocab={**GOOD_HF["model"]["vocab"], "zzz": -7}),
    "merge of three": _model(merges=["a b c"]),
    "merge not text": _model(merges=[[1, 2]]),
    "merge without id": _model(merges=[["z", "zz"]]),
    "merges out of order": _model(merges=GOOD_HF["model"]["merges"][::-1]),
    "no pre_tokenizer": _hf(pre_tokenizer=None),
    "prefix space": _hf(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True}),
    "unknown split": _hf(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [SPLIT, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}],
        }
    ),
    "normalizer": _hf(normalizer={"type": "Lowercase"}),
    "normalizers": _hf(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}),
    "added without id": _hf(added_tokens=[{"content": "x"}]),
}


@pytest.mark.parametrize("name", BROKEN_HF)
def test_what_is_not_byte_level_bpe_is_refused(name: str) -> None:
    """每一种不合法或不支持的内容都指名文件，绝不猜。"""
    with pytest.raises(DataError) as caught:
        parse_hf(BROKEN_HF[name], "tokenizer.json")
    assert caught.value.where.startswith("tokenizer.json")


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("tokenizer.json", b'{"model":\n {"vocab"', "tokenizer.json:2"),
        ("tokenizer.json", b'{"a": 1}', "tokenizer.json"),
        ("tokenizer.json", b"{" * 200_000, "tokenizer.json"),
        ("vocab.bpe", b"#version: 0.2\na b\n", "vocab.bpe"),
        ("model.gguf", b"GGUF\x03", "model.gguf"),
    ],
)
def test_broken_files_are_named(name: str, content: bytes, where: str, tmp_path: Path) -> None:
    """截断的 JSON 指名行；缺了另一半的文件说缺什么。"""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_any(tmp_path / name)
    assert where in caught.value.where


def test_gpt2_files_with_errors_name_the_line(tmp_path: Path) -> None:
    """``vocab.bpe`` 的坏行、``encoder.json`` 的坏值。"""
    (tmp_path / "encoder.json").write_text('{"a": 0, "b": 1, "ab": 2}')
    for content, where in [
        ("#version: 0.2\na b\na\n", "vocab.bpe:3"),
        ("a b\na 中\n", "vocab.bpe:2"),
        ("#version: 0.2\n", "vocab.bpe"),
        ("a b\nb a\n", "encoder.json"),
    ]:
        (tmp_path / "vocab.bpe").write_text(content, encoding="utf-8")
        with pytest.raises(DataError) as caught:
            load_any(tmp_path / "vocab.bpe")
        assert where in caught.value.where, content
    (tmp_path / "vocab.bpe").write_text("a b\n")
    for broken in ('{"a": 0, "b": 1.5}', "[]", "{", '{"a": -1}'):
        (tmp_path / "encoder.json").write_text(broken)
        with pytest.raises(DataError, match=r"JSON|table|whole number"):
            load_any(tmp_path)


def test_missing_files_and_empty_folders_are_data_errors(tmp_path: Path) -> None:
    """路径不存在，文件夹是空的，文件是空的。"""
    (tmp_path / "empty.tiktoken").touch()
    for path in (tmp_path / "nope.json", tmp_path / "folder", tmp_path / "empty.tiktoken"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(DataError):
            load_any(path, "gpt2")


@given(st.data())
def test_mutated_tokenizer_json_loads_or_fails_cleanly(data: st.DataObject) -> None:
    """随意改动一处：要么照样合法，要么 ``DataError``，绝无别的异常。"""
    junk: st.SearchStrategy[Any] = (
        st.none() | st.booleans() | st.integers(-5, 9) | st.text(max_size=3) | st.just([]) | st.just({"a": 1})
    )
    found = json.loads(json.dumps(GOOD_HF))
    part = found if data.draw(st.booleans()) else found["model"]
    key = data.draw(st.sampled_from(sorted(part)))
    if isinstance(part[key], list | dict) and part[key] and data.draw(st.booleans()):
        inner = data.draw(st.sampled_from(sorted(part[key]) if isinstance(part[key], dict) else range(len(part[key]))))
        part[key][inner] = data.draw(junk)
    else:
        part[key] = data.draw(junk)
    try:
        parse_hf(found, "x")
    except (DataError, UserError):
        return


@given(st.integers(0, len(GOOD_LINES) - 1), st.binary(max_size=3))
def test_mutated_tiktoken_files_load_or_fail_cleanly(place: int, junk: bytes) -> None:
    """随意改动几个字节，也是如此。"""
    try:
        found = parse_tiktoken(GOOD_LINES[:place] + junk + GOOD_LINES[place + 2 :], "x", "gpt2")
    except DataError:
        return
    assert found.encode("the cat") == found.encode_readable("the cat")
