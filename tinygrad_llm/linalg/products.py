"""由矩阵乘法拼成的函数：一串矩阵之积、点积、叉积与 Vandermonde 矩阵。

流入与流出：Tensor。下一站：``contraction.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.linalg.checks import require_float, require_same, wrap
from tinygrad_llm.ops.shape import cat


def _best_splits(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """动态规划：第 ``i`` 到第 ``j`` 个矩阵之积，在哪里断开乘法次数最少。"""
    n = len(sizes) - 1
    cost, split = {(i, i): 0 for i in range(n)}, {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            prices = [cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            cost[i, j] = min(prices)
            split[i, j] = i + prices.index(cost[i, j])
    return split


def multi_dot(tensors: Sequence[Any]) -> Any:
    """一串矩阵之积，自动选乘法次数最少的次序；首尾可以是向量。

    Raises:
        RuntimeError: 不到两个，形状或 dtype 不合。
    """
    name, parts = "linalg.multi_dot", list(tensors)
    if len(parts) < 2:
        raise RuntimeError(f"{name}: expected at least 2 tensors, got {len(parts)}")
    require_same(name, *parts)
    shapes = [t.array.shape for t in parts]
    ends = (0, len(parts) - 1)
    if any(len(s) != 2 and not (len(s) == 1 and i in ends) for i, s in enumerate(shapes)):
        raise RuntimeError(f"{name}: expected matrices (or vectors at the two ends), got shapes {shapes}")
    row, column = len(shapes[0]) == 1, len(shapes[-1]) == 1
    parts[0] = parts[0].unsqueeze(0) if row else parts[0]
    parts[-1] = parts[-1].unsqueeze(1) if column else parts[-1]
    sizes = [parts[0].array.shape[0], *(t.array.shape[1] for t in parts)]
    if any(t.array.shape[0] != n for t, n in zip(parts, sizes, strict=False)):
        raise RuntimeError(f"{name}: shapes {shapes} cannot be multiplied")
    splits = _best_splits(sizes)

    def product(i: int, j: int) -> Any:
        return parts[i] if i == j else product(i, splits[i, j]) @ product(splits[i, j] + 1, j)

    y = product(*ends)
    y = y.squeeze(-1) if column else y
    return y.squeeze(0) if row else y


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """沿 ``dim`` 的内积（``x`` 先取共轭），其余轴广播。

    Raises:
        RuntimeError: dtype 不是浮点、复数，或不同。
    """
    require_float("linalg.vecdot", x, y, half=True, complex=True)
    require_same("linalg.vecdot", x, y)
    return (x.conj() * y).sum(dim)


def _rolled(x: Any, dim: int) -> Any:
    """沿长度为 3 的轴把第一项移到最后。"""
    return cat(x.narrow(dim, 1, 2), x.narrow(dim, 0, 1), dim=dim)


def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """沿 ``dim`` 的叉积，其余轴广播。

    Raises:
        RuntimeError: 轴数不同，该轴长度不是 3，dtype 不同或是布尔。
    """
    name, shapes = "linalg.cross", (input.array.shape, other.array.shape)
    if len(shapes[0]) != len(shapes[1]):
        raise RuntimeError(f"{name}: inputs must have the same number of dimensions, got shapes {shapes}")
    if input.size(dim) != 3 or other.size(dim) != 3:
        raise RuntimeError(f"{name}: dimension {dim} must have length 3, got shapes {shapes}")
    require_same(name, input, other)
    if input.array.dtype.kind == "b":
        raise RuntimeError(f"{name}: not implemented for bool tensors (shapes {shapes})")
    d = dim % len(shapes[0])
    return _rolled(input * _rolled(other, d) - _rolled(input, d) * other, d)


def old_cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """``torch.cross``：不给 ``dim`` 则取第一根长度为 3 的轴。

    Raises:
        RuntimeError: 没有长度为 3 的轴。
    """
    if dim is None:
        if 3 not in input.array.shape:
            raise RuntimeError(f"cross: no dimension of size 3 in input of shape {input.array.shape}")
        dim = input.array.shape.index(3)
    return cross(input, other, dim=dim)


def vander(x: Any, *, N: int | None = None) -> Any:
    """Vandermonde 矩阵：各列依次是 ``x`` 的 0 到 ``N - 1`` 次幂。

    Raises:
        RuntimeError: 布尔类型，或列数不大于 1。
    """
    if x.array.dtype.kind == "b":
        raise RuntimeError(f"linalg.vander: bool tensors are not supported (shape {x.array.shape})")
    columns = (x.array.shape[-1] if x.array.ndim else 1) if N is None else N
    if columns <= 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 1, got {columns}")
    x = x if x.array.ndim else x.reshape(1)
    powers = [wrap(np.ones_like(x.array)), x]
    for _ in range(columns - 2):
        powers.append(powers[-1] * x)
    return cat(*(p.unsqueeze(-1) for p in powers), dim=x.array.ndim)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """对角线，缺省取最后两轴。"""
    return A.diagonal(offset, dim1, dim2)


def matmul(input: Any, other: Any) -> Any:
    """矩阵乘法。"""
    return input @ other
