"""正交的参数化：权重是正交阵（或列正交），由一个没有约束的矩阵映射而来。

流入：没有约束的 ``(..., n, k)``；流出：``n ≥ k`` 时各列两两正交的单位向量，否则各行如此。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.creation import zeros_like
from tinygrad_llm.joining import cat
from tinygrad_llm.linalg import householder_product, matrix_exp, solve
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.utils.parametrize import register_parametrization
from tinygrad_llm.promotion import finfo
from tinygrad_llm.ranges import eye
from tinygrad_llm.sampling import randn
from tinygrad_llm.tensor import Tensor

MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """``Q = B · f(X)``：``f`` 把矩阵映成正交阵；``B`` 是赋值时的那个正交阵，``X`` 从 ``f(X) = 1`` 出发。"""

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Any:
        wide = X.shape[-2] < X.shape[-1]
        x = X.mT if wide else X
        q = _reflected(x) if self.orthogonal_map == "householder" else _rotated(x, self.orthogonal_map)
        q = self.base @ q if hasattr(self, "base") else q
        return q.mT if wide else q

    @no_grad
    def right_inverse(self, Q: Tensor) -> Any:
        if Q.shape != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got shape {Q.shape}.")
        wide = Q.shape[-2] < Q.shape[-1]
        q = Q.mT if wide else Q
        if hasattr(self, "base"):
            self.base = _completed(q)
            start = zeros_like(Q)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)  # 各种映射都把它映成单位阵
            return start
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                "use_trivialization=False."
            )
        a, tau = q.geqrf()
        a = a.clone()
        diagonal = a.diagonal(dim1=-2, dim2=-1)
        diagonal.copy_(diagonal.sign() * (1.0 - 2.0 * (tau == 0.0).to(q.dtype)))
        return a.mT if wide else a


def _rotated(x: Tensor, kind: str) -> Any:
    """反对称阵的指数，或它的凯莱变换；列不够时补 0 凑成方阵。"""
    n, k = x.shape[-2:]
    lower = x.tril()
    if n != k:
        lower = cat([lower, lower.new_zeros(*x.shape[:-2], n, n - k)], dim=-1)
    a = lower - lower.mT
    if kind == "matrix_exp":
        return matrix_exp(a)[..., :k]
    one = eye(n, dtype=a.dtype)
    return solve(one - 0.5 * a, one + 0.5 * a)[..., :k]


def _reflected(x: Tensor) -> Any:
    """豪斯霍尔德反射的乘积；符号在对角线上。"""
    a = x.tril(-1)
    tau = 2.0 / (1.0 + (a * a).sum(dim=-2))
    signs = x.detach().diagonal(dim1=-2, dim2=-1).int().to(x.dtype).unsqueeze(-2)
    return householder_product(a, tau) * signs


def _completed(q: Tensor) -> Any:
    """由 ``q`` 的列扩充成的正交方阵；已经是正交方阵就复制一份。"""
    n, k = q.shape[-2:]
    if n == k and _is_orthogonal(q):
        return q.clone()
    if n != k:
        q = cat([q, randn(*q.shape[:-2], n, n - k, dtype=q.dtype)], dim=-1)
    x, tau = q.geqrf()
    return householder_product(x, tau) * x.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _is_orthogonal(q: Tensor) -> bool:
    n, k = q.shape[-2:]
    limit = 10.0 * n * finfo(q.dtype).eps
    return bool(((q.mT @ q - eye(k, dtype=q.dtype)).abs() <= limit + 1e-5 * eye(k, dtype=q.dtype)).all())


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """让权重是正交阵（或列正交、行正交）。

    Args:
        module: Module。
        name: 权重的名字。
        orthogonal_map: ``"matrix_exp"``、``"cayley"`` 或 ``"householder"``；缺省方阵用第一个，别的用最后一个。
        use_trivialization: 以现在的正交阵为起点，赋值因此总是可以的。

    Returns:
        ``module``。

    Raises:
        ValueError: 没有这个名字，不足二维，或映射不认识。
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    square = weight.shape[-2] == weight.shape[-1]
    kind = orthogonal_map or ("matrix_exp" if square else "householder")
    if kind not in MAPS:
        raise ValueError(f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {kind}')
    step = _Orthogonal(weight, kind, use_trivialization=use_trivialization)
    return register_parametrization(module, name, step, unsafe=True)
