"""记录里的数组：小的原样留一份拷贝，大的只留一份概要。

流入：引擎里的数组；流出：拷贝或 ``Summary``，以及它们的 JSON 写法。下一站：``trace.py``。

记录要便宜：不大的数组，拷贝比概要快得多，于是先拷贝，有人看概要时才算；很大的数组当场算，内存从头到尾只过一遍——
分成能留在缓存里的行块，极值、和、平方和在同一块上一起算。
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import is_bfloat16, widened
from tinygrad_llm.ops.op import Array

GRID = 32
"""概要的格子至多几行几列。"""

_PUT_OFF = 1 << 16
"""至多几个元素就先留拷贝、用到才算概要。"""

_BLOCK = 1 << 18
"""一块至多几个元素：留在二级缓存里，过几遍都快。"""


class Summary:
    """一个大数组的概要；复数按绝对值算。

    Args:
        array: 数组，此后可以被就地改写；不能是空的。
        may_wait: 不大的可以先留一份拷贝，有人看时才算。

    Attributes:
        shape: 形状。
        dtype: 元素类型的名字。
    """

    def __init__(self, array: Array, may_wait: bool = True) -> None:
        self.shape, self.dtype = array.shape, dtype_name(array)
        self._kept: Array | None = array.copy("K") if may_wait and array.size <= _PUT_OFF else None
        if self._kept is None:
            self._stats = _measured(array)

    @cached_property
    def _stats(self) -> tuple[float, float, float, float, Array]:
        kept, self._kept = self._kept, None
        return _measured(np.zeros(1) if kept is None else kept)

    @property
    def waiting_bytes(self) -> int:
        """还没有算、先留着的拷贝占几个字节。"""
        return 0 if self._kept is None else self._kept.nbytes

    @property
    def min(self) -> float:
        """最小值；有 NaN 则为 NaN。"""
        return self._stats[0]

    @property
    def max(self) -> float:
        """最大值；有 NaN 则为 NaN。"""
        return self._stats[1]

    @property
    def mean(self) -> float:
        """平均值。"""
        return self._stats[2]

    @property
    def norm(self) -> float:
        """平方和的平方根。"""
        return self._stats[3]

    @property
    def grid(self) -> Array:
        """看作二维（最后一轴是列，其余各轴摊成行）后各块的平均值，至多 32 × 32。"""
        return self._stats[4]

    @property
    def size(self) -> int:
        """元素总数。"""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """轴数。"""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<Summary {self.dtype}{list(self.shape)} in [{self.min:.4g}, {self.max:.4g}], mean {self.mean:.4g}>"


Snapshot = Array | Summary
"""记录里的一个数组：拷贝，或大数组的概要。"""


def snapshot(array: Array, limit: int) -> Snapshot:
    """此刻的内容。

    Args:
        array: 引擎里的数组；此后可以被就地改写。
        limit: 至多几个元素就留拷贝。
    """
    return array.copy("K") if array.size <= limit else Summary(array)


def _measured(array: Array) -> tuple[float, float, float, float, Array]:
    """最小值、最大值、平均值、平方和的平方根、各块的平均值。"""
    values = widened(array)
    if values.dtype.kind == "c":
        values = np.abs(values)
    elif values.dtype.kind != "f":
        values = values.astype(np.float64)
    rows = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)
    height, width = rows.shape
    tall, wide = -(-height // GRID), -(-width // GRID)
    sums = np.empty((-(-height // tall), width))
    low, high, squares = math.inf, -math.inf, 0.0
    step = max(1, _BLOCK // (tall * width)) * tall
    with np.errstate(all="ignore"):
        for top in range(0, height, step):
            block = rows[top : top + step]
            flat = block.reshape(-1)
            low, high = np.minimum(low, np.minimum.reduce(flat)), np.maximum(high, np.maximum.reduce(flat))
            squares += float(flat.dot(flat))
            whole, first = len(block) // tall, top // tall
            np.add.reduce(block[: whole * tall].reshape(whole, tall, width), axis=1, out=sums[first : first + whole])
            if whole * tall < len(block):
                np.add.reduce(block[whole * tall :], axis=0, out=sums[first + whole])
        tops, lefts = [*range(0, height, tall), height], [*range(0, width, wide), width]
        cells = np.add.reduceat(sums, lefts[:-1], axis=1)
        mean, norm = float(cells.sum() / values.size), math.sqrt(squares) if squares == squares else math.nan
        return float(low), float(high), mean, norm, cells / np.outer(np.diff(tops), np.diff(lefts))


_NAMES: dict[Any, str] = {}


def dtype_name(array: Array) -> str:
    """元素类型的名字，与 torch 相同（不带 ``torch.``）。"""
    dtype = array.dtype
    if is_bfloat16(dtype):
        return "bfloat16"
    if dtype not in _NAMES:
        _NAMES[dtype] = str(dtype)
    return _NAMES[dtype]


def norm_of(value: Snapshot) -> float:
    """平方和的平方根；溢出就是无穷，不作声。"""
    if isinstance(value, Summary):
        return value.norm
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(np.asarray(value).reshape(-1)))


# ---- JSON


def array_json(value: Snapshot | None, limit: int | None = None) -> dict[str, Any] | None:
    """一个数组的 JSON 写法，见 ``SCHEMA.md``。

    Args:
        value: 拷贝、概要或 ``None``。
        limit: 元素更多的拷贝也换成概要；``None`` 则有拷贝就照写。
    """
    if value is None:
        return None
    if not isinstance(value, Summary) and limit is not None and value.size > limit:
        value = Summary(value)
    if isinstance(value, Summary):
        stats = {name: number_json(getattr(value, name)) for name in ("min", "max", "mean", "norm")}
        grid = [[number_json(float(f"{x:.4g}")) for x in row] for row in value.grid.tolist()]
        return {"shape": list(value.shape), "flat": None, "summary": {**stats, "grid": grid}}
    return {"shape": list(value.shape), "flat": flat_json(value)}


def flat_json(array: Array) -> list[Any]:
    """按 C 的次序排开的数；浮点数是在它自己的类型里能还原的最短写法。"""
    values = widened(array).reshape(-1)
    if values.dtype.kind == "c":
        parts = values.view(values.real.dtype)
        numbers = flat_json(parts)
        return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    if values.dtype == np.float32:
        return [number_json(float(text)) for text in values.astype(str).tolist()]
    return [number_json(x) for x in values.tolist()]


def number_json(x: Any) -> Any:
    """一个数；严格的 JSON 没有 NaN 与无穷，写成字符串。"""
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if x != x else "Infinity" if x > 0 else "-Infinity"
    return x
