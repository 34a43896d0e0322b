"""奇异值分解与由它得来的一切：伪逆、最小二乘、秩。

流入与流出：Tensor，形状 ``(..., m, n)``。下一站：``norms.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph, is_grad_enabled
from tinygrad_llm.linalg.checks import is_vector_side, require_float, require_matrix, require_same, wrap
from tinygrad_llm.linalg.symmetric import eigvalsh, hermitian_pinv
from tinygrad_llm.ops import decompositions, inverses
from tinygrad_llm.ops.decompositions import unpack
from tinygrad_llm.ops.inverses import lapack
from tinygrad_llm.ops.shape import cat
from tinygrad_llm.return_types import named

SVD = named("linalg_svd", "U", "S", "Vh")
OldSVD = named("svd", "U", "S", "V")
Lstsq = named("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def _completed(u: Any) -> Any:
    """补上正交补的一组基，使各列张成全空间；补上的列不可导。"""
    m, k = u.array.shape[-2:]
    if m == k:
        return u
    extra = lapack("svd", lambda a: np.linalg.qr(a, mode="complete"), u.array)[0][..., k:]
    return cat(u, wrap(extra), dim=u.array.ndim - 1)


def _require_no_driver(driver: Any) -> None:
    if driver is not None:
        raise RuntimeError(f"linalg.svd: driver={driver!r} is only supported with a GPU")


def svd(A: Any, full_matrices: bool = True, *, driver: Any = None) -> Any:
    """``A = U diag(S) Vh``，奇异值从大到小。

    Args:
        A: ``(..., m, n)``。
        full_matrices: ``U``、``Vh`` 是否补成方阵；补上的部分不可导。
        driver: 只对 GPU 有意义，必须是 ``None``。

    Raises:
        LinAlgError: 不收敛（有 NaN 或 inf）。
        RuntimeError: 不是浮点矩阵，或给了 ``driver``。
    """
    require_matrix("linalg.svd", A)
    require_float("linalg.svd", A)
    _require_no_driver(driver)
    m, n = A.array.shape[-2:]
    k = min(m, n)
    u, s, vh = unpack(decompositions.svd(A), (m, k), (k,), (k, n))
    return SVD((_completed(u), s, _completed(vh.mT).mT) if full_matrices else (u, s, vh))


def old_svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """``torch.svd``：第三项是 ``V`` 而不是它的转置；``compute_uv`` 为假时 ``U``、``V`` 全是 0。"""
    if compute_uv:
        u, s, vh = svd(input, not some)
        return OldSVD((u, s, vh.mT))
    *lead, m, n = input.array.shape
    u, v = (wrap(np.zeros((*lead, side, side), input.array.dtype)) for side in (m, n))
    return OldSVD((u, svdvals(input), v))


def svdvals(A: Any, *, driver: Any = None) -> Any:
    """奇异值，从大到小。"""
    if A.requires_grad and is_grad_enabled():
        return svd(A, False, driver=driver).S
    require_matrix("linalg.svdvals", A)
    require_float("linalg.svdvals", A)
    _require_no_driver(driver)
    return wrap(lapack("svdvals", lambda a: np.linalg.svd(a, compute_uv=False), A.array))


def _cutoffs(name: str, x: Any, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """绝对与相对容差；都没给时相对容差是 ``max(m, n) · eps``，只给了正的绝对容差时相对容差是 0。"""
    absolute = 0.0 if atol is None else _plain(name, atol)
    if rtol is not None:
        return absolute, _plain(name, rtol)
    standard = float(np.finfo(x.array.dtype).eps) * max(x.array.shape[-2:])
    return absolute, np.where(np.asarray(absolute) > 0, 0.0, standard).astype(x.array.dtype)


def _plain(name: str, tolerance: Any) -> Any:
    if isinstance(tolerance, graph.tensor_type):
        return tolerance.array
    if not isinstance(tolerance, (int, float)):
        raise TypeError(f"{name}: a tolerance must be a Tensor or float, not {type(tolerance).__name__}")
    return tolerance


def pinv(input: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """伪逆。

    Args:
        input: ``(..., m, n)``。
        rcond: ``rtol`` 的旧名字。
        hermitian: 只看下三角，当作对称阵。
        atol: 绝对容差。
        rtol: 相对容差；奇异值不大于 ``max(atol, rtol · 最大奇异值)`` 的当作 0。

    Raises:
        RuntimeError: 不是浮点矩阵；``hermitian`` 而不是方阵。
    """
    require_matrix("linalg.pinv", input, square=hermitian)
    require_float("linalg.pinv", input)
    absolute, relative = _cutoffs("linalg.pinv", input, atol, rcond if rtol is None else rtol)
    function = hermitian_pinv if hermitian else inverses.pinv
    return function(input, atol=absolute, rtol=relative)


def matrix_rank(input: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """秩：大于 ``max(atol, rtol · 最大奇异值)`` 的奇异值的个数；``tol`` 是旧写法，只作绝对容差。

    Raises:
        RuntimeError: 不是浮点矩阵；``hermitian`` 而不是方阵。
    """
    name = "linalg.matrix_rank"
    require_matrix(name, input, square=hermitian)
    require_float(name, input)
    if tol is not None:
        atol, rtol = tol, 0.0
    absolute, relative = _cutoffs(name, input, atol, rtol)
    x = input.detach()
    if x.array.size == 0:
        return wrap(np.zeros(x.array.shape[:-2], np.int64))
    s = np.abs(eigvalsh(x).array) if hermitian else svdvals(x).array
    cutoff = np.maximum(absolute, relative * s.max(-1))
    return wrap((s > cutoff[..., None]).sum(-1).astype(np.int64))


def lstsq(input: Any, b: Any, rcond: Any = None, *, driver: str | None = None) -> Any:
    """最小二乘：使 ``‖A X - B‖`` 最小、其中范数最小的 ``X``。

    Args:
        input: ``A``，``(..., m, n)``。
        b: ``B``，``(..., m, k)``，或（一批）向量 ``(..., m)``。
        rcond: 相对容差；缺省 ``max(m, n) · eps``。
        driver: LAPACK 的算法名，决定返回哪些附加的量。

    Returns:
        ``(solution, residuals, rank, singular_values)``；该算法不给出的是空张量。

    Raises:
        RuntimeError: 形状或 dtype 不合，或没有这个 ``driver``。
    """
    name, driver = "linalg.lstsq", driver or "gelsy"
    require_matrix(name, input)
    require_float(name, input)
    require_same(name, input, b)
    if driver not in _DRIVERS:
        raise RuntimeError(f"{name}: driver must be one of {_DRIVERS}, got {driver!r}")
    is_vector = is_vector_side(input, b)
    side = b.unsqueeze(-1) if is_vector else b
    if side.array.ndim != input.array.ndim or side.array.shape[-2] != input.array.shape[-2]:
        raise RuntimeError(f"{name}: shapes {input.array.shape} and {b.array.shape} do not fit together")
    solution = pinv(input, rtol=rcond) @ side
    rank = matrix_rank(input, rtol=rcond)
    m, n = input.array.shape[-2:]
    empty = wrap(np.zeros(0, input.array.dtype))
    residuals = solution.reshape(-1)[:0]
    if driver != "gelsy" and m > n and (driver == "gels" or (rank.array == n).all()):
        residuals = ((input @ solution - side) ** 2).sum(-2)
    return Lstsq((
        solution.squeeze(-1) if is_vector else solution,
        residuals,
        wrap(np.zeros(0, np.int64)) if driver == "gels" else rank,
        svdvals(input.detach()) if driver in ("gelsd", "gelss") else empty,
    ))  # fmt: skip
