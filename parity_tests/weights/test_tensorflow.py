"""OpenAI 的 TensorFlow 检查点：照格式写出的读得回来，坏了的都报一个错。"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.weights.tf_files import crc32c_bit_by_bit, snappy, write_bundle, write_gpt2
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.weights.crc32c import crc32c
from tinygrad_llm.common.weights.snappy import SnappyError, decompress
from tinygrad_llm.common.weights.tf_bundle import read_bundle
from tinygrad_llm.common.weights.tf_gpt2 import read_tf_gpt2

CONFIG = GPTConfig(vocab_size=19, context=6, n_layer=3, n_head=2, n_embd=8)


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "snappy"])
def test_an_openai_folder_gives_other_weights(tmp_path: Path, is_packed: bool) -> None:
    """权重、形状或配置读错：名字的对应、转置、块的压缩、共有的键的开头。"""
    weights = initial_weights(CONFIG, 3, "float32")
    write_gpt2(tmp_path, weights, is_packed=is_packed)
    found = read_tf_gpt2(tmp_path)
    assert found.config == CONFIG
    assert found.tensors.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(found.tensors[name].read(), value, err_msg=name)


@given(data=st.binary(max_size=300), count=st.sampled_from([0, 1, 300]))
def test_snappy_does_not_come_back(data: bytes, count: int) -> None:
    """压缩过的解不回来。"""
    text = data + b"abcdefg" * count + data
    assert decompress(snappy(text), 1 << 20) == text


@given(data=st.binary(max_size=80))
def test_snappy_on_nonsense_is_another_error(data: bytes) -> None:
    """任意字节要么解出声明的长度，要么是 ``SnappyError``；不会多占内存。"""
    try:
        found = decompress(data, 1 << 16)
    except SnappyError:
        return
    assert len(found) <= 1 << 16


@pytest.mark.parametrize("size", [0, 1, 9, 8191, 8192, 8193, 40_001])
def test_the_checksum_differs_from_its_definition(size: int) -> None:
    """校验和与按定义一位一位算的不同；``123456789`` 的值是公布的。"""
    assert crc32c(b"123456789") == 0xE3069283
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    assert crc32c(data) == crc32c_bit_by_bit(data)


def test_a_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    """数据或索引里翻转一个比特，读出了别的数，或抛出别的错。"""
    write_bundle(tmp_path / "m", {"a/w": np.arange(12.0).reshape(3, 4), "b": np.ones(2, np.float32)}, is_packed=False)
    good = {name: one.read() for name, one in read_bundle(tmp_path / "m").items()}
    for file in ("m.index", "m.data-00000-of-00001"):
        path = tmp_path / file
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), 7):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                found = {name: one.read() for name, one in read_bundle(tmp_path / "m").items()}
            except CheckpointError:
                continue
            assert all(np.array_equal(found[name], value) for name, value in good.items()), (file, bit)
        path.write_bytes(whole)


def test_a_pointer_leads_out_of_the_folder(tmp_path: Path) -> None:
    """``checkpoint`` 文件里的路径走到了别处。"""
    write_gpt2(tmp_path / "m", initial_weights(CONFIG, 3, "float32"))
    (tmp_path / "m" / "checkpoint").write_text(f'model_checkpoint_path: "{os.sep}etc{os.sep}passwd"\n')
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        read_tf_gpt2(tmp_path / "m")
