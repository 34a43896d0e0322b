"""低秩近似：随机投影之后的奇异值分解与主成分分析。

流入：Tensor，形状 ``(..., m, n)``；流出：``(U, S, V)``。随机数来自缺省的随机源。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.linalg.checks import require_float, require_matrix, wrap
from tinygrad_llm.linalg.factoring import qr
from tinygrad_llm.linalg.spectrum import svd
from tinygrad_llm.random import default_generator


def _basis(a: Any, q: int, niter: int) -> Any:
    """``a`` 的列空间的近似正交基：随机抽 ``q`` 个方向，再用 ``aᵀ``、``a`` 来回乘几遍使大的奇异值更突出。"""
    found = qr(a @ wrap(default_generator.normal((a.array.shape[-1], q), a.array.dtype))).Q
    for _ in range(niter):
        found = qr(a.mT @ found).Q
        found = qr(a @ found).Q
    return found


def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> tuple[Any, Any, Any]:
    """低秩近似 ``A - M ≈ U diag(S) Vᵀ``（Halko 等，2009）。

    Args:
        A: ``(..., m, n)``。
        q: 稍大于秩的数。
        niter: 来回乘几遍。
        M: 先减去的均值，可广播成 ``A`` 的形状。

    Returns:
        ``(U, S, V)``，各 ``q`` 列。
    """
    require_matrix("svd_lowrank", A)
    require_float("svd_lowrank", A)
    a = A if M is None else A - M
    wide = a.array.shape[-2] < a.array.shape[-1]
    a = a.mT if wide else a
    basis = _basis(a, 6 if q is None else q, 2 if niter is None else niter)
    u, s, vh = svd(basis.mT @ a, False)
    u, v = basis @ u, vh.mT
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Any, Any, Any]:
    """主成分分析：``A`` 的每一行是一个样本，``V`` 的各列是主方向。

    Args:
        A: ``(..., m, n)``。
        q: 取几个主成分；缺省 ``min(6, m, n)``。
        center: 是否先减去各列的均值。
        niter: 来回乘几遍。

    Raises:
        ValueError: ``q`` 或 ``niter`` 为负，或 ``q`` 大于 ``min(m, n)``。
    """
    require_matrix("pca_lowrank", A)
    most = min(A.array.shape[-2:])
    q = min(6, most) if q is None else q
    if not 0 <= q <= most or niter < 0:
        raise ValueError(f"pca_lowrank: expected 0 <= q <= {most} and niter >= 0, got q={q} and niter={niter}")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
