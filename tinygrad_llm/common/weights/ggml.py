"""GGUF 里张量的几种存法：浮点，与 32 个数共用一个比例的块。

流入：字节；流出：``float32`` 数组，或反过来。每一块的布局（``d``、``m`` 是 float16）：

=======  ==========================================================  =====================
类型     一块的字节                                                  数
=======  ==========================================================  =====================
Q8_0     ``d``，32 个 int8                                           ``d · q``
Q4_0     ``d``，16 个字节；低四位是前 16 个数，高四位是后 16 个      ``d · (q - 8)``
Q4_1     ``d``、``m``，16 个字节，次序同上                           ``d · q + m``
=======  ==========================================================  =====================

误差：舍入到最近的一格，不超过半格；格宽是块里最大绝对值的 1/127（Q8_0）、1/8（Q4_0），或极差的 1/15（Q4_1），外加
``d``、``m`` 自己舍入到 float16 的误差。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.common.lazy import Array

__all__ = ["BLOCK", "BY_NAME", "BY_NUMBER", "GGMLType", "decode", "encode", "encoded", "stored_bytes"]

BLOCK = 32
CHUNK = 1 << 20
_HALF = BLOCK // 2


@dataclass(frozen=True)
class GGMLType:
    """一种存法。

    Attributes:
        name: 名字。
        number: 文件里的类型号。
        layout: 一个单位的字节布局。
        values: 一个单位有几个数。
        decode: ``(n,)`` 个单位 → ``(n, values)`` 的 float32。
        encode: 反过来；``(n, values)`` 的 float32 → 单位。
    """

    name: str
    number: int
    layout: np.dtype[Any]
    values: int
    decode: Callable[[Array], Array]
    encode: Callable[[Array], Array]


def stored_bytes(shape: tuple[int, ...], kind: GGMLType) -> int | None:
    """这个形状占多少字节；最后一维不是整数块时为 ``None``。"""
    if kind.values > 1 and (not shape or shape[-1] % kind.values):
        return None
    return math.prod(shape) // kind.values * kind.layout.itemsize


def decode(data: bytes | bytearray | memoryview, kind: GGMLType) -> Array:
    """字节 → 一维的 float32。"""
    with np.errstate(invalid="ignore", over="ignore"):  # 坏了的比例给出 NaN 或无穷，由读权重的一方拒绝
        return kind.decode(np.frombuffer(data, kind.layout)).reshape(-1)


def encode(values: Array, kind: GGMLType) -> bytes:
    """数组 → 字节；元素个数须是整数块。"""
    return encoded(values, kind).tobytes()


def encoded(values: Array, kind: GGMLType) -> Array:
    """同 ``encode``，交出一维的单位；一段一段地算，中间结果不随数组变大。"""
    rows = np.ascontiguousarray(values, np.float32).reshape(-1, kind.values)
    found = np.empty(len(rows), kind.layout)
    step = CHUNK // kind.values
    for start in range(0, len(rows), step):
        found[start : start + step] = kind.encode(rows[start : start + step])
    return found


# ---- 浮点 ----


def _narrowed(values: Array) -> Array:
    with np.errstate(over="ignore"):  # 装不下的变成无穷，由写文件的一方拒绝
        found: Array = values[:, 0].astype("<f2")
    return found


def _widened(units: Array) -> Array:
    return units.astype(np.float32)[:, None]


def _from_bfloat16(units: Array) -> Array:
    return (units.astype(np.uint32) << 16).view(np.float32)[:, None]


def to_bfloat16(values: Array) -> Array:
    """float32 → bfloat16 的比特 ``uint16``：舍入到最近，平局取偶；NaN 仍是 NaN。"""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    found: Array = np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")
    return found


# ---- 块 ----

_Q8_0 = np.dtype([("d", "<f2"), ("q", "i1", (BLOCK,))])
_Q4_0 = np.dtype([("d", "<f2"), ("q", "u1", (_HALF,))])
_Q4_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", (_HALF,))])


def _decode_q8_0(units: Array) -> Array:
    found: Array = units["q"].astype(np.float32)
    found *= units["d"].astype(np.float32)[:, None]
    return found


def _encode_q8_0(values: Array) -> Array:
    scale = np.abs(values).max(axis=1, initial=0.0) / np.float32(127)
    units = np.zeros(len(values), _Q8_0)
    units["d"] = scale
    units["q"] = _half_away(values * _inverse(scale))
    return units


def _nibbles(packed: Array) -> Array:
    """``(n, 16)`` 个字节 → ``(n, 32)`` 个数：先低四位，再高四位。"""
    found = np.empty((len(packed), BLOCK), np.float32)
    found[:, :_HALF] = packed & 15
    found[:, _HALF:] = packed >> 4
    return found


def _packed(levels: Array) -> Array:
    whole = np.clip(levels, 0, 15).astype(np.uint8)
    packed: Array = whole[:, :_HALF] | (whole[:, _HALF:] << 4)
    return packed


def _decode_q4_0(units: Array) -> Array:
    found = _nibbles(units["q"])
    found -= np.float32(8)
    found *= units["d"].astype(np.float32)[:, None]
    return found


def _encode_q4_0(values: Array) -> Array:
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], axis=1)[:, 0]
    scale = extreme / np.float32(-8)  # 绝对值最大的数恰好落在 -8 这一格上
    units = np.zeros(len(values), _Q4_0)
    units["d"] = scale
    exact = values.astype(np.float64) * _inverse(scale).astype(np.float64) + 8.5
    units["q"] = _packed(np.trunc(exact.astype(np.float32)))
    return units


def _decode_q4_1(units: Array) -> Array:
    found = _nibbles(units["q"])
    found *= units["d"].astype(np.float32)[:, None]
    found += units["m"].astype(np.float32)[:, None]
    return found


def _encode_q4_1(values: Array) -> Array:
    low = values.min(axis=1)
    scale = (values.max(axis=1) - low) / np.float32(15)
    units = np.zeros(len(values), _Q4_1)
    units["d"], units["m"] = scale, low
    units["q"] = _packed(np.trunc((values - low[:, None]) * _inverse(scale) + np.float32(0.5)))
    return units


def _inverse(scale: Array) -> Array:
    """``1 / scale``，竖成一列；为 0 的仍是 0。"""
    found: Array = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)[:, None]
    return found


def _half_away(values: Array) -> Array:
    """舍入到最近的整数，平局远离 0。"""
    found: Array = np.trunc(values + np.copysign(np.float32(0.5), values))
    return found


_TYPES = (
    GGMLType("F32", 0, np.dtype("<f4"), 1, _widened, lambda x: x[:, 0].astype("<f4")),
    GGMLType("F16", 1, np.dtype("<f2"), 1, _widened, _narrowed),
    GGMLType("Q4_0", 2, _Q4_0, BLOCK, _decode_q4_0, _encode_q4_0),
    GGMLType("Q4_1", 3, _Q4_1, BLOCK, _decode_q4_1, _encode_q4_1),
    GGMLType("Q8_0", 8, _Q8_0, BLOCK, _decode_q8_0, _encode_q8_0),
    GGMLType("BF16", 30, np.dtype("<u2"), 1, _from_bfloat16, lambda x: to_bfloat16(x)[:, 0]),
)
BY_NUMBER = {kind.number: kind for kind in _TYPES}
BY_NAME = {kind.name: kind for kind in _TYPES}
