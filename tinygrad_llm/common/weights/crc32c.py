"""CRC-32C（Castagnoli）：TensorFlow 检查点里每个块、每个张量的校验和。

流入：字节；流出：32 位的校验和。CRC 是 GF(2) 上的线性函数，所以长的数据切成等长的许多段，各段用 NumPy 同时推进，
最后把各段的结果「推过」其后的长度再异或起来：推过一个零字节是一个 32×32 的 0-1 矩阵，推过 n 个就是它的 n 次幂。
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinygrad_llm.common.lazy import Array

__all__ = ["crc32c", "masked_crc32c"]

_POLYNOMIAL = 0x82F63B78  # 位序反写的 0x1EDC6F41
_LANES = 1 << 12
_BLOCK = 1 << 23  # 一块里各段同时推进；块与块之间依次接着算，内存不随数据变大


def _table() -> Array:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1).astype(np.uint32)
    return values


def _two_bytes(one: Array) -> Array:
    """推进两个字节的表：低 16 位的全部取值。"""
    low = np.arange(1 << 16, dtype=np.uint32)
    after = one[low & 0xFF] ^ (low >> 8)
    found: Array = one[after & 0xFF] ^ (after >> 8)
    return found


_TABLE = _table()
_TABLE_2 = _two_bytes(_TABLE)
_STEPS = [int(value) for value in _TABLE]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """一段字节的 CRC-32C。"""
    state, at, view = 0xFFFFFFFF, 0, memoryview(data)
    while len(data) - at >= 2 * _LANES:
        width = min(len(data) - at, _BLOCK) // (2 * _LANES)
        state = _long(np.frombuffer(view, "<u2", width * _LANES, at).reshape(_LANES, width), state)
        at += 2 * width * _LANES
    for byte in view[at:].tobytes():
        state = _STEPS[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | bytearray | memoryview) -> int:
    """TensorFlow 存下的样子：循环右移 15 位再加一个常数，免得对含有校验和的数据再求校验和时出巧合。"""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _long(rows: Array, before: int) -> int:
    """各行（一格两个字节）同时推进，再从左到右接起来；``before`` 是此前的状态。"""
    state = np.zeros(len(rows), np.uint32)
    state[0] = before
    for column in np.ascontiguousarray(rows.T):
        state = _TABLE_2[(state ^ column) & 0xFFFF] ^ (state >> 16)
    over_one = _zeros(2 * rows.shape[1])
    total = 0
    for one in state.tolist():
        total = _applied(over_one, total) ^ one
    return total


@lru_cache(maxsize=64)
def _zeros(count: int) -> tuple[int, ...]:
    """推过 ``count`` 个零字节的矩阵，第 i 列是第 i 位推过之后的样子；反复平方。"""
    power = tuple(_STEPS[(1 << bit) & 0xFF] ^ (1 << bit) >> 8 for bit in range(32))
    found: tuple[int, ...] = tuple(1 << bit for bit in range(32))
    while count:
        if count & 1:
            found = tuple(_applied(power, column) for column in found)
        power = tuple(_applied(power, column) for column in power)
        count >>= 1
    return found


def _applied(matrix: tuple[int, ...], vector: int) -> int:
    found = 0
    for column in matrix:
        if vector & 1:
            found ^= column
        vector >>= 1
    return found
