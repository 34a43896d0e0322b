"""按行分块：让一串逐元素运算都在缓存里完成。

融合算子只留输入与小的统计量（均值、1/σ、log-sum-exp），反向再补算一遍便宜的部分，所以内存与 torch 相当；
每个融合算子旁边的 ``composed`` 由普通算子写成，既是测试的对照，也是 ``create_graph=True`` 时二阶导的来路。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_llm.ops.cores import split
from tinygrad_llm.ops.op import Array

_BLOCK = 1 << 16
"""一块的元素数：几个块同时放进 L2 缓存，又大到函数调用的开销可以忽略。"""


def row_blocks(rows: int, width: int, first: int = 0) -> Iterator[slice]:
    """把第 ``first`` 到 ``rows`` 行切成每块约 ``_BLOCK`` 个元素。"""
    step = max(1, _BLOCK // max(width, 1))
    for start in range(first, rows, step):
        yield slice(start, min(start + step, rows))


def for_rows(shape: tuple[int, ...], one: Callable[[slice], Any]) -> None:
    """对 ``(N, D)`` 的每一块调用 ``one``；大的分给几个核。"""

    def part(start: int, stop: int) -> None:
        for rows in row_blocks(stop, shape[1], start):
            one(rows)

    split(part, shape[0], shape[0] * shape[1])


def sum_rows(shape: tuple[int, ...], one: Callable[[slice, Array], None], total: Array) -> Array:
    """同 ``for_rows``，并把各块的结果加进 ``total``；每个核各加一份，最后按次序相加。"""

    def part(start: int, stop: int) -> Array:
        mine = np.zeros_like(total)
        for rows in row_blocks(stop, shape[1], start):
            one(rows, mine)
        return mine

    for found in split(part, shape[0], shape[0] * shape[1]):
        total += found
    return total


def as_rows(x: Array) -> Array:
    """最后一轴之外的轴并成一根：``(..., D) → (N, D)``；0 维当作 ``(1, 1)``。"""
    if x.ndim == 0:
        return x.reshape(1, 1)
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
