"""逆、解方程、行列式与矩阵指数。

流入与流出都是数组（或 Tensor），形状 ``(..., n, n)`` 与 ``(..., n, k)``，前面的轴是批。矩阵奇异时抛 ``LinAlgError``。
下一站：``decompositions.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import where, zeros
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import sum as total
from tinygrad_llm.ops.shape import cat, index, tril, triu

_SMALL = 32
"""三角方程小到这个规模就逐行代入；再大则对半分，余下的工作都是矩阵乘法。"""


class LinAlgError(RuntimeError):
    """矩阵奇异、不正定，或迭代不收敛。"""


def lapack(name: str, function: Callable[..., Any], *arrays: Array) -> Any:
    """调用 NumPy 的线性代数函数；失败时换成 ``LinAlgError`` 并点名。

    Raises:
        LinAlgError: 分解失败。
    """
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise LinAlgError(f"linalg.{name}: {error} (shape {shapes})") from None


@op("y = x⁻¹", x=lambda g, y: -(y.mT @ g @ y.mT))
def inv(x: Array, *, check: bool = True) -> Any:
    """``y = x⁻¹``：由 ``x y = I`` 得 ``dy = -y dx y``，所以 ``∂L/∂x = -yᵀ g yᵀ``，只留输出。

    Args:
        x: ``(..., n, n)``。
        check: 奇异时报错；否则结果是 inf，符号来自余子式。

    Raises:
        LinAlgError: 奇异。
    """
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        if check:
            raise LinAlgError(f"linalg.inv: the matrix is singular (shape {x.shape})") from None
    y = np.array(x)
    d = np.asarray(np.linalg.det(x))
    y[d != 0] = np.linalg.inv(x[d != 0])
    with np.errstate(all="ignore"):
        y[d == 0] = cofactor(x[d == 0]).mT / d[d == 0][:, None, None]
    return y


def _solve_vjp(g: Any, a: Any, y: Any, needs: tuple[bool, bool]) -> tuple[Any, Any]:
    """``a y = b`` ⇒ ``a dy = db - da y``：``∂L/∂b`` 解 ``aᵀ z = g``，``∂L/∂a = -z yᵀ``。"""
    z = solve(a.mT, g)
    return -(z @ y.mT) if needs[0] else None, z


@op("y = a⁻¹ b", joint=_solve_vjp, wrt="a b")
def solve(a: Array, b: Array) -> Any:
    """解 ``a y = b``；``a`` 是 ``(..., n, n)``，``b`` 是 ``(..., n, k)``，批可以广播。"""
    return lapack("solve", np.linalg.solve, a, b)


def _triangle(x: Any, upper: bool, unitriangular: bool) -> Any:
    """一个三角；单位三角阵的对角线不是变量。"""
    return triu(x, diagonal=int(unitriangular)) if upper else tril(x, diagonal=-int(unitriangular))


def _solve_triangular_vjp(
    g: Any, a: Any, y: Any, upper: bool, unitriangular: bool, needs: tuple[bool, bool]
) -> tuple[Any, Any]:
    """同 ``solve``，只是 ``a`` 的另一个三角从未读过，梯度为 0。"""
    z = solve_triangular(a.mT, g, upper=not upper, unitriangular=unitriangular)
    return _triangle(-(z @ y.mT), upper, unitriangular) if needs[0] else None, z


@op("y = a⁻¹ b（a 是三角阵）", joint=_solve_triangular_vjp, wrt="a b")
def solve_triangular(a: Array, b: Array, *, upper: bool, unitriangular: bool = False) -> Any:
    """解三角方程 ``a y = b``；只读 ``a`` 的一个三角，对角线有 0 时结果含 inf 或 NaN，与 torch 一致。"""
    with np.errstate(all="ignore"):
        if upper:  # 两轴都反序，上三角就成了下三角
            return forward_substitution(a[..., ::-1, ::-1], b[..., ::-1, :], unitriangular)[..., ::-1, :]
        return forward_substitution(a, b, unitriangular)


def forward_substitution(a: Array, b: Array, unitriangular: bool) -> Array:
    """下三角方程 ``a y = b``：``yᵢ = (bᵢ - Σⱼ﹤ᵢ aᵢⱼ yⱼ) / aᵢᵢ``。"""
    n = a.shape[-1]
    if n > _SMALL:
        half = n // 2
        top = forward_substitution(a[..., :half, :half], b[..., :half, :], unitriangular)
        rest = b[..., half:, :] - a[..., half:, :half] @ top
        return np.concatenate([top, forward_substitution(a[..., half:, half:], rest, unitriangular)], axis=-2)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*lead, *b.shape[-2:]), np.result_type(a, b))
    for i in range(n):
        row = b[..., i, :] - (a[..., i : i + 1, :i] @ y[..., :i, :])[..., 0, :]
        y[..., i, :] = row if unitriangular else row / a[..., i, i, None]
    return y


@op("y = det x", x=lambda g, x: g[..., None, None] * cofactor(x))
def det(x: Array) -> Any:
    """行列式；沿任一行展开可见 ``∂ det x / ∂xᵢⱼ`` 就是 ``(i, j)`` 的代数余子式。"""
    with np.errstate(all="ignore"):
        return np.linalg.det(x)


def _others(s: Any) -> Any:
    """``pᵢⱼ = Π sₖ``，``k`` 取遍 ``i``、``j`` 以外的下标：逐个乘上去，不做除法，有 0 也不怕。"""
    place = np.arange(s.shape[-1])
    product: Any = np.ones((), s.dtype if isinstance(s, np.ndarray) else s.array.dtype)
    for k in place.tolist():
        kept = (place != k)[:, None] & (place != k)
        product = product * where(kept, s[..., k, None, None], 1.0)
    return product


def _cofactor_vjp(g: Any, x: Any) -> Any:
    """取 ``x = U S Vᵀ``，在奇异向量的坐标里余子式是 ``det U · det V · Π sₖ`` 的导数，奇异的 ``x`` 也成立。

    在对角阵 ``S`` 处，对角元 ``Πₖ≠ᵢ sₖ`` 依赖别的对角元，非对角元 ``(i, j)`` 只依赖 ``(j, i)``，系数都是 ``pᵢⱼ``。
    奇异向量不是 ``x`` 的解析函数，所以复数不走这条路。
    """
    from tinygrad_llm.ops.decompositions import svd, unpack

    if getattr(x, "array", x).dtype.kind == "c":
        return _complex_cofactor_vjp(g, x)
    n = x.shape[-1]
    u, s, vh = unpack(svd(x), (n, n), (n,), (n, n))
    inner, diagonal = u.mT @ g @ vh.mT, np.eye(n, dtype=bool)
    rest = where(diagonal, 0.0, _others(s))
    along = total(where(diagonal, inner, 0.0), dim=(len(inner.shape) - 1,), keepdim=True)
    inner = where(diagonal, rest @ along, -(rest * inner.mT))
    return (det(u) * det(vh))[..., None, None] * (u @ inner @ vh)


def _complex_cofactor_vjp(g: Any, x: Any) -> Any:
    """``y = det(x) · x⁻ᵀ`` 两个因子各求各的导数；奇异的 ``x`` 得不到有限的值。"""
    y = inv(x, check=False).mT
    along = total(total(g * y, dim=(len(y.shape) - 1,), keepdim=True), dim=(len(y.shape) - 2,), keepdim=True)
    return det(x)[..., None, None] * (along * y - y @ g.mT @ y)


@op("y = 余子式矩阵", x=_cofactor_vjp)
def cofactor(x: Array) -> Any:
    """代数余子式矩阵 ``det(x) · x⁻ᵀ``；奇异时改由奇异值求得。"""
    d = np.linalg.det(x)
    singular = np.asarray(d == 0)
    if not singular.any():
        return d[..., None, None] * np.linalg.inv(x).mT
    y = np.empty_like(x, order="C")
    y[~singular] = d[~singular][..., None, None] * np.linalg.inv(x[~singular]).mT
    u, s, vh = np.linalg.svd(x[singular])
    sign = np.linalg.det(u) * np.linalg.det(vh)
    rest = np.stack([np.delete(s, k, axis=-1).prod(-1) for k in range(s.shape[-1])], axis=-1)
    y[singular] = (np.conj(u) * (sign[..., None] * rest)[..., None, :]) @ np.conj(vh)
    return y


@op("y = ln |det x|", x=lambda g, x: g[..., None, None] * inv(x, check=False).mT)
def logabsdet(x: Array) -> Any:
    """行列式绝对值的对数；``d ln|det x| = tr(x⁻¹ dx)``。"""
    with np.errstate(all="ignore"):
        return np.linalg.slogdet(x)[1]


def pinv_vjp(g: Any, x: Any, y: Any) -> Any:
    """Golub 与 Pereyra：秩不变时 ``dy = -y dx y + y yᵀ dxᵀ (I - x y) + (I - y x) dxᵀ yᵀ y``。"""
    h = g.mT
    inner = h @ y
    return -(y @ inner).mT + (h - x @ (y @ h)) @ y @ y.mT + y.mT @ (y @ (h - inner @ x))


@op("y = x⁺", x=pinv_vjp)
def pinv(x: Array, *, atol: Any, rtol: Any) -> Any:
    """伪逆；不大于 ``max(atol, rtol · 最大奇异值)`` 的奇异值当作 0。"""
    u, s, vh = lapack("pinv", lambda a: np.linalg.svd(a, full_matrices=False), x)
    if s.shape[-1] == 0:
        return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    cutoff = np.maximum(atol, rtol * s[..., 0])[..., None]
    with np.errstate(divide="ignore"):
        scale = np.where(s > cutoff, 1 / s, 0).astype(x.dtype)
    return (vh.mT * scale[..., None, :]) @ u.mT


_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
    670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
"""``eˣ`` 的 13 阶 Padé 近似的系数；``‖x‖₁`` 不超过 5.37 时误差小于 float64 的舍入。"""


def _pade(x: Array) -> Array:
    x2 = x @ x
    x4 = x2 @ x2
    x6, one = x2 @ x4, np.eye(x.shape[-1])
    b = _PADE
    odd = x @ (x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * one)
    even = x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2) + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * one
    solved: Array = np.linalg.solve(even - odd, even + odd)
    return solved


def _matrix_exp_vjp(g: Any, x: Any) -> Any:
    """``exp [[xᵀ, g], [0, xᵀ]]`` 的右上角正是导数的伴随作用在 ``g`` 上。"""
    n = x.shape[-1]
    top = cat(x.mT, g, dim=len(x.shape) - 1)
    bottom = cat(zeros(g), x.mT, dim=len(x.shape) - 1)
    block = matrix_exp(cat(top, bottom, dim=len(x.shape) - 2))
    return index(block, key=(..., slice(0, n), slice(n, None)))


@op("y = eˣ（矩阵）", x=_matrix_exp_vjp)
def matrix_exp(x: Array) -> Any:
    """矩阵指数：先除以 ``2ᵏ`` 缩小，用 Padé 近似，再平方 ``k`` 次；中间用 float64。"""
    if x.size == 0:
        return np.array(x)
    with np.errstate(all="ignore"):
        norm = np.abs(x).astype(np.float64).sum(-2).max(-1)
        finite = np.isfinite(norm)
        squarings = np.where(finite, np.maximum(np.ceil(np.log2(norm / 5.37)), 0), 0).astype(int)
        small = np.where(finite[..., None, None], x, 0) / np.exp2(squarings)[..., None, None]
        y = _pade(small)
        for done in range(int(squarings.max(initial=0))):
            y = np.where((squarings > done)[..., None, None], y @ y, y)
        return np.where(finite[..., None, None], y, np.nan).astype(x.dtype)
