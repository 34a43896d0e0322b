"""safetensors 读写的测试：与官方实现互通，坏文件只会得到 CheckpointError。"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.safetensors import DTYPES, read_safetensors, write_safetensors

Tensors = dict[str, npt.NDArray[Any]]

NAMES = st.text(max_size=12).filter(lambda name: name != "__metadata__")
ARRAYS = hnp.arrays(
    dtype=st.sampled_from([*DTYPES.values(), np.dtype(">f4"), np.dtype(">i8")]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
TENSORS = st.dictionaries(NAMES, ARRAYS, max_size=6)
METADATA = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


def example() -> Tensors:
    """一组小而齐全的张量。"""
    rng = np.random.default_rng(0)
    return {
        "wte.weight": rng.standard_normal((5, 4), dtype=np.float32),
        "step": np.array(7, np.int64),
        "mask": np.array([True, False, True]),
        "空": np.zeros((0, 3), np.float64),
        "half": rng.standard_normal(3).astype(np.float16),
    }


def assert_same(found: Tensors, expected: Tensors) -> None:
    """名字、形状、dtype、每一个比特都相同。"""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert found[name].dtype == array.dtype.newbyteorder("="), name
        assert found[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes(), name


def file_of(header: Any, data: bytes = b"") -> bytes:
    """按给定的头拼一个文件，头不必合法。"""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    """头里的一条。"""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@given(tensors=TENSORS, metadata=METADATA)
def test_round_trip_changes_a_bit(
    tensors: Tensors, metadata: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """任意张量写出再读回，一个比特也不变。"""
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    write_safetensors(path, tensors, metadata)
    found, found_metadata = read_safetensors(path)
    assert_same(found, tensors)
    assert found_metadata == metadata


@given(tensors=TENSORS, metadata=METADATA)
def test_official_library_cannot_read_our_file(
    tensors: Tensors, metadata: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """我们写的，官方实现读得出同样的内容。"""
    path = tmp_path_factory.getbasetemp() / "ours.safetensors"
    write_safetensors(path, tensors, metadata)
    assert_same(safetensors.numpy.load_file(path), tensors)
    with safetensors.safe_open(path, framework="np") as file:
        assert (file.metadata() or {}) == metadata


@given(tensors=TENSORS)
def test_we_cannot_read_the_official_file(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> None:
    """官方实现写的，我们读得出同样的内容。"""
    path = tmp_path_factory.getbasetemp() / "theirs.safetensors"
    native = {name: np.array(array, array.dtype.newbyteorder("=")) for name, array in tensors.items()}
    safetensors.numpy.save_file(native, path)
    assert_same(read_safetensors(path)[0], native)


def test_bytes_depend_on_the_order_of_the_dictionary(tmp_path: Path) -> None:
    """同样的内容总是写出同样的字节，与字典的次序、内存布局无关。"""
    tensors = example()
    write_safetensors(tmp_path / "a", tensors)
    tensors["wte.weight"] = np.asfortranarray(tensors["wte.weight"])
    write_safetensors(tmp_path / "b", dict(reversed(tensors.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_strided_array_is_scrambled(tmp_path: Path) -> None:
    """切片、转置、倒序的视图按它们看上去的次序写出。"""
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    views = {"column": grid[:, 1], "flipped": grid[::-1, ::2], "turned": grid.T}
    write_safetensors(tmp_path / "f", views)
    assert_same(read_safetensors(tmp_path / "f")[0], views)


def test_bfloat16_is_widened_wrongly(tmp_path: Path) -> None:
    """BF16 展宽成 float32，数值不变（NaN、无穷、次正规数在内）。"""
    values = np.array([1.0, -2.5, 3.0e38, 1e-40, np.inf, -np.inf, np.nan, 0.0], np.float32)
    kept = values.view(np.uint32) & 0xFFFF0000
    data = (kept >> 16).astype("<u2").tobytes()
    (tmp_path / "f").write_bytes(file_of({"x": entry("BF16", [2, 4], [0, 16])}, data))
    found = read_safetensors(tmp_path / "f")[0]["x"]
    assert found.dtype == np.float32
    assert found.tobytes() == kept.view(np.float32).tobytes()


def test_loaded_arrays_are_read_only(tmp_path: Path) -> None:
    """读出的数组可以原地更新。"""
    write_safetensors(tmp_path / "f", example())
    read_safetensors(tmp_path / "f")[0]["wte.weight"][0, 0] = 1.0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "too short"),
        (b"\x00" * 7, "too short"),
        (b"\x00" * 8, "not a JSON object"),
        (b"\xff" * 8, "truncated or damaged"),
        ((10**7).to_bytes(8, "little") + b"{}", "truncated or damaged"),
        (file_of(b"[]"), "not a JSON object"),
        (file_of(b"{"), "damaged header"),
        (file_of(b'{"\xff": 1}'), "damaged header"),
        (file_of(b'{"a":' * 100_000), "damaged header"),
        (file_of(b'{"a":' + b"9" * 10_000 + b"}"), "damaged header"),
        (file_of(b'{"\\ud800": {}}'), "damaged header"),
        (file_of(b'{"a": {"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234"), "duplicate key"),
        (file_of(b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2), b"1234"), "duplicate key"),
        (file_of({}, b"1"), "1 bytes of data"),
        (file_of({"a": entry()}), "0 bytes of data"),
        (file_of({"a": entry(offsets=[4, 8])}, b"12345678"), "gap or an overlap"),
        (file_of({"a": entry(), "b": entry()}, b"1234"), "gap or an overlap"),
        (file_of({"a": entry(offsets=[4, 0])}, b"1234"), "needs another number"),
        (file_of({"a": entry(shape=[2])}, b"1234"), "needs another number"),
        (file_of({"a": entry(shape=[-1])}, b"1234"), "damaged shape"),
        (file_of({"a": entry(shape=[True])}, b"1234"), "damaged shape"),
        (file_of({"a": entry(shape=[1.0])}, b"1234"), "damaged shape"),
        (file_of({"a": entry(shape="1")}, b"1234"), "damaged shape"),
        (file_of({"a": entry(shape=[1] * 65)}, b"1234"), "damaged shape"),
        (file_of({"a": entry(offsets=[0, 4, 4])}, b"1234"), "damaged shape"),
        (file_of({"a": entry(shape=[0, 2**70], offsets=[0, 0])}), "impossible shape"),
        (file_of({"a": entry(shape=[2**40, 2**40], offsets=[0, 2**82])}), "impossible shape"),
        (file_of({"a": entry("F31")}, b"1234"), "'F31', which is not supported"),
        (file_of({"a": entry(["F32"])}, b"1234"), "not supported"),
        (file_of({"a": entry("BOOL", [4])}, b"\x00\x01\x02\x00"), "neither true nor false"),
        (file_of({"a": 3}), "damaged entry"),
        (file_of({"a": {**entry(), "more": 1}}, b"1234"), "damaged entry"),
        (file_of({"__metadata__": {"a": 1}}), "metadata"),
        (file_of({"__metadata__": []}), "metadata"),
    ],
)
def test_malformed_file_is_accepted_or_crashes(tmp_path: Path, content: bytes, expected: str) -> None:
    """每一种坏法都报 CheckpointError，点名文件，至多三行。"""
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_safetensors(path)
    message = str(caught.value)
    assert expected in message
    assert str(path) in message
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize("name", ["absent", "."])
def test_unreadable_path_is_a_checkpoint_error(tmp_path: Path, name: str) -> None:
    """文件不存在或是个目录。"""
    with pytest.raises(CheckpointError, match="tensor file"):
        read_safetensors(tmp_path / name)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """随机改坏一个文件：翻位、改字节、截断、插入、重复、改头里的数字。"""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        header_end = 8 + int.from_bytes(data[:8], "little")
        at = rng.randrange(min(len(raw), header_end if rng.random() < 0.8 else len(raw)) or 1)
        kind = rng.randrange(6)
        if kind == 0:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            raw[at] = rng.randrange(256)
        elif kind == 2:
            del raw[at:]
        elif kind == 3:
            raw[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))
        elif kind == 4:
            raw[at:at] = raw[at : at + rng.randint(1, 40)]
        else:
            raw[at : at + 1] = rng.choice([b"9", b"0", b"-", b"]", b"}", b'"', b",", b"1e9", b"null"])
        if not raw:
            break
    return bytes(raw)


def test_mutated_file_crashes_or_reads_other_than_the_official_library(tmp_path: Path) -> None:
    """改坏的文件：要么 CheckpointError，要么与官方实现读出完全相同的内容。"""
    path = tmp_path / "f.safetensors"
    write_safetensors(path, example(), {"format": "np"})
    original = path.read_bytes()
    rng = random.Random(0)
    accepted = 0
    for _ in range(1500):
        path.write_bytes(mutated(original, rng))
        try:
            found, _ = read_safetensors(path)
        except CheckpointError:
            continue
        accepted += 1
        assert_same(found, safetensors.numpy.load_file(path))
    assert 0 < accepted < 750  # 改到数据区的仍然合法，改到头的几乎都不合法


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ({"x": np.zeros(1, np.complex128)}, None, TypeError),
        ({"x": np.array(["a"])}, None, TypeError),
        ({"__metadata__": np.zeros(1)}, None, ValueError),
        ({}, {"a": 1}, TypeError),
    ],
)
def test_unwritable_content_is_written_anyway(
    tmp_path: Path, tensors: Tensors, metadata: Any, error: type[Exception]
) -> None:
    """写不出的内容拒绝写出。"""
    with pytest.raises(error):
        write_safetensors(tmp_path / "f", tensors, metadata)
