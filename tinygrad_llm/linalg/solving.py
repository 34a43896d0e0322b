"""逆、解方程与行列式。

流入与流出：Tensor，形状 ``(..., n, n)``、``(..., n, k)`` 或 ``(..., n)``。下一站：``factoring.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.linalg.checks import (
    identity_like,
    is_vector_side,
    require_float,
    require_matrix,
    require_same,
    require_square,
    wrap,
)
from tinygrad_llm.ops import inverses
from tinygrad_llm.ops.decompositions import eliminate
from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.inverses import LinAlgError
from tinygrad_llm.return_types import named

SlogDet = named("linalg_slogdet", "sign", "logabsdet")
InvEx = named("linalg_inv_ex", "inverse", "info")
SolveEx = named("linalg_solve_ex", "result", "info")
TriangularSolve = named("triangular_solve", "solution", "cloned_coefficient")


def inv(A: Any) -> Any:
    """逆矩阵。

    Raises:
        LinAlgError: 奇异。
    """
    require_square("linalg.inv", A, complex=True)
    return inverses.inv(A)


def _first_zero_pivot(A: Any) -> Any:
    """消元时第几个主元是 0（从 1 数起）；没有则为 0。"""
    pivots = np.diagonal(eliminate(A.array, pivot=True)[0], axis1=-2, axis2=-1) == 0
    return np.where(pivots.any(-1), pivots.argmax(-1) + 1, 0).astype(np.int32)


def _without_singular(A: Any, info: Any) -> tuple[Any, Any]:
    """奇异的矩阵换成单位阵；第二项标出是哪几个。"""
    singular = wrap(info[..., None, None] > 0)
    return where(singular, identity_like(A), A), singular


def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """逆矩阵与 ``info``；奇异的矩阵不报错，结果是 NaN，``info`` 是为 0 的主元的序号。

    Raises:
        LinAlgError: ``check_errors`` 为真而矩阵奇异。
    """
    require_square("linalg.inv_ex", A, complex=True)
    try:
        return InvEx((inv(A), wrap(np.zeros(A.array.shape[:-2], np.int32))))
    except LinAlgError:
        if check_errors:
            raise
    info = _first_zero_pivot(A)
    regular, singular = _without_singular(A, info)
    return InvEx((inv(regular).masked_fill(singular, math.nan), wrap(info)))


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """解 ``A X = B``（``left`` 为假则 ``X A = B``）；``B`` 可以是（一批）向量。

    Raises:
        LinAlgError: ``A`` 奇异。
        RuntimeError: 形状或 dtype 不合。
    """
    require_square("linalg.solve", A, complex=True)
    require_same("linalg.solve", A, B)
    if is_vector_side(A, B):
        if not left:
            raise RuntimeError("linalg.solve: a vector right-hand side needs left=True")
        return solve(A, B.unsqueeze(-1)).squeeze(-1)
    require_matrix("linalg.solve", B)
    if not left:
        return solve(A.mT, B.mT).mT
    if A.array.shape[-1] != B.array.shape[-2]:
        raise RuntimeError(f"linalg.solve: shapes {A.array.shape} and {B.array.shape} do not fit AX = B")
    return inverses.solve(A, B)


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """``solve`` 与 ``info``；奇异时不报错，结果是 NaN。

    Raises:
        LinAlgError: ``check_errors`` 为真而 ``A`` 奇异。
    """
    try:
        return SolveEx((solve(A, B, left=left), wrap(np.zeros(A.array.shape[:-2], np.int32))))
    except LinAlgError:
        if check_errors:
            raise
    info = _first_zero_pivot(A)
    regular, singular = _without_singular(A, info)
    bad = singular.squeeze(-1) if is_vector_side(A, B) else singular
    return SolveEx((solve(regular, B, left=left).masked_fill(bad, math.nan), wrap(info)))


def solve_triangular(input: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """解三角方程 ``A X = B``（``left`` 为假则 ``X A = B``），只读 ``A`` 的一个三角。

    Raises:
        RuntimeError: 形状或 dtype 不合。
    """
    name = "linalg.solve_triangular"
    require_square(name, input, complex=True)
    require_same(name, input, B)
    require_matrix(name, B)
    if not left:
        return solve_triangular(input.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    if input.array.shape[-1] != B.array.shape[-2]:
        raise RuntimeError(f"{name}: shapes {input.array.shape} and {B.array.shape} do not fit AX = B")
    return inverses.solve_triangular(input, B, upper=upper, unitriangular=unitriangular)


def triangular_solve(
    input: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """旧名字的三角方程：解 ``A X = input``，连同 ``A`` 的一份拷贝返回。"""
    a = A.mT if transpose else A
    solution = solve_triangular(a, input, upper=upper != transpose, unitriangular=unitriangular)
    return TriangularSolve((solution, A.clone()))


def det(A: Any) -> Any:
    """行列式。"""
    require_square("linalg.det", A, complex=True)
    return inverses.det(A)


def slogdet(A: Any) -> Any:
    """行列式的符号与绝对值的对数；奇异时为 0 与 -inf，行列式是 NaN 时为 0 与 NaN。"""
    require_square("linalg.slogdet", A)
    with np.errstate(all="ignore"):
        sign, size = np.linalg.slogdet(A.array)
    plain = wrap(np.where(np.isnan(size), 0, sign).astype(A.array.dtype))
    constant = where(True, plain, A.sum((-2, -1)))  # 符号处处不变：连在图上，梯度是 0
    return SlogDet((constant, inverses.logabsdet(A)))


def logdet(input: Any) -> Any:
    """行列式的对数；行列式为负时是 NaN。"""
    sign, logabsdet = slogdet(input)
    return logabsdet.masked_fill(wrap(sign.array == -1), math.nan)


def tensorinv(input: Any, ind: int = 2) -> Any:
    """``tensordot(·, ·, ind)`` 意义下的逆：前 ``ind`` 根轴当作行，其余当作列。

    Raises:
        RuntimeError: ``ind`` 不是正数，或行列数不等。
    """
    shape = input.array.shape
    if ind <= 0:
        raise RuntimeError(f"linalg.tensorinv: expected a strictly positive ind, got {ind}")
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(f"linalg.tensorinv: prod(shape[ind:]) must equal prod(shape[:ind]), got shape {shape}")
    return inv(input.reshape(rows, columns)).reshape(*shape[ind:], *shape[:ind])


def tensorsolve(input: Any, other: Any, dims: Any = None) -> Any:
    """解 ``tensordot(input, X, X.ndim) = other``；``dims`` 是先移到最后的轴。

    Raises:
        RuntimeError: 行列数不等。
    """
    a, n = input, other.array.ndim
    if dims is not None:
        moved = [d % a.array.ndim for d in dims]
        a = a.permute([d for d in range(a.array.ndim) if d not in moved] + moved)
    shape = a.array.shape
    rows, columns = math.prod(shape[:n]), math.prod(shape[n:])
    if rows != columns:
        raise RuntimeError(f"linalg.tensorsolve: shapes {shape} and {other.array.shape} do not form a square system")
    return solve(a.reshape(rows, columns), other.reshape(-1)).reshape(shape[n:])


def matrix_exp(input: Any) -> Any:
    """矩阵指数。"""
    require_matrix("linalg.matrix_exp", input, square=True)
    require_float("linalg.matrix_exp", input, half=True, complex=True)
    return inverses.matrix_exp(input)


def matrix_power(input: Any, n: int) -> Any:
    """矩阵的整数次幂：反复平方；负数次先求逆。

    Raises:
        TypeError: ``n`` 不是整数。
        RuntimeError: 不是方阵，或是布尔。
    """
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"linalg.matrix_power: n must be int, not {type(n).__name__}")
    require_matrix("linalg.matrix_power", input, square=True)
    if input.array.dtype.kind == "b":
        raise RuntimeError(f"linalg.matrix_power: not implemented for bool tensors (shape {input.array.shape})")
    if n == 0:
        return where(True, identity_like(input), input)  # 值与 input 无关，梯度是 0
    base, n = (inv(input), -n) if n < 0 else (input, n)
    result = None
    while n:
        if n & 1:
            result = base if result is None else result @ base
        n >>= 1
        base = base @ base if n else base
    return result.clone() if result is input else result
