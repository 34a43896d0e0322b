"""GGUF 的元数据与词表：照格式写出的文件读得回来，敌意的与截断的文件都是 ``DataError``，内存有界。"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.tokenizers.samples import SAMPLE, small
from parity_tests.tokenizers.test_bpe import fuzzed
from tinygrad_llm.common import gguf
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.gguf import TensorInfo, read_gguf
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats import load_any
from tinygrad_llm.common.tokenizers.layout import MISSING, Layout
from tinygrad_llm.common.tokenizers.symbols import chars_of

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
LAYOUTS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q", I64: "<q",
           F64: "<d"}  # fmt: skip


def text_bytes(text: str) -> bytes:
    """长度加 UTF-8。"""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(type: int, value: Any) -> bytes:
    """一个值，不含类型号；数组写作（元素的类型，元素的列表）。"""
    if type == STRING:
        return text_bytes(value)
    if type == ARRAY:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + b"".join(value_bytes(inner, item) for item in items)
    return struct.pack(LAYOUTS[type], value)


def gguf_bytes(
    metadata: Mapping[str, tuple[int, Any]], tensors: tuple[TensorInfo, ...] = (), version: int = 3
) -> bytes:
    """照格式说明写出的文件。"""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(metadata))]
    for key, (type, value) in metadata.items():
        parts += [text_bytes(key), struct.pack("<I", type), value_bytes(type, value)]
    for one in tensors:
        parts += [
            text_bytes(one.name),
            struct.pack("<I", len(one.shape)),
            struct.pack(f"<{len(one.shape)}Q", *one.shape),
        ]
        parts.append(struct.pack("<IQ", one.type, one.offset))
    return b"".join(parts)


METADATA: dict[str, tuple[int, Any]] = {
    "general.architecture": (STRING, "llama"),
    "名": (STRING, "值"),
    "u8": (U8, 255), "i8": (I8, -128), "u16": (U16, 65535), "i16": (I16, -5), "u32": (U32, 2**32 - 1), "i32": (I32, -1),
    "f32": (F32, 0.5), "yes": (BOOL, True), "u64": (U64, 2**64 - 1), "i64": (I64, -(2**63)), "f64": (F64, 1e300),
    "numbers": (ARRAY, (I32, [1, -2, 3])),
    "flags": (ARRAY, (BOOL, [True, False])),
    "words": (ARRAY, (STRING, ["a", "", "中"])),
    "nested": (ARRAY, (ARRAY, [(U8, [1, 2]), (STRING, ["x"])])),
    "none": (ARRAY, (F32, [])),
}  # fmt: skip
TENSORS = (TensorInfo("token_embd.weight", (576, 49152), 2, 0), TensorInfo("scalar", (), 0, 64))


def plain(type: int, value: Any) -> Any:
    """``METADATA`` 的一项读回来应有的样子。"""
    return [plain(value[0], item) for item in value[1]] if type == ARRAY else value


def test_every_type_comes_back(tmp_path: Path) -> None:
    """各种类型的值与张量的描述都读得回来，权重不读。"""
    path = tmp_path / "x.gguf"
    head = gguf_bytes(METADATA, TENSORS)
    path.write_bytes(head + b"weights" * 1000)
    found = read_gguf(path)
    assert found.metadata == {key: plain(*entry) for key, entry in METADATA.items()}
    assert (found.tensors, found.version, found.data_start) == (TENSORS, 3, len(head))


def test_every_truncation_is_a_data_error(tmp_path: Path) -> None:
    """在哪里截断都报文件与位置，没有别的异常。"""
    path, head = tmp_path / "x.gguf", gguf_bytes(METADATA, TENSORS)
    for length in range(0, len(head), 3):
        path.write_bytes(head[:length])
        with pytest.raises(DataError) as caught:
            read_gguf(path)
        assert str(path) in caught.value.where


HUGE = 2**63
HOSTILE = {
    "not gguf": b"GGML" + bytes(20),
    "version": gguf_bytes({}, version=1),
    "big endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "huge string": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", HUGE) + b"abc",
    "many keys": b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE),
    "many tensors": b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0),
    "huge array": gguf_bytes({"a": (ARRAY, (U8, []))})[:-8] + struct.pack("<Q", HUGE),
    "huge string array": gguf_bytes({"a": (ARRAY, (STRING, []))})[:-8] + struct.pack("<Q", HUGE),
    "unknown type": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text_bytes("a") + struct.pack("<I", 77),
    "unknown item type": gguf_bytes({"a": (ARRAY, (U8, []))})[:-12] + struct.pack("<IQ", 99, 1),
    "deep": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text_bytes("a") + struct.pack("<I", 9)
    + struct.pack("<IQ", 9, 1) * 5000,
    "bad utf-8": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2) + b"\xff\xff",
    "key twice": gguf_bytes({"a": (U8, 1), "b": (U8, 1)}).replace(b"b", b"a"),
    "dimensions": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text_bytes("t") + struct.pack("<I", 10**6),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(name: str, tmp_path: Path) -> None:
    """天文的长度、无底的嵌套、重复的键：先检查再分配。"""
    path = tmp_path / "x.gguf"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(DataError):
        read_gguf(path)


def test_metadata_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """文件很大时，元数据也只许占一部分。"""
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_bytes({"a": (STRING, "x" * 5000)}) + bytes(10_000))
    monkeypatch.setattr(gguf, "MAX_METADATA_BYTES", 4000)
    with pytest.raises(DataError, match="metadata exceeds 4000"):
        read_gguf(path)


@given(st.data())
def test_mutated_files_load_or_fail_cleanly(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """随意改动几个字节：要么读得出，要么 ``DataError``。"""
    head = bytearray(gguf_bytes(METADATA, TENSORS))
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    path.write_bytes(bytes(head))
    try:
        read_gguf(path)
    except DataError:
        return


# ---------------------------------------------------------------- 词表


def vocabulary(**changes: tuple[int, Any]) -> bytes:
    """SmolLM2 样式的词表：特殊 token 在最前面，缺一个字节。"""
    base = small()
    names = ["<|endoftext|>", "<|im_start|>"]
    names += [chars_of(token) for token in base.symbols if token != b"\x04"]
    merges = [f"{chars_of(base.symbols[left])} {chars_of(base.symbols[right])}" for left, right in base.merges]
    metadata = {
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "smollm"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, names)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, [3, 3] + [1] * (len(names) - 2))),
        "tokenizer.ggml.merges": (ARRAY, (STRING, merges)),
    }
    for key, value in changes.items():
        metadata[f"tokenizer.ggml.{key}"] = value
    return gguf_bytes(metadata, TENSORS)


def test_a_gguf_vocabulary_gives_the_same_ids(tmp_path: Path) -> None:
    """与同一份合并、同样编号的分词器逐字相同；缺的字节不报错。"""
    path = tmp_path / "x.gguf"
    path.write_bytes(vocabulary())
    found = load_any(path)
    base = small()
    ids = [MISSING if number == 4 else 2 + number - (number > 4) for number in range(len(base.symbols))]
    expected = Tokenizer(base.merges, ["<|endoftext|>", "<|im_start|>"], "smollm", layout=Layout(tuple(ids), (0, 1)))
    assert found == expected
    assert found.missing == b"\x04"
    for text in [SAMPLE, "a\x04b", *fuzzed(100)]:
        assert found.encode(text) == expected.encode_readable(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": (STRING, "llama")},
        {"pre": (STRING, "unheard-of")},
        {"pre": (U8, 1)},
        {"tokens": (STRING, "a")},
        {"tokens": (ARRAY, (I32, [1, 2]))},
        {"tokens": (ARRAY, (STRING, ["a", "a"]))},
        {"merges": (ARRAY, (STRING, []))},
        {"merges": (ARRAY, (STRING, ["a"]))},
        {"merges": (ARRAY, (STRING, ["中 文"]))},
        {"merges": (ARRAY, (STRING, ["z zqz"]))},
        {"token_type": (ARRAY, (I32, [1]))},
        {"token_type": (F32, 1.0)},
    ],
)
def test_vocabularies_that_are_not_byte_level_bpe_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    """别的模型、不认得的切法、对不上的数目，都指名文件。"""
    path = tmp_path / "x.gguf"
    path.write_bytes(vocabulary(**changes))
    with pytest.raises(DataError) as caught:
        load_any(path)
    assert str(path) in caught.value.where
