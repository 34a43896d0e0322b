"""矩阵分解：Cholesky、LU、QR、对称阵的特征分解与 SVD。

流入与流出都是数组（或 Tensor），形状 ``(..., m, n)``，前面的轴是批。
算子只有一个输出：几个因子各自摊平，首尾相接成最后一轴，``unpack`` 再切回来；分解只做一次，导数也一次写完。
下一站：``distances.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.inverses import LinAlgError, forward_substitution, lapack, solve_triangular
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import index, reshape, tril, triu

Shape = tuple[int, ...]
_BLOCK = 32
"""LU 每次消去这么多列，余下的用一次矩阵乘法更新。"""


def pack(lead: int, *factors: Array) -> Array:
    """几个因子摊平、首尾相接；前 ``lead`` 根轴是批。"""
    return np.concatenate([f.reshape(*f.shape[:lead], math.prod(f.shape[lead:])) for f in factors], axis=-1)


def unpack(y: Any, *shapes: Shape) -> list[Any]:
    """``pack`` 的逆：按各因子的形状切开。"""
    parts, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        part = index(y, key=(..., slice(start, stop)))
        parts.append(reshape(part, shape=(*y.shape[:-1], *shape)))
        start = stop
    return parts


def _cholesky_vjp(g: Any, y: Any) -> Any:
    """``x = L Lᵀ`` ⇒ ``L⁻¹ dx L⁻ᵀ = L⁻¹dL + (L⁻¹dL)ᵀ``，其下三角（对角减半）就是 ``L⁻¹dL``。

    伴随：``Φ = ½(P + Pᵀ)``，``P`` 是 ``Lᵀg`` 的下三角、对角减半，再乘回 ``∂L/∂x = L⁻ᵀ Φ L⁻¹``。
    """
    below = tril(y.mT @ g, diagonal=0)
    half = (below + tril(below, diagonal=-1).mT) * 0.5
    left = solve_triangular(y.mT, half, upper=True)
    return solve_triangular(y.mT, left.mT, upper=True)  # 对称：不必再转回去


@op("y yᵀ = x，y 下三角", x=_cholesky_vjp)
def cholesky(x: Array) -> Any:
    """正定阵的 Cholesky 因子；``x`` 当作对称的，只看 ``(x + xᵀ)/2``。

    Raises:
        LinAlgError: 不正定。
    """
    y = lapack("cholesky", np.linalg.cholesky, (x + x.mT) / 2)
    if np.isnan(y).any():
        raise LinAlgError(f"linalg.cholesky: the input of shape {x.shape} is not positive-definite, it holds NaN")
    return y


def failing_minor(x: Array) -> Array:
    """第一个不正定的顺序主子式的阶；正定则为 0（LAPACK 的 ``info``）。"""
    n, info = x.shape[-1], np.zeros(x.shape[:-2], np.int32)
    y = np.zeros_like(x)
    with np.errstate(all="ignore"):
        for j in range(n):
            pivot = x[..., j, j] - (y[..., j, :j] ** 2).sum(-1)
            info[...] = np.where((info == 0) & ~(pivot > 0), j + 1, info)
            rest = x[..., j:, j] - (y[..., j:, :j] @ y[..., j, :j, None])[..., 0]
            y[..., j:, j] = rest / np.sqrt(pivot)[..., None]
    return info


def _swap(a: Array, j: int, other: Array) -> None:
    """每一批的第 ``j`` 行与第 ``other`` 行对调。"""
    batch = np.arange(len(a))
    kept = a[:, j].copy()
    a[:, j] = a[batch, other]
    a[batch, other] = kept


def eliminate(x: Array, *, pivot: bool) -> tuple[Array, Array]:
    """高斯消元，分块进行。

    Args:
        x: ``(..., m, n)``。
        pivot: 是否在每一列选绝对值最大的主元。

    Returns:
        ``L`` 与 ``U`` 合在一起的 ``(..., m, n)``（``L`` 的对角线是 1，不写出），与各步换到第几行 ``(..., min(m, n))``。
    """
    m, n = x.shape[-2:]
    a = np.array(x, order="C").reshape(math.prod(x.shape[:-2]), m, n)
    swaps = np.tile(np.arange(min(m, n)), (len(a), 1))
    with np.errstate(all="ignore"):
        for start in range(0, min(m, n), _BLOCK):
            stop = min(start + _BLOCK, m, n)
            for j in range(start, stop):
                if pivot and len(a):
                    size = np.abs(a[:, j:, j])
                    swaps[:, j] = j + np.where(np.isnan(size[:, 0]), 0, np.argmax(size, axis=-1))
                    _swap(a, j, swaps[:, j])
                d = a[:, j, None, j]
                a[:, j + 1 :, j] /= np.where(d == 0, 1, d)
                a[:, j + 1 :, j + 1 : stop] -= a[:, j + 1 :, j, None] * a[:, j, None, j + 1 : stop]
            a[:, start:stop, stop:] = forward_substitution(a[:, start:stop, start:stop], a[:, start:stop, stop:], True)
            a[:, stop:, stop:] -= a[:, stop:, start:stop] @ a[:, start:stop, stop:]
    return a.reshape(x.shape), swaps.reshape(*x.shape[:-2], min(m, n))


def row_order(swaps: Array, m: int) -> Array:
    """依次对调之后，各行原来是第几行：``(..., k)`` → ``(..., m)``。"""
    flat = swaps.reshape(math.prod(swaps.shape[:-1]), swaps.shape[-1])
    order = np.tile(np.arange(m), (len(flat), 1))
    for j in range(flat.shape[-1]):
        _swap(order, j, flat[:, j])
    return order.reshape(*swaps.shape[:-1], m)


def _lu_vjp(g: Any, y: Any) -> Any:
    """``x = L U`` ⇒ ``L⁻¹ dx U⁻¹ = L⁻¹dL + dU U⁻¹``，严格下三角属于前者，上三角属于后者。"""
    upper = triu(y, diagonal=0)
    lower = where(np.eye(y.shape[-1], dtype=bool), 1.0, tril(y, diagonal=-1))
    inner = tril(lower.mT @ g, diagonal=-1) + triu(g @ upper.mT, diagonal=0)
    left = solve_triangular(y.mT, inner, upper=True, unitriangular=True)
    return solve_triangular(y, left.mT, upper=True).mT


@op("(I + 下三角 y)(上三角 y) = x", x=_lu_vjp)
def lu(x: Array) -> Any:
    """方阵不换行的 LU；``L`` 与 ``U`` 合在一个矩阵里，``L`` 的对角线 1 不写出。"""
    return eliminate(x, pivot=False)[0]


def _qr_vjp(g: Any, y: Any, shapes: tuple[Shape, ...]) -> Any:
    """``x = Q R``：记 ``M = gR Rᵀ - Qᵀ gQ``，把它的上三角补成对称阵 ``S``，则 ``∂L/∂x = (gQ + Q S) R⁻ᵀ``。"""
    m, n = shapes[0][-2:]
    (q, r), (gq, gr) = (unpack(t, (m, n), (n, n)) for t in (y, g))
    above = triu(gr @ r.mT - q.mT @ gq, diagonal=0)
    both = above + triu(above, diagonal=1).mT
    return solve_triangular(r, (gq + q @ both).mT, upper=True).mT


@op("Q R = x，y = [Q; R]", x=_qr_vjp)
def qr(x: Array) -> Any:
    """高矩阵（``m ≥ n``）的 QR：``Q`` ``(..., m, n)`` 与 ``R`` ``(..., n, n)`` 接成一轴。"""
    q, r = lapack("qr", np.linalg.qr, x)
    return pack(x.ndim - 2, q, r)


def ratio(numerator: Any, gap: Any) -> Any:
    """``numerator / gap``；两者同为 0 时取 0：没有用到的奇异向量不该让重合的奇异值变成 NaN。"""
    return numerator / where((gap == 0) & (numerator == 0), 1.0, gap)


def _eigh_vjp(g: Any, y: Any, shapes: tuple[Shape, ...]) -> Any:
    """``dΛ`` 是 ``Vᵀ dx V`` 的对角，``dV = V ((Vᵀ dx V)ᵢⱼ / (λⱼ - λᵢ))``，对角取 0；``x`` 对称，梯度也对称化。"""
    n = shapes[0][-1]
    (values, vectors), (g_values, g_vectors) = (unpack(t, (n,), (n, n)) for t in (y, g))
    diagonal = np.eye(n, dtype=bool)
    gap = where(diagonal, 1.0, values[..., None, :] - values[..., :, None])
    inner = where(diagonal, g_values[..., None], ratio(vectors.mT @ g_vectors, gap))
    return vectors @ ((inner + inner.mT) * 0.5) @ vectors.mT


@op("V Λ Vᵀ = x，y = [Λ; V]", x=_eigh_vjp)
def eigh(x: Array) -> Any:
    """对称阵的特征值 ``(..., n)`` 与特征向量 ``(..., n, n)`` 接成一轴；``x`` 当作对称的，只看 ``(x + xᵀ)/2``。

    Raises:
        LinAlgError: 不收敛。
    """
    if np.isfinite(x).all():
        values, vectors = lapack("eigh", np.linalg.eigh, (x + x.mT) / 2)
        return pack(x.ndim - 2, values, vectors)
    return np.full((*x.shape[:-2], (x.shape[-1] + 1) * x.shape[-1]), np.nan, x.dtype)


def _skew(x: Any) -> Any:
    return x - x.mT


def _svd_vjp(g: Any, y: Any, shapes: tuple[Shape, ...]) -> Any:
    """``dS`` 是 ``Uᵀ dx V`` 的对角；奇异向量在各自的空间里转动 ``skew(·)/(sⱼ² - sᵢ²)``，转出空间的一份除以 ``s``。"""
    m, n = shapes[0][-2:]
    k = min(m, n)
    (u, s, vh), (gu, gs, gvh) = (unpack(t, (m, k), (k,), (k, n)) for t in (y, g))
    row, column = s[..., None, :], s[..., :, None]
    gap = (row - column) * (row + column)
    turn_u, turn_v = ratio(_skew(u.mT @ gu), gap) * row, column * ratio(_skew(vh @ gvh.mT), gap)
    gx = u @ where(np.eye(k, dtype=bool), gs[..., None], turn_u + turn_v) @ vh
    if m > k:
        gx = gx + ratio(gu - u @ (u.mT @ gu), row) @ vh
    if n > k:
        gx = gx + u @ ratio(gvh - (gvh @ vh.mT) @ vh, column)
    return gx


@op("U S Vᵀ = x，y = [U; S; Vᵀ]", x=_svd_vjp)
def svd(x: Array) -> Any:
    """瘦的奇异值分解：``U`` ``(..., m, k)``、``S`` ``(..., k)``、``Vᵀ`` ``(..., k, n)`` 接成一轴，``k = min(m, n)``。

    Raises:
        LinAlgError: 不收敛（有 NaN 或 inf）。
    """
    u, s, vh = lapack("svd", lambda a: np.linalg.svd(a, full_matrices=False), x)
    return pack(x.ndim - 2, u, s, vh)
