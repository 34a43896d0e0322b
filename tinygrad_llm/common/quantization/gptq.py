"""GPTQ：逐列舍入，把每一列的误差摊给还没有舍入的列（Frantar 等，2022）。

流入：``(out, in)`` 的权重与校准输入的 Gram 矩阵；流出：``Packed``。下一个文件：``awq.py``，另一种用校准数据的办法。

推导：一行权重 w 换成 ŵ，输出的误差平方和是 ``(w - ŵ) H (w - ŵ)ᵀ``，``H = Σ x xᵀ``。第 j 列舍入出了误差 e 之后，
其余的列还可以动，使上式最小：令 ``δ = w - ŵ``，在 ``δ_j = e`` 的约束下求极小，得 ``δ = e · (H⁻¹)_{:,j} / (H⁻¹)_{jj}``。
舍入过的列从 H 里划去，剩下的 H⁻¹ 是一次高斯消元；把整串消元一次做完，正是 H⁻¹ 的 Cholesky 分解 ``H⁻¹ = UᵀU``
（U 上三角）：第 j 步要的那一行 ``(H⁻¹)_{j,j:} / √(H⁻¹)_{jj}`` 就是 U 的第 j 行。
于是第 j 列之后：``w_{:,j:} -= (e_j / U_jj) U_{j,j:}``。
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .rounding import Grid, Packed, best_grid, expand, grid_values, pack, round_to_grid
from .scheme import Scheme

__all__ = ["gptq", "output_error"]

Array = npt.NDArray[Any]
BLOCK = 128
"""一次处理几列：块内逐列更新，块外攒成一次矩阵乘法。"""


def gptq(w: Array, gram: Array, scheme: Scheme, damping: float = 0.01) -> Packed:
    """按校准输入舍入一个矩阵。

    网格先由原来的权重定好；列的次序从 H 的对角线最大的开始：最要紧的列先舍入，误差由不要紧的列去补。

    Args:
        w: ``(out, in)``。
        gram: ``(in, in)`` 的 ``Σ x xᵀ``，对所有校准 token 求和。
        scheme: 存法。
        damping: 加在 H 对角线上的数与对角线平均值之比：校准输入不满秩时也能求逆。

    Returns:
        量化了的矩阵。
    """
    exact, h = np.asarray(w, np.float32), np.asarray(gram, np.float64)
    diagonal = np.diag(h).copy()
    grid = best_grid(exact, scheme, diagonal / max(diagonal.mean(), np.finfo(np.float64).tiny))
    order = np.argsort(-diagonal, kind="stable")
    u = _factor(h[np.ix_(order, order)], damping)
    wide = expand(grid, scheme, exact.shape[1])
    ordered = wide if scheme.format == "int8" else _columns(wide, order)
    codes = _feed_back(exact[:, order], u, ordered)
    q = np.empty_like(codes)
    q[:, order] = codes
    return pack(q, grid, scheme)


def _factor(h: Array, damping: float) -> npt.NDArray[np.float32]:
    """H⁻¹ 的上三角 Cholesky 因子；H 全为 0 时是单位阵，即就近舍入。"""
    mean = float(np.diag(h).mean())
    if mean <= 0:
        return np.eye(len(h), dtype=np.float32)
    inverse = np.linalg.inv(h + np.eye(len(h)) * damping * mean)
    return np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float32)


def _feed_back(w: Array, u: Array, grid: Grid) -> npt.NDArray[np.int8]:
    """逐列舍入，误差记到后面的列上。"""
    w, count = w.copy(), w.shape[1]
    codes = np.empty(w.shape, np.int8)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        errors = np.empty((len(w), stop - start), np.float32)
        for j in range(start, stop):
            column = grid if grid.scale.shape[1] == 1 else grid.column(j)
            q = round_to_grid(w[:, j : j + 1], column)
            codes[:, j : j + 1] = q
            error = (w[:, j] - grid_values(q, column)[:, 0]) / u[j, j]
            w[:, j:stop] -= np.outer(error, u[j, j:stop])
            errors[:, j - start] = error
        w[:, stop:] -= errors @ u[start:stop, stop:]
    return codes


def _columns(grid: Grid, order: Array) -> Grid:
    zero = None if grid.zero is None else grid.zero[:, order]
    return replace(grid, scale=grid.scale[:, order], zero=zero)


def output_error(w: Array, restored: Array, gram: Array) -> float:
    """输出的相对误差 ``‖(W - Ŵ)X‖ / ‖WX‖``，由 Gram 矩阵算出；输出全为 0 时为 0。"""
    delta = np.asarray(w, np.float64) - restored
    wrong, whole = (float(np.einsum("ij,ij->", a @ gram, a)) for a in (delta, np.asarray(w, np.float64)))
    return float(np.sqrt(max(wrong, 0.0) / whole)) if whole > 0 else 0.0
