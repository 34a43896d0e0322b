"""对称不定阵的 LDLᵀ 分解（Bunch–Kaufman）：``D`` 的对角块是一阶或二阶的。

流入：Tensor，形状 ``(..., n, n)``，只看下三角；流出：LAPACK 的紧凑形式。与 torch 一样不可导。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.linalg.checks import (
    require_float,
    require_matrix,
    require_same,
    require_square,
    undifferentiable,
    wrap,
)
from tinygrad_llm.ops.op import Array
from tinygrad_llm.return_types import named

LDLFactor = named("linalg_ldl_factor", "LD", "pivots")
LDLFactorEx = named("linalg_ldl_factor_ex", "LD", "pivots", "info")
_GROWTH = (1 + math.sqrt(17)) / 8
"""主元比它所在列的最大者小到这个比例以下，才值得换行或改用二阶块。"""


def _choose(a: Array, k: int) -> tuple[int, int]:
    """第 ``k`` 步用哪一行作主元，主元块是几阶。"""
    below = np.abs(a[k + 1 :, k])
    largest, pivot = below.max(initial=0), abs(a[k, k])
    if pivot >= _GROWTH * largest:
        return k, 1
    row = k + 1 + int(below.argmax())
    others = np.abs(a[row, k:])
    others[row - k] = 0
    if pivot * others.max() >= _GROWTH * largest**2:
        return k, 1
    return row, 1 if abs(a[row, row]) >= _GROWTH * others.max() else 2


def _factor(x: Array) -> tuple[Array, Array, int]:
    """一个矩阵的紧凑形式、换行（负数表示二阶块）与第一个为 0 的主元的序号。"""
    a = np.tril(x) + np.tril(x, -1).T
    n, k, info = len(a), 0, 0
    pivots = np.arange(1, n + 1, dtype=np.int32)
    while k < n:
        if not np.abs(a[k:, k]).max() > 0:  # 整列是 0（或 NaN）：跳过
            info, k = info or k + 1, k + 1
            continue
        row, step = _choose(a, k)
        pivots[k : k + step] = row + 1 if step == 1 else -(row + 1)
        swap, swapped = [k + step - 1, row], [row, k + step - 1]
        a[swap, k:] = a[swapped, k:]
        a[k:, swap] = a[k:, swapped]
        stop = k + step
        column = a[stop:, k:stop].copy()
        a[stop:, k:stop] = np.linalg.solve(a[k:stop, k:stop], column.T).T if step == 2 else column / a[k, k]
        a[stop:, stop:] -= a[stop:, k:stop] @ column.T
        k = stop
    return np.tril(a), pivots, info


def ldl_factor_ex(input: Any, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """LDLᵀ 分解的紧凑形式、换行与 ``info``（第几个主元是 0）。

    Raises:
        RuntimeError: 不是浮点方阵；``check_errors`` 为真而有主元是 0。
    """
    name, shape = "linalg.ldl_factor_ex", input.array.shape
    require_square(name, input)
    packed, pivots = np.empty(shape, input.array.dtype), np.empty(shape[:-1], np.int32)
    info = np.zeros(shape[:-2], np.int32)
    with np.errstate(all="ignore"):
        for i in np.ndindex(*shape[:-2]):
            packed[i], pivots[i], info[i] = _factor(input.array[i])
    if check_errors and info.any():
        raise RuntimeError(f"{name}: a pivot is zero (shape {shape})")
    return LDLFactorEx((undifferentiable(name, packed, input), wrap(pivots), wrap(info)))


def ldl_factor(input: Any, *, hermitian: bool = False) -> Any:
    """LDLᵀ 分解的紧凑形式与换行。

    Raises:
        RuntimeError: 不是浮点方阵，或有主元是 0。
    """
    return LDLFactor(ldl_factor_ex(input, hermitian=hermitian, check_errors=True)[:2])


def _steps(pivots: Array) -> list[tuple[int, int, int]]:
    """各步的（起点，终点，换到第几行）。"""
    found, k = [], 0
    while k < len(pivots):
        step = 2 if pivots[k] < 0 else 1
        found.append((k, k + step, abs(int(pivots[k])) - 1))
        k += step
    return found


def _solve(a: Array, pivots: Array, b: Array) -> Array:
    """依次撤销每一步的换行与消去，除以对角块，再倒着走一遍。"""
    x, steps = np.array(b), _steps(pivots)
    for k, stop, row in steps:
        x[[stop - 1, row]] = x[[row, stop - 1]]
        x[stop:] -= a[stop:, k:stop] @ x[k:stop]
        block = np.tril(a[k:stop, k:stop]) + np.tril(a[k:stop, k:stop], -1).T
        x[k:stop] = np.linalg.solve(block, x[k:stop]) if stop - k == 2 else x[k:stop] / block
    for k, stop, row in reversed(steps):
        x[k:stop] -= a[stop:, k:stop].T @ x[stop:]
        x[[stop - 1, row]] = x[[row, stop - 1]]
    return x


def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool = False) -> Any:
    """由 LDLᵀ 分解解 ``A X = B``。

    Raises:
        RuntimeError: 形状或 dtype 不合。
    """
    name = "linalg.ldl_solve"
    require_square(name, LD)
    require_matrix(name, B)
    require_same(name, LD, B)
    require_float(name, B)
    shapes = LD.array.shape, pivots.array.shape, B.array.shape
    if pivots.array.dtype.kind not in "iu" or shapes[0][:-1] != shapes[1] or shapes[0][-1] != shapes[2][-2]:
        raise RuntimeError(f"{name}: shapes {shapes} (pivots of {pivots.dtype}) do not fit together")
    lead = np.broadcast_shapes(shapes[0][:-2], shapes[2][:-2])
    a, p, b = (np.broadcast_to(t.array, (*lead, *t.array.shape[-k:])) for t, k in ((LD, 2), (pivots, 1), (B, 2)))
    x = np.empty(b.shape, b.dtype)
    with np.errstate(all="ignore"):
        for i in np.ndindex(*lead):
            x[i] = _solve(a[i], p[i], b[i])
    return undifferentiable(name, x, LD, B)
