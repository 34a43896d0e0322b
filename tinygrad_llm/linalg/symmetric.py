"""只读一个三角、导数却按整个矩阵写的函数：``eigh``、``cholesky`` 一族。

流入与流出：Tensor。torch 在这里的约定是：前向不看另一个三角，反向的公式却把矩阵当作对称的（或完整的）变量。
这样的导数不是前向那个函数的导数，不能登记成算子（那要经得起中心差分），所以写成 ``Function``。下一站：``spectrum.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import is_grad_enabled
from tinygrad_llm.autograd.function import Function
from tinygrad_llm.linalg.checks import identity_like, require_float, require_matrix, require_same, require_square, wrap
from tinygrad_llm.ops import decompositions, inverses
from tinygrad_llm.ops.decompositions import unpack
from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.inverses import LinAlgError, forward_substitution, lapack
from tinygrad_llm.return_types import named

Eigh = named("linalg_eigh", "eigenvalues", "eigenvectors")
CholeskyEx = named("linalg_cholesky_ex", "L", "info")


class _Mirrored(Function):
    """把一个三角翻到另一边；反向原样交回。"""

    @staticmethod
    def forward(ctx: Any, x: Any, upper: bool) -> Any:
        """值是对称阵。"""
        one = np.triu(x.array) if upper else np.tril(x.array)
        return wrap(np.where(np.eye(one.shape[-1], dtype=bool), one, one + one.mT))

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """``∂L/∂x = g``。"""
        return g, None


def mirrored(x: Any, upper: bool) -> Any:
    """只看 ``x`` 的一个三角得到的对称阵。"""
    return _Mirrored.apply(x, upper)


def eigh(input: Any, UPLO: str = "L") -> Any:
    """对称阵的特征值（从小到大）与特征向量（各列）。

    Raises:
        RuntimeError: 不是浮点方阵，或 ``UPLO`` 不是 ``"L"``、``"U"``。
    """
    require_square("linalg.eigh", input)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: UPLO must be 'L' or 'U', got {UPLO!r}")
    n = input.array.shape[-1]
    return Eigh(unpack(decompositions.eigh(mirrored(input, UPLO.upper() == "U")), (n,), (n, n)))


def eigvalsh(input: Any, UPLO: str = "L") -> Any:
    """对称阵的特征值，从小到大。"""
    if input.requires_grad and is_grad_enabled():
        return eigh(input, UPLO).eigenvalues
    require_square("linalg.eigvalsh", input)
    if not np.isfinite(input.array).all():
        return eigh(input, UPLO).eigenvalues
    return wrap(lapack("eigvalsh", np.linalg.eigvalsh, mirrored(input, UPLO.upper() == "U").array))


def cholesky(input: Any, *, upper: bool = False) -> Any:
    """正定阵的 Cholesky 因子：下三角 ``L``，``upper`` 时为 ``Lᵀ``。

    Raises:
        LinAlgError: 不正定。
    """
    require_square("linalg.cholesky", input)
    try:
        factor = decompositions.cholesky(mirrored(input, upper))
    except LinAlgError:
        info = decompositions.failing_minor(mirrored(input.detach(), upper).array)
        raise LinAlgError(
            f"linalg.cholesky: the input of shape {input.array.shape} is not positive-definite "
            f"(the leading minor of order {info[info > 0].flat[0]} is not positive-definite)"
        ) from None
    return factor.mT if upper else factor


def cholesky_ex(input: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """Cholesky 因子与 ``info``；不正定时不报错，因子是 NaN，``info`` 是第一个不正定的主子式的阶。

    Raises:
        LinAlgError: ``check_errors`` 为真而矩阵不正定。
    """
    require_square("linalg.cholesky_ex", input)
    try:
        return CholeskyEx((cholesky(input, upper=upper), wrap(np.zeros(input.array.shape[:-2], np.int32))))
    except LinAlgError:
        if check_errors:
            raise
    info = decompositions.failing_minor(mirrored(input.detach(), upper).array)
    bad = wrap(info[..., None, None] > 0)
    regular = where(bad, identity_like(input), input)
    return CholeskyEx((cholesky(regular, upper=upper).masked_fill(bad, np.nan), wrap(info)))


class _HermitianPinv(Function):
    """对称阵的伪逆，只看下三角。"""

    @staticmethod
    def forward(ctx: Any, x: Any, atol: Any, rtol: Any) -> Any:
        """先翻成对称阵。"""
        y = wrap(inverses.pinv(mirrored(x, False).array, atol=atol, rtol=rtol))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """与一般的伪逆同一条公式。"""
        x, y = ctx.saved_tensors
        return inverses.pinv_vjp(g, x, y), None, None


def hermitian_pinv(input: Any, *, atol: Any, rtol: Any) -> Any:
    """对称阵的伪逆。"""
    return _HermitianPinv.apply(input, atol, rtol)


class _CholeskySolve(Function):
    """由 ``L`` 解 ``L Lᵀ x = b``。"""

    @staticmethod
    def forward(ctx: Any, b: Any, factor: Any) -> Any:
        """先解 ``L``，再解 ``Lᵀ``。"""
        half = inverses.solve_triangular(factor.array, b.array, upper=False)
        x = wrap(inverses.solve_triangular(factor.array.mT, half, upper=True))
        ctx.save_for_backward(factor, x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """``A = L Lᵀ``，``∂L/∂A = -z xᵀ``（``A z = g``），``dA = dL Lᵀ + L dLᵀ``。"""
        factor, x = ctx.saved_tensors
        z = _CholeskySolve.apply(g, factor)
        outer = z @ x.mT
        return z, -(outer + outer.mT) @ factor


def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """由 Cholesky 因子解 ``A X = input``。

    Raises:
        RuntimeError: 形状或 dtype 不合。
    """
    name = "cholesky_solve"
    require_same(name, input, L)
    require_float(name, input)
    require_matrix(name, input)
    require_matrix(name, L, square=True)
    if L.array.shape[-1] != input.array.shape[-2]:
        raise RuntimeError(f"{name}: shapes {L.array.shape} and {input.array.shape} do not fit AX = B")
    return _CholeskySolve.apply(input, L.mT if upper else L)


class _CholeskyInverse(Function):
    """由 ``L`` 求 ``(L Lᵀ)⁻¹``。"""

    @staticmethod
    def forward(ctx: Any, factor: Any) -> Any:
        """``y = L⁻ᵀ L⁻¹``。"""
        with np.errstate(all="ignore"):
            half = forward_substitution(factor.array, np.eye(factor.array.shape[-1], dtype=factor.array.dtype), False)
        y = wrap(half.mT @ half)
        ctx.save_for_backward(factor, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """``dy = -y dA y``，``dA = dL Lᵀ + L dLᵀ``。"""
        factor, y = ctx.saved_tensors
        return -(y @ (g + g.mT) @ y @ factor)


def cholesky_inverse(input: Any, upper: bool = False) -> Any:
    """由 Cholesky 因子求逆矩阵。

    Raises:
        LinAlgError: 对角线上有 0。
    """
    require_square("cholesky_inverse", input)
    if (np.diagonal(input.array, axis1=-2, axis2=-1) == 0).any():
        raise LinAlgError(f"cholesky_inverse: the factor of shape {input.array.shape} has a zero on its diagonal")
    return _CholeskyInverse.apply(input.mT if upper else input)
