"""记录里的数组：小的原样留一份拷贝，大的只留一份概要。

流入：引擎里的数组；流出：拷贝或 ``Summary``，以及它们的 JSON 写法。下一站：``trace.py``。

概要要比产生这个数组的算子便宜得多：只把内存从头到尾过一遍，分成能留在缓存里的行块，极值、和、平方和在同一块上一起算。
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import is_bfloat16, widened
from tinygrad_llm.ops.op import Array

GRID = 32
"""概要的格子至多几行几列。"""


@dataclass(frozen=True)
class Summary:
    """一个大数组的概要；复数按绝对值算。

    Attributes:
        shape: 形状。
        dtype: 元素类型的名字。
        min: 最小值；有 NaN 则为 NaN。
        max: 最大值；有 NaN 则为 NaN。
        mean: 平均值。
        norm: 平方和的平方根。
        grid: 看作二维（最后一轴是列，其余各轴摊成行）后各块的平均值，至多 32 × 32。
    """

    shape: tuple[int, ...]
    dtype: str
    min: float
    max: float
    mean: float
    norm: float
    grid: Array

    @property
    def size(self) -> int:
        """元素总数。"""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """轴数。"""
        return len(self.shape)


Snapshot = Array | Summary
"""记录里的一个数组：拷贝，或大数组的概要。"""


def snapshot(array: Array, limit: int) -> Snapshot:
    """此刻的内容。

    Args:
        array: 引擎里的数组；此后可以被就地改写。
        limit: 至多几个元素就留拷贝。
    """
    return array.copy() if array.size <= limit else summary(array)


def summary(array: Array) -> Summary:
    """一个数组的概要；``array`` 不能是空的。"""
    values = widened(array)
    if values.dtype.kind == "c":
        values = np.abs(values)
    elif values.dtype.kind != "f":
        values = values.astype(np.float64)
    rows = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)
    tops, lefts = _starts(rows.shape[0]), _starts(rows.shape[1])
    sums = np.empty((len(tops), len(lefts)))
    low, high, squares = math.inf, -math.inf, 0.0
    with np.errstate(all="ignore"):
        for i, (top, bottom) in enumerate(zip(tops, [*tops[1:], rows.shape[0]], strict=True)):
            block = rows[top:bottom]
            flat = block.reshape(-1)
            low, high = np.minimum(low, flat.min()), np.maximum(high, flat.max())
            squares += float(flat.dot(flat))
            sums[i] = np.add.reduceat(block.sum(axis=0), lefts)
        counts = np.outer(np.diff([*tops, rows.shape[0]]), np.diff([*lefts, rows.shape[1]]))
        mean, norm = float(sums.sum() / values.size), math.sqrt(squares) if squares == squares else math.nan
        return Summary(array.shape, dtype_name(array), float(low), float(high), mean, norm, sums / counts)


def _starts(n: int) -> list[int]:
    """把 ``n`` 行（列）分成至多 32 段，各段的起点。"""
    parts = min(n, GRID)
    return [n * i // parts for i in range(parts)]


def dtype_name(array: Array) -> str:
    """元素类型的名字，与 torch 相同（不带 ``torch.``）。"""
    return "bfloat16" if is_bfloat16(array.dtype) else str(array.dtype)


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
        value = summary(value)
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
