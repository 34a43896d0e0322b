"""向量范数、矩阵范数与条件数。

流入：Tensor 与 torch 写法的 ``ord``、``dim``；流出：Tensor。下一站：``products.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.linalg.checks import require_float, require_matrix, require_square
from tinygrad_llm.linalg.solving import inv_ex
from tinygrad_llm.linalg.spectrum import svdvals
from tinygrad_llm.ops import reduce

_MATRIX_ORDERS = ("fro", "nuc", math.inf, -math.inf, 1, -1, 2, -2)


def _cast(name: str, x: Any, dtype: Any) -> Any:
    """先换成 ``dtype`` 再算。

    Raises:
        RuntimeError: 输入或 ``dtype`` 不是浮点，或 ``dtype`` 更窄。
    """
    require_float(name, x, half=True, complex=True)
    if dtype is None:
        return x
    wanted = dtypes.as_numpy(dtype)
    if wanted.kind != x.array.dtype.kind or wanted.itemsize < x.array.itemsize:
        raise RuntimeError(f"{name}: a tensor of {dtypes.of(x.array)} cannot be computed in {dtype}, which is narrower")
    return x.to(dtype)


def _axes(dim: Any, ndim: int) -> tuple[int, ...]:
    """``dim`` → 非负轴号的元组；``None`` 与空元组是全部。

    Raises:
        IndexError: 超出范围。
        RuntimeError: 重复。
    """
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return tuple(range(ndim))
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    span = max(ndim, 1)
    for d in given:
        if not -span <= d < span:
            raise IndexError(f"Dimension out of range (expected to be in [{-span}, {span - 1}], but got {d})")
    axes = tuple(sorted(d % span for d in given))
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"dim {given} names one dimension twice")
    return axes if ndim else ()


def vector_norm(input: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """沿 ``dim`` 的 p-范数。

    Args:
        input: 浮点 Tensor。
        ord: 任何实数，或 ±inf；0 数非零元。
        dim: 一根或几根轴；缺省为全部。
        keepdim: 是否保留长度为 1 的轴。
        dtype: 先换成这种类型。

    Raises:
        RuntimeError: dtype 不合，或在空的轴上求没有单位元的范数。
        TypeError: ``ord`` 不是数。
    """
    name = "linalg.vector_norm"
    if not isinstance(ord, (int, float)):
        raise TypeError(f"{name}: ord must be a number, not {type(ord).__name__}")
    x = _cast(name, input, dtype)
    axes = _axes(dim, x.array.ndim)
    if (ord < 0 or math.isinf(ord)) and any(x.array.shape[d] == 0 for d in axes):
        raise RuntimeError(f"{name}: the {ord} norm of an empty dimension has no value (shape {x.array.shape})")
    x = x.abs() if x.array.dtype.kind == "c" else x
    return reduce.vector_norm(x, p=float(ord), dim=axes, keepdim=keepdim)


def _matrix_dims(name: str, dim: Any, ndim: int) -> tuple[int, int]:
    if isinstance(dim, int) or len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple, got {dim}")
    row, column = (_axes(d, ndim)[0] for d in dim)
    if row == column:
        raise RuntimeError(f"{name}: dims must be different, got {dim}")
    return row, column


def matrix_norm(input: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    """矩阵范数。

    Args:
        input: 浮点 Tensor。
        ord: ``"fro"``、``"nuc"``、``±1``（列和）、``±inf``（行和）、``±2``（奇异值）。
        dim: 行轴与列轴。
        keepdim: 是否保留长度为 1 的轴。
        dtype: 先换成这种类型。

    Raises:
        RuntimeError: 不到二维，``ord`` 或 ``dim`` 不合，dtype 不合。
    """
    name = "linalg.matrix_norm"
    if isinstance(dim, int):
        raise TypeError(f"{name}: dim must be a tuple of ints, not int")
    require_matrix(name, input)
    if ord not in _MATRIX_ORDERS:
        raise RuntimeError(f"{name}: order {ord!r} is not supported")
    x = _cast(name, input, dtype)
    row, column = _matrix_dims(name, dim, x.array.ndim)
    if ord == "fro":
        return vector_norm(x, 2, (row, column), keepdim)
    if ord in ("nuc", 2, -2):
        return _by_singular_values(x, ord, row, column, keepdim)
    summed, kept = (row, column) if abs(ord) == 1 else (column, row)
    sums = vector_norm(x, 1, summed, True)
    found = sums.amax(kept, keepdim=True) if ord > 0 else sums.amin(kept, keepdim=True)
    return found if keepdim else found.squeeze(max(row, column)).squeeze(min(row, column))


def _by_singular_values(x: Any, ord: Any, row: int, column: int, keepdim: bool) -> Any:
    order = [d for d in range(x.array.ndim) if d not in (row, column)]
    s = svdvals(x.permute(*order, row, column))
    if ord == "nuc":
        y = s.sum(-1)
    elif s.array.shape[-1] == 0 and ord == 2:
        y = s.sum(-1)  # 没有奇异值：范数是 0
    else:
        y = s.amax(-1) if ord == 2 else s.amin(-1)
    return y.unsqueeze(min(row, column)).unsqueeze(max(row, column)) if keepdim else y


def norm(input: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """向量或矩阵范数，由 ``ord`` 与 ``dim`` 决定是哪一种；都没给时是全部元素的 2-范数。

    Raises:
        RuntimeError: ``dim`` 既不是一根也不是两根轴，或给了 ``ord`` 没给 ``dim`` 而多于二维。
    """
    ndim = input.array.ndim
    if dim is not None:
        given = (dim,) if isinstance(dim, int) else tuple(dim)
        if len(given) not in (1, 2):
            raise RuntimeError(f"linalg.norm: dim must be of length 1 or 2, got {given}")
        if ord is not None and (len(given) == 2 or isinstance(ord, str)):
            return matrix_norm(input, ord, given, keepdim, dtype=dtype)
        return vector_norm(input, 2 if ord is None else ord, given, keepdim, dtype=dtype)
    if ord is None:
        return vector_norm(input, 2, None, keepdim, dtype=dtype)
    if ndim not in (1, 2):
        raise RuntimeError(f"linalg.norm: with ord and without dim the input must be 1D or 2D, got {ndim}D")
    if ndim == 2 or isinstance(ord, str):
        return matrix_norm(input, ord, (0, 1), keepdim, dtype=dtype)
    return vector_norm(input, ord, None, keepdim, dtype=dtype)


def cond(input: Any, p: Any = None) -> Any:
    """条件数 ``‖A‖ · ‖A⁻¹‖``；奇异的矩阵是 inf。

    Args:
        input: ``(..., m, n)``；``p`` 不是 ``None``、``2``、``-2`` 时必须是方阵。
        p: 矩阵范数的 ``ord``；``None`` 同 2。

    Raises:
        RuntimeError: 形状或 dtype 不合，没有这种范数。
    """
    require_matrix("linalg.cond", input)
    if p is None or p in (2, -2):
        s = svdvals(input)
        if s.array.shape[-1] == 0:
            return s.sum(-1)
        largest, smallest = s[..., 0], s[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    if p not in _MATRIX_ORDERS:
        raise RuntimeError(f"linalg.cond: {p!r} is not a matrix norm")
    require_square("linalg.cond", input)
    if input.array.size == 0:
        return matrix_norm(input, "fro")
    inverse, info = inv_ex(input)
    found = matrix_norm(input, p) * matrix_norm(inverse.masked_fill(info.unsqueeze(-1).unsqueeze(-1) != 0, 0.0), p)
    return found.masked_fill(info != 0, math.inf) if np.any(info.array) else found
