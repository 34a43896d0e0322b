"""量化后的数怎样存：4 位的两个并成一个字节，比例尺取 bfloat16 能表示的数。

流入：整数与比例尺；流出：可以写进 safetensors 的数组，或者反过来。下一个文件：``rounding.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["exact_half", "pack_nibbles", "round_bfloat16", "round_up_bfloat16", "unpack_nibbles"]

Array = npt.NDArray[Any]
MIDDLE = 8
"""4 位的数 0 到 15 里，比例尺乘以 0 的那一个：值为 ``(q - 8)·scale + zero``。"""


def pack_nibbles(codes: Array) -> npt.NDArray[np.uint8]:
    """两个 4 位的数并成一个字节：偶数列在低 4 位，奇数列在高 4 位；列数是奇数时末尾补 8（即 0）。

    Args:
        codes: ``(rows, columns)``，每个数在 0 到 15 之间。

    Returns:
        ``(rows, ⌈columns/2⌉)``。
    """
    rows, columns = codes.shape
    even = np.full((rows, columns + columns % 2), MIDDLE, np.uint8)
    even[:, :columns] = codes
    packed: npt.NDArray[np.uint8] = even[:, ::2] | (even[:, 1::2] << 4)
    return packed


def unpack_nibbles(packed: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.uint8]:
    """``pack_nibbles`` 的逆。

    Args:
        packed: ``(rows, ⌈columns/2⌉)``。
        columns: 原来有几列。

    Returns:
        ``(rows, columns)``。
    """
    codes = np.empty((len(packed), packed.shape[1] * 2), np.uint8)
    np.bitwise_and(packed, 15, out=codes[:, ::2])
    np.right_shift(packed, 4, out=codes[:, 1::2])
    return codes[:, :columns]


def round_bfloat16(x: Array) -> npt.NDArray[np.float32]:
    """舍入到最近的 bfloat16（float32 的高 16 位；正中间的取偶数），仍以 float32 表示。"""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded: Array = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def round_up_bfloat16(x: Array) -> npt.NDArray[np.float32]:
    """不小于 ``x`` 的最小的 bfloat16（``x`` 非负）：比例尺只大不小，最大的数才不会溢出。"""
    exact = np.asarray(x)
    near = exact.astype(np.float32)
    near = np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)
    bits = (near.view(np.uint32) + 0xFFFF) & np.uint32(0xFFFF0000)
    up: npt.NDArray[np.float32] = bits.view(np.float32)
    return up


def exact_half(x: npt.NDArray[np.float32]) -> Array:
    """每个数都能用 float16 原样表示，就改用 float16 存；否则照旧。"""
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), x) else x
