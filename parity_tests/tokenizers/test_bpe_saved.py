"""BPE 的 JSON：存取不变，摘要稳定，坏文件一律拒绝，写失败时旧文件完好。"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.tokenizers.samples import SAMPLE, small
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.saved import from_json


@pytest.fixture
def tokenizer() -> Tokenizer:
    """同一个小分词器，供普通测试使用。"""
    return small()


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
    "newer version": GOOD | {"version": 3},
    "other pattern": GOOD | {"pattern": "gpt5"},
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
    "huge in all": GOOD | {"merges": [[97, 97], *([id, id] for id in range(256, 278)), [278, 98], [278, 99], [278, 1]]},
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
        loaded = from_json(mutated)
    except DataError:
        return
    assert loaded.encode("abc abc") == loaded.encode_readable("abc abc")
