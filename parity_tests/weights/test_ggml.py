"""GGUF 的几种存法：手算的块、舍入误差的界，与 PyPI 上的 ``gguf`` 逐比特比较。"""

from __future__ import annotations

import importlib
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.weights.ggml import BY_NAME, decode, encode, stored_bytes

BLOCKS = ("Q8_0", "Q4_0", "Q4_1")


def half(x: float) -> bytes:
    """一个 float16。"""
    return struct.pack("<e", x)


def test_a_block_written_by_hand_decodes_to_other_numbers() -> None:
    """手写的一块解出的数不对：半字节的次序、零点或最小值错了。"""
    nibbles = bytes(low | (15 - low) << 4 for low in range(16))
    counted = np.concatenate([np.arange(16), 15 - np.arange(16)]).astype(np.float32)
    assert decode(half(0.5) + nibbles, BY_NAME["Q4_0"]).tolist() == (0.5 * (counted - 8)).tolist()
    assert decode(half(0.25) + half(-3) + nibbles, BY_NAME["Q4_1"]).tolist() == (0.25 * counted - 3).tolist()
    signed = np.arange(-16, 16, dtype=np.int8)
    assert decode(half(2) + signed.tobytes(), BY_NAME["Q8_0"]).tolist() == (2.0 * signed).tolist()
    assert decode(b"\x80\x3f\x00\xc0", BY_NAME["BF16"]).tolist() == [1.0, -2.0]


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 1.0, 100.0]), name=st.sampled_from(BLOCKS))
def test_rounding_to_a_block_exceeds_half_a_step(seed: int, scale: float, name: str) -> None:
    """舍入的误差超过半格（外加比例自己舍入到 float16 的误差）。"""
    x = (scale * np.random.default_rng(seed).standard_normal((6, 32))).astype(np.float32)
    back = decode(encode(x, BY_NAME[name]), BY_NAME[name]).reshape(x.shape)
    largest = np.abs(x).max(1, keepdims=True)
    step = {"Q8_0": largest / 127, "Q4_0": largest / 8, "Q4_1": np.ptp(x, axis=1, keepdims=True) / 15}[name]
    if name == "Q4_0":  # 正负不对称：与最大者反号的一侧只到 7 格
        step = 2 * step
    assert (np.abs(back - x) <= step / 2 + 3e-3 * largest + 1e-7).all()


@given(seed=st.integers(0, 10_000))
def test_bfloat16_rounds_unlike_torch(seed: int) -> None:
    """舍入到 bfloat16 与 torch 不同。"""
    bits = np.random.default_rng(seed).integers(0, 1 << 32, 200, dtype=np.uint32)
    x = np.append(bits.view(np.float32), np.array([0.0, -0.0, np.inf, 1.00390625], np.float32))
    ours = decode(encode(x, BY_NAME["BF16"]), BY_NAME["BF16"])
    theirs = torch.from_numpy(x).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(ours, theirs)


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 1.0, 1000.0]))
def test_blocks_differ_from_the_gguf_package(seed: int, scale: float) -> None:
    """与 ``gguf`` 的量化或反量化差一个比特。"""
    pytest.importorskip("gguf", reason="the PyPI package gguf is not installed")
    quants: Any = importlib.import_module("gguf.quants")
    kinds: Any = importlib.import_module("gguf.constants").GGMLQuantizationType
    x = (scale * np.random.default_rng(seed).standard_normal((4, 64))).astype(np.float32)
    x[0, :32] = 0
    for name in (*BLOCKS, "F16", "BF16"):
        expected = quants.quantize(x, kinds[name])
        data = encode(x, BY_NAME[name])
        assert data == expected.tobytes(), name
        found = decode(data, BY_NAME[name]).reshape(x.shape)
        np.testing.assert_array_equal(found, quants.dequantize(expected, kinds[name]), err_msg=name)


def test_part_of_a_block_has_a_size() -> None:
    """最后一维不是整数块，仍然算出了字节数。"""
    assert stored_bytes((3, 64), BY_NAME["Q4_1"]) == 3 * 2 * 20
    assert stored_bytes((64, 3), BY_NAME["Q4_1"]) is None
    assert stored_bytes((), BY_NAME["Q8_0"]) is None
    assert stored_bytes((), BY_NAME["F16"]) == 2
