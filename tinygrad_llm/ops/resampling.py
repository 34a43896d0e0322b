"""沿一根轴的稀疏线性变换，以及补边。

流入：数组与一个小的稀疏矩阵；流出：同轴数的数组。插值、平均池化、镜像补边都是它：每个输出点是几个输入点的加权和，
反向就是同一个矩阵的转置。下一站：``convolution.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.ops.op import Array, op


class Sparse(NamedTuple):
    """一个稀疏矩阵：第 ``rows[i]`` 行、第 ``columns[i]`` 列是 ``weights[i]``，其余为 0。

    Attributes:
        rows: 输出的位置。
        columns: 输入的位置。
        weights: 权重。
        shape: 输出与输入的长度。
    """

    rows: Array
    columns: Array
    weights: Array
    shape: tuple[int, int]

    @property
    def T(self) -> Sparse:
        """转置。"""
        return Sparse(self.columns, self.rows, self.weights, self.shape[::-1])

    def layers(self) -> Iterator[tuple[Any, Any, Array]]:
        """拆成几层，每层里一行至多一个元素，于是可以一次向量化地相加。"""
        order = np.argsort(self.rows, kind="stable")
        rows, columns, weights = self.rows[order], self.columns[order], self.weights[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        for level in range(int(rank.max(initial=-1)) + 1):
            found = rank == level
            yield _progression(rows[found]), _progression(columns[found]), weights[found]


def _progression(places: Array) -> Any:
    """递增的等差数列写成切片：比下标数组快得多。"""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    if step > 0 and (np.diff(places) == step).all():
        return slice(int(places[0]), int(places[-1]) + 1, step)
    return places


@op("y = A x（沿 dim）", x=lambda g, matrix, dim: resample(g, matrix=matrix.T, dim=dim))
def resample(x: Array, *, matrix: Sparse, dim: int) -> Any:
    """沿 ``dim`` 左乘一个稀疏矩阵；没有用到的元素即使是 NaN 也不影响结果。"""
    y = np.zeros((*x.shape[:dim], matrix.shape[0], *x.shape[dim + 1 :]), x.dtype)
    lead, rest = (slice(None),) * dim, (1,) * (x.ndim - dim - 1)
    for rows, columns, weights in matrix.layers():
        part = x[(*lead, columns)]
        if (weights != 1).any():
            part = part * weights.astype(x.dtype).reshape(-1, *rest)
        y[(*lead, rows)] += part
    return y


Pads = tuple[tuple[int, int], ...]


@op("y = x（补常数）", x=lambda g, pads: pad_constant(g, pads=tuple((-a, -b) for a, b in pads), value=0.0))
def pad_constant(x: Array, *, pads: Pads, value: float) -> Any:
    """各轴两端补上若干个 ``value``；负数表示裁去。"""
    shape = [n + a + b for n, (a, b) in zip(x.shape, pads, strict=True)]
    y = np.full(shape, value, x.dtype)
    source = tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape, pads, strict=True))
    target = tuple(slice(max(0, a), n - max(0, b)) for n, (a, b) in zip(shape, pads, strict=True))
    y[target] = x[source]
    return y
