"""bfloat16：NumPy 没有的 16 位浮点，用 float32 数组模拟。

流入：float32 数组；流出：舍入到 bfloat16 能表示的数、带着标记 dtype ``BFLOAT16`` 的 float32 数组。

bfloat16 就是 float32 的前 16 位。标记写在 NumPy dtype 的 metadata 里：切片、换形状、转置都自动带着它。
半精度的算子一律在 float32 里算完、末尾舍入一次，与 torch 的做法一致；见 ``autograd/precision.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array

FLOAT32 = np.dtype(np.float32)
FLOAT16 = np.dtype(np.float16)
BFLOAT16 = np.dtype(np.float32, metadata={"name": "bfloat16"})


class Extras:
    """有几处正用着平时不用的功能（追踪、半精度等）：为 0 时引擎一概不查。

    Attributes:
        users: 几处。
        low_precision: 本进程里出现过 16 位浮点。
        complex: 本进程里出现过复数：算子的近路只认实数，此后都走一般路线（见 ``graph.py``）。
        meta: 本进程里出现过没有数据的张量（见 ``meta.py``）。
    """

    __slots__ = ("complex", "low_precision", "meta", "users")

    def __init__(self) -> None:
        self.users, self.low_precision, self.complex, self.meta = 0, False, False, False

    def expect_low_precision(self) -> None:
        """出现了 16 位浮点：此后每个算子都要看一眼。"""
        if not self.low_precision:
            self.low_precision = True
            self.users += 1

    def expect_complex(self) -> None:
        """出现了复数：此后每个算子都要看一眼。"""
        if not self.complex:
            self.complex = True
            self.users += 1

    def forget(self) -> None:
        """已没有复数与 16 位浮点的张量，例如在两条测试之间：又走近路。"""
        self.users -= self.complex + self.low_precision
        self.complex = self.low_precision = False


extras = Extras()


def is_bfloat16(dtype: Any) -> bool:
    """是不是带着 bfloat16 标记的 dtype。"""
    metadata = getattr(dtype, "metadata", None)  # 也可能是 np.float32 这样的类型
    return metadata is not None and metadata.get("name") == "bfloat16"


def is_low(dtype: Any) -> bool:
    """是不是 16 位浮点。"""
    return bool(dtype == FLOAT16) or is_bfloat16(dtype)


def same_dtype(a: Any, b: Any) -> bool:
    """两个 NumPy dtype 是否相同；``==`` 看不见 bfloat16 的标记。"""
    return a is b or bool(a == b and is_bfloat16(a) == is_bfloat16(b))


def rounded(x: Array) -> Array:
    """舍入到最近的 bfloat16，恰在中间时取偶；NaN 仍是 NaN。

    加上 ``0x7FFF`` 再加末位，等于「四舍六入五成双」；随后抹掉低 16 位。
    """
    bits = np.array(x, dtype=FLOAT32, order="K").view(np.uint32)
    keep = np.isnan(x)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    with np.errstate(over="ignore"):
        bits += np.uint32(0x7FFF)
        bits += even
    bits &= np.uint32(0xFFFF0000)
    y: Array = bits.view(FLOAT32)
    if np.any(keep):
        y[keep] = np.nan
    return y.view(BFLOAT16)


def widened(x: Any) -> Any:
    """16 位浮点数组换成 float32 来算；别的原样返回。"""
    if not isinstance(x, np.ndarray):
        return x
    if x.dtype == FLOAT16:
        return x.astype(FLOAT32)
    return x.view(FLOAT32) if is_bfloat16(x.dtype) else x


def narrowed(x: Any, dtype: Any) -> Array:
    """换成 ``dtype``；复数变实数只留实部，到 bfloat16 要舍入，其余交给 NumPy。"""
    x = np.asarray(x)
    if x.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        x = x.real
    if is_bfloat16(dtype):
        return x if is_bfloat16(x.dtype) else rounded(x)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(widened(x), dtype=dtype)
