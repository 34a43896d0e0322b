"""QR、Householder 反射与 LU。

流入与流出：Tensor，形状 ``(..., m, n)``。长方阵都化成方阵（或高矩阵）的算子加上普通运算，导数随之而来。
下一站：``symmetric.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import is_grad_enabled
from tinygrad_llm.linalg.checks import (
    require_float,
    require_matrix,
    require_same,
    require_square,
    undifferentiable,
    wrap,
)
from tinygrad_llm.linalg.solving import solve_triangular
from tinygrad_llm.ops import decompositions
from tinygrad_llm.ops.decompositions import eliminate, row_order, unpack
from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.inverses import lapack
from tinygrad_llm.ops.shape import cat, gather, tril, triu
from tinygrad_llm.return_types import named

QR = named("linalg_qr", "Q", "R")
Geqrf = named("geqrf", "a", "tau")
LU = named("linalg_lu", "P", "L", "U")
LUFactor = named("linalg_lu_factor", "LU", "pivots")
LUFactorEx = named("linalg_lu_factor_ex", "LU", "pivots", "info")
LUWithInfo = named("_lu_with_info", "LU", "pivots", "info")
LUUnpack = named("lu_unpack", "P", "L", "U")


def qr(A: Any, mode: str = "reduced") -> Any:
    """QR 分解。

    Args:
        A: ``(..., m, n)``。
        mode: ``"reduced"`` 给出 ``min(m, n)`` 列的 ``Q``；``"complete"`` 给出 ``m`` 列；``"r"`` 只求 ``R``。

    Returns:
        ``(Q, R)``；``"r"`` 时 ``Q`` 是空的。

    Raises:
        RuntimeError: 不是浮点矩阵，或 ``mode`` 不是这三个之一。
    """
    require_matrix("linalg.qr", A)
    require_float("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"linalg.qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    *lead, m, n = A.array.shape
    if mode == "r":
        r = lapack("qr", lambda a: np.linalg.qr(a, mode="r"), A.array)
        why = "linalg.qr with mode='r', which does not compute Q,"
        return QR([undifferentiable(why, factor, A) for factor in (np.zeros(0, A.array.dtype), r)])
    if mode == "complete" and m > n:
        factors = lapack("qr", lambda a: np.linalg.qr(a, mode="complete"), A.array)
        why = "linalg.qr with mode='complete' and more rows than columns"
        return QR([undifferentiable(why, factor, A) for factor in factors])
    if m >= n:
        return QR(unpack(decompositions.qr(A), (m, n), (n, n)))
    q, r = unpack(decompositions.qr(A[..., :m]), (m, m), (m, m))
    return QR((q, cat(r, q.mT @ A[..., m:], dim=len(lead) + 1)))


def geqrf(input: Any) -> Any:
    """QR 的紧凑形式：``R`` 与 Householder 向量合在一个矩阵里，另有各反射的系数 ``tau``；不可导。"""
    require_matrix("geqrf", input)
    require_float("geqrf", input)
    h, tau = lapack("geqrf", lambda a: np.linalg.qr(a, mode="raw"), input.array)
    return Geqrf((wrap(np.ascontiguousarray(h.mT)), wrap(tau)))


def _reflectors(name: str, input: Any, tau: Any) -> list[tuple[Any, Any]]:
    """各个反射 ``I - τ v vᵀ`` 的 ``(v, τ)``；``v`` 的第 ``i`` 个元素是 1，之上是 0。"""
    m, k = input.array.shape[-2], tau.array.shape[-1]
    require_matrix(name, input)
    require_same(name, input, tau)
    require_float(name, input)
    if (
        not k <= input.array.shape[-1] <= max(m, input.array.shape[-1])
        or tau.array.shape[:-1] != input.array.shape[:-2]
    ):
        raise RuntimeError(f"{name}: shapes {input.array.shape} and {tau.array.shape} do not fit together")
    lower = where(np.eye(m, input.array.shape[-1], dtype=bool), 1.0, tril(input, diagonal=-1))
    return [(lower[..., :, i, None], tau[..., i, None, None]) for i in range(k)]


def _reflect(x: Any, reflectors: list[tuple[Any, Any]]) -> Any:
    for v, t in reflectors:
        x = x - t * (v @ (v.mT @ x))
    return x


def householder_product(input: Any, tau: Any) -> Any:
    """若干 Householder 反射之积的前 ``n`` 列；``geqrf`` 的逆操作给出 ``Q``。

    Raises:
        RuntimeError: 行数少于列数，或形状不合。
    """
    name = "linalg.householder_product"
    require_matrix(name, input)
    m, n = input.array.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: the input needs at least as many rows as columns, got {input.array.shape}")
    start = where(True, wrap(np.eye(m, n, dtype=input.array.dtype)), input)  # 一个反射也没有时仍连在图上
    return _reflect(start, _reflectors(name, input, tau)[::-1])


def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """``Q`` 乘 ``other``，``Q`` 由 Householder 反射给出；``left`` 为假则右乘，``transpose`` 用 ``Qᵀ``。

    Raises:
        RuntimeError: 形状或 dtype 不合。
    """
    if not left:
        return ormqr(input, tau, other.mT, True, not transpose).mT
    require_same("ormqr", input, other)
    if other.array.ndim < 2 or other.array.shape[-2] != input.array.shape[-2]:
        raise RuntimeError(f"ormqr: shapes {input.array.shape} and {other.array.shape} do not fit together")
    reflectors = _reflectors("ormqr", input, tau)
    return _reflect(other, reflectors if transpose else reflectors[::-1])


def _eliminated(name: str, A: Any, pivot: bool) -> tuple[Any, Any]:
    """``L`` 与 ``U`` 合在一起的矩阵，以及各步换到第几行。

    次序由数组上的消元定下；然后在排好的行上，方的那一块不再换行地分解，余下的行（或列）解三角方程。
    """
    require_matrix(name, A)
    require_float(name, A)
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU (shape {A.array.shape})")
    *lead, m, n = A.array.shape
    k = min(m, n)
    factor, swaps = eliminate(A.array, pivot=True)
    if not (A.requires_grad and is_grad_enabled()):
        return wrap(factor), swaps
    ordered = gather(A, np.broadcast_to(row_order(swaps, m)[..., None], A.array.shape), dim=len(lead))
    packed = decompositions.lu(ordered[..., :k, :k])
    if m > n:
        below = solve_triangular(packed, ordered[..., k:, :], upper=True, left=False)
        packed = cat(packed, below, dim=len(lead))
    if n > m:
        beside = solve_triangular(packed, ordered[..., k:], upper=False, unitriangular=True)
        packed = cat(packed, beside, dim=len(lead) + 1)
    return packed, swaps


def _first_zero(packed: Any) -> Any:
    zero = np.diagonal(packed.array, axis1=-2, axis2=-1) == 0
    if zero.shape[-1] == 0:
        return np.zeros(zero.shape[:-1], np.int32)
    return np.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(np.int32)


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """LU 分解的紧凑形式、各步换到第几行（从 1 数起）与 ``info``（第几个主元是 0）。

    Raises:
        RuntimeError: ``check_errors`` 为真而有主元是 0。
    """
    packed, swaps = _eliminated("linalg.lu_factor_ex", A, pivot)
    info = _first_zero(packed)
    if check_errors and info.any():
        raise RuntimeError(f"linalg.lu_factor: a pivot is zero (shape {A.array.shape}); lu_solve would divide by it")
    return LUFactorEx((packed, wrap((swaps + 1).astype(np.int32)), wrap(info)))


def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """LU 分解的紧凑形式与各步换到第几行（从 1 数起）。

    Raises:
        RuntimeError: 有主元是 0。
    """
    return LUFactor(lu_factor_ex(A, pivot=pivot, check_errors=True)[:2])


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """从紧凑形式取出 ``P``、``L``、``U``；不要的部分是空的。

    Raises:
        RuntimeError: ``LU_pivots`` 不是 int32。
    """
    empty = wrap(np.zeros(0, LU_data.array.dtype))
    *_, m, n = LU_data.array.shape
    k = min(m, n)
    lower, upper, permutation = empty, empty, empty
    if unpack_data:
        lower = where(np.eye(m, k, dtype=bool), 1.0, tril(LU_data[..., :k], diagonal=-1))
        upper = triu(LU_data[..., :k, :], diagonal=0)
    if unpack_pivots:
        rows = row_order(_zero_based("lu_unpack", LU_pivots), m)
        permutation = wrap((np.arange(m)[:, None] == rows[..., None, :]).astype(LU_data.array.dtype))
    return LUUnpack((permutation, lower, upper))


def _zero_based(name: str, pivots: Any) -> Any:
    if pivots.array.dtype != np.int32:
        raise RuntimeError(f"{name}: pivots should be of dtype int32, got {pivots.dtype}")
    return pivots.array.astype(np.int64) - 1


def lu(A: Any, *, pivot: bool = True) -> Any:
    """``A = P L U``。"""
    packed, swaps = _eliminated("linalg.lu", A, pivot)
    return LU(lu_unpack(packed, wrap((swaps + 1).astype(np.int32))))


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """由 LU 分解解 ``A X = B``；``left`` 为假则 ``X A = B``，``adjoint`` 用 ``Aᵀ``。

    Raises:
        RuntimeError: 形状或 dtype 不合。
    """
    name = "linalg.lu_solve"
    require_square(name, LU)
    require_same(name, LU, B)
    require_matrix(name, B)
    if not left:
        return lu_solve(LU, pivots, B.mT, adjoint=not adjoint).mT
    n = LU.array.shape[-1]
    if n != B.array.shape[-2] or pivots.array.shape != LU.array.shape[:-1]:
        raise RuntimeError(
            f"{name}: shapes {LU.array.shape}, {pivots.array.shape} and {B.array.shape} do not fit together"
        )
    rows = row_order(_zero_based(name, pivots), n)
    permutation = wrap((rows[..., :, None] == np.arange(n)).astype(LU.array.dtype))  # Pᵀ
    if adjoint:
        half = solve_triangular(LU.mT, B, upper=False)
        return permutation.mT @ solve_triangular(LU.mT, half, upper=True, unitriangular=True)
    half = solve_triangular(LU, permutation @ B, upper=False, unitriangular=True)
    return solve_triangular(LU, half, upper=True)
