"""Tensor 的矩阵与向量运算。

流入：Tensor；流出：Tensor，或几个有名字的结果。乘积写在这里；分解与解方程在 ``linalg/``，这里只给出方法。
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from tinygrad_llm.linalg.checks import require_same
from tinygrad_llm.methods.arithmetic import match
from tinygrad_llm.methods.old_order import numbers_first
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.return_types import named

_QR, _SlogDet = named("qr", "Q", "R"), named("slogdet", "sign", "logabsdet")


def _require(name: str, tensors: tuple[Any, ...], dims: tuple[int, ...], *, any_dtype: bool = False) -> None:
    """轴数逐个相符，dtype 相同且不是布尔。

    Raises:
        RuntimeError: 轴数不符、dtype 不同，或是布尔。
    """
    shapes = [t.array.shape for t in tensors]
    if any(len(shape) != n for shape, n in zip(shapes, dims, strict=True)):
        raise RuntimeError(f"{name}: expected tensors of {dims} dimensions, got shapes {shapes}")
    if any_dtype:
        return
    require_same(name, *tensors)
    if tensors[0].array.dtype.kind == "b":
        raise RuntimeError(f"{name}: not implemented for bool tensors (shapes {shapes})")


def _scaled(x: Any, factor: Any) -> Any:
    """``factor · x``；整数张量只认系数的整数部分，与 torch 一致。"""
    if factor == 1:
        return x
    return x * (factor if x.array.dtype.kind in "fc" else int(factor))


def _plus_product(name: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """``β · input + α · product``；系数为 0 的一项不看，它的 NaN 也不会传出来。

    Raises:
        RuntimeError: ``input`` 不能广播成乘积的形状，或 dtype 不同。
    """
    require_same(name, input, product)
    shape, have = product.array.shape, input.array.shape
    if len(have) > len(shape) or any(n not in (1, m) for n, m in zip(have[::-1], shape[::-1], strict=False)):
        raise RuntimeError(f"{name}: input of shape {have} does not broadcast to the product of shape {shape}")
    if alpha == 0:
        product = ew.masked_fill(product, True, value=0)
    if beta == 0:
        return _scaled(product, alpha)
    return _scaled(product, alpha) + _scaled(input, beta)  # 内存次序随乘积


class _InPlaceProducts:
    """就地的乘加；torch 里没有同名函数，所以不随 ``LinearAlgebra`` 变成函数。"""

    array: Any
    addmm: Any
    addmv: Any
    addr: Any
    addbmm: Any
    baddbmm: Any
    _put: Any

    @numbers_first("beta", "alpha", operands=2)
    def addmm_(self, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``self = β · self + α · mat1 mat2``。"""
        return self._put(self.addmm(mat1, mat2, beta=beta, alpha=alpha))

    @numbers_first("beta", "alpha", operands=2)
    def addmv_(self, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``self = β · self + α · mat vec``。"""
        return self._put(self.addmv(mat, vec, beta=beta, alpha=alpha))

    @numbers_first("beta", "alpha", operands=2)
    def addr_(self, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``self = β · self + α · vec1 vec2ᵀ``。"""
        return self._put(self.addr(vec1, vec2, beta=beta, alpha=alpha))

    @numbers_first("beta", "alpha", operands=2)
    def addbmm_(self, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``self = β · self + α · Σ batch1ᵢ batch2ᵢ``。"""
        return self._put(self.addbmm(batch1, batch2, beta=beta, alpha=alpha))

    @numbers_first("beta", "alpha", operands=2)
    def baddbmm_(self, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``self = β · self + α · batch1 batch2``（逐批）。"""
        return self._put(self.baddbmm(batch1, batch2, beta=beta, alpha=alpha))


def _linalg(part: str) -> Any:
    """``linalg/`` 里的一个文件，用到才加载。"""
    return importlib.import_module(f"tinygrad_llm.linalg.{part}")


class LinearAlgebra(_InPlaceProducts):
    """矩阵与向量运算的方法。"""

    diagonal: Any
    unsqueeze: Any

    def mm(self, mat2: Any) -> Any:
        """两个矩阵之积。

        Raises:
            RuntimeError: 不是二维、形状不合或 dtype 不同。
        """
        x: Any = self
        _require("mm", (x, mat2), (2, 2))
        return x @ mat2

    def bmm(self, mat2: Any) -> Any:
        """两批矩阵逐个相乘，批的大小必须相同。

        Raises:
            RuntimeError: 不是三维、形状不合或 dtype 不同。
        """
        x: Any = self
        _require("bmm", (x, mat2), (3, 3))
        if x.array.shape[0] != mat2.array.shape[0]:
            raise RuntimeError(f"bmm: batches differ, got shapes {x.array.shape} and {mat2.array.shape}")
        return x @ mat2

    def mv(self, vec: Any) -> Any:
        """矩阵乘向量。

        Raises:
            RuntimeError: 轴数或形状不合，或 dtype 不同。
        """
        x: Any = self
        _require("mv", (x, vec), (2, 1))
        return x @ vec

    def dot(self, tensor: Any) -> Any:
        """两个向量的点积。

        Raises:
            RuntimeError: 不是一维、长度不等或 dtype 不同。
        """
        x: Any = self
        _require("dot", (x, tensor), (1, 1))
        return x @ tensor

    def vdot(self, other: Any) -> Any:
        """两个向量的内积：自己先取共轭。"""
        x: Any = self
        return x.conj().dot(other)

    def inner(self, other: Any) -> Any:
        """最后一轴上的点积；有一个是标量时就是相乘。

        Raises:
            RuntimeError: 最后一轴长度不等，或 dtype 不同。
        """
        x: Any = self
        if x.array.ndim == 0 or other.array.ndim == 0:
            return x * other
        require_same("inner", x, other)
        if x.array.shape[-1] != other.array.shape[-1]:
            raise RuntimeError(f"inner: last dimensions differ, got shapes {x.array.shape} and {other.array.shape}")
        (*left, width), (*right, _) = x.array.shape, other.array.shape
        rows, columns = x.reshape(math.prod(left), width), other.reshape(math.prod(right), width)
        return (rows @ columns.t()).reshape(*left, *right)

    def outer(self, vec2: Any) -> Any:
        """外积。

        Raises:
            RuntimeError: 不是一维。
        """
        _require("outer", (self, vec2), (1, 1), any_dtype=True)
        return self.unsqueeze(1) * vec2.unsqueeze(0)

    def ger(self, vec2: Any) -> Any:
        """外积，同 ``outer``。"""
        return self.outer(vec2)

    @numbers_first("beta", "alpha", operands=2)
    def addmm(self, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``β · self + α · mat1 mat2``。"""
        return _plus_product("addmm", self, mat1.mm(mat2), beta, alpha)

    @numbers_first("beta", "alpha", operands=2)
    def addmv(self, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``β · self + α · mat vec``。"""
        return _plus_product("addmv", self, mat.mv(vec), beta, alpha)

    @numbers_first("beta", "alpha", operands=2)
    def addr(self, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``β · self + α · vec1 vec2ᵀ``，dtype 按普通运算的规则统一。

        Raises:
            RuntimeError: 整数张量配浮点系数，或形状不合。
        """
        product = vec1.outer(vec2)
        x, product = match(self, product) or (self, product)
        if x.array.dtype.kind not in "fc" and (isinstance(alpha, float) or isinstance(beta, float)):
            raise RuntimeError(f"addr: integral tensors need integral alpha and beta, got {alpha} and {beta}")
        return _plus_product("addr", x, product, beta, alpha)

    @numbers_first("beta", "alpha", operands=2)
    def addbmm(self, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``β · self + α · Σ batch1ᵢ batch2ᵢ``：把批并进被求和的轴，只是一次矩阵乘法。"""
        _require("addbmm", (batch1, batch2), (3, 3))
        (b, n, k), (c, k2, m) = batch1.array.shape, batch2.array.shape
        if b != c or k != k2:
            raise RuntimeError(f"addbmm: shapes {batch1.array.shape} and {batch2.array.shape} cannot be multiplied")
        product = batch1.permute(1, 0, 2).reshape(n, b * k) @ batch2.reshape(b * k, m)
        return _plus_product("addbmm", self, product, beta, alpha)

    @numbers_first("beta", "alpha", operands=2)
    def baddbmm(self, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """``β · self + α · batch1 batch2``（逐批）。"""
        return _plus_product("baddbmm", self, batch1.bmm(batch2), beta, alpha)

    def trace(self) -> Any:
        """主对角线之和。

        Raises:
            RuntimeError: 不是二维，或是布尔。
        """
        _require("trace", (self,), (2,))
        return self.diagonal().sum()

    def kron(self, other: Any) -> Any:
        """Kronecker 积：``self`` 的每个元素换成它与 ``other`` 之积；轴数不同时前面补长度 1。"""
        a, b = (t.array.shape for t in (self, other))
        n = max(len(a), len(b))
        a, b = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
        x: Any = self
        left = x.reshape(tuple(m for length in a for m in (length, 1)))
        right = other.reshape(tuple(m for length in b for m in (1, length)))
        return (left * right).reshape(tuple(p * q for p, q in zip(a, b, strict=True)))

    def cross(self, other: Any, dim: int | None = None) -> Any:
        """叉积；不给 ``dim`` 则取第一根长度为 3 的轴。"""
        return _linalg("products").old_cross(self, other, dim)

    def inverse(self) -> Any:
        """逆矩阵。"""
        return _linalg("solving").inv(self)

    def det(self) -> Any:
        """行列式。"""
        return _linalg("solving").det(self)

    def logdet(self) -> Any:
        """行列式的对数；行列式为负时是 NaN。"""
        return _linalg("solving").logdet(self)

    def slogdet(self) -> Any:
        """行列式的符号与绝对值的对数。"""
        return _SlogDet(_linalg("solving").slogdet(self))

    def matrix_power(self, n: int) -> Any:
        """矩阵的整数次幂。"""
        return _linalg("solving").matrix_power(self, n)

    def matrix_exp(self) -> Any:
        """矩阵指数。"""
        return _linalg("solving").matrix_exp(self)

    def triangular_solve(self, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
        """解三角方程 ``A X = self``，连同 ``A`` 的一份拷贝返回。"""
        return _linalg("solving").triangular_solve(self, A, upper, transpose, unitriangular)

    def cholesky(self, upper: bool = False) -> Any:
        """Cholesky 因子。"""
        return _linalg("symmetric").cholesky(self, upper=upper)

    def cholesky_solve(self, input2: Any, upper: bool = False) -> Any:
        """由 Cholesky 因子 ``input2`` 解 ``A X = self``。"""
        return _linalg("symmetric").cholesky_solve(self, input2, upper)

    def cholesky_inverse(self, upper: bool = False) -> Any:
        """由 Cholesky 因子求逆矩阵。"""
        return _linalg("symmetric").cholesky_inverse(self, upper)

    def qr(self, some: bool = True) -> Any:
        """QR 分解；``some`` 为假时 ``Q`` 是方阵。"""
        return _QR(_linalg("factoring").qr(self, "reduced" if some else "complete"))

    def geqrf(self) -> Any:
        """QR 的紧凑形式。"""
        return _linalg("factoring").geqrf(self)

    def orgqr(self, input2: Any) -> Any:
        """若干 Householder 反射之积的前几列。"""
        return _linalg("factoring").householder_product(self, input2)

    def ormqr(self, input2: Any, input3: Any, left: bool = True, transpose: bool = False) -> Any:
        """``Q`` 乘 ``input3``，``Q`` 由 ``self`` 与 ``input2`` 里的 Householder 反射给出。"""
        return _linalg("factoring").ormqr(self, input2, input3, left, transpose)

    def lu(self, pivot: bool = True, get_infos: bool = False) -> Any:
        """LU 分解的紧凑形式与换行；``get_infos`` 时再加上 ``info``。"""
        found = _linalg("factoring").lu_factor_ex(self, pivot=pivot)
        return _linalg("factoring").LUWithInfo(found) if get_infos else tuple(found[:2])

    def lu_solve(self, LU_data: Any, LU_pivots: Any) -> Any:
        """由 LU 分解解 ``A X = self``。"""
        return _linalg("factoring").lu_solve(LU_data, LU_pivots, self)

    def svd(self, some: bool = True, compute_uv: bool = True) -> Any:
        """奇异值分解，第三项是 ``V``。"""
        return _linalg("spectrum").old_svd(self, some, compute_uv)

    def pinverse(self, rcond: float = 1e-15) -> Any:
        """伪逆。"""
        return _linalg("spectrum").pinv(self, rcond)
