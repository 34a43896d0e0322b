"""多元正态分布：协方差、精度或 Cholesky 因子，给其中一个。

流入：均值与一个矩阵（都可带批次）；流出：分布。样本是 ``loc + L ε``，L 是协方差的 Cholesky 因子。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import empty
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.utils import lazy_property
from tinygrad_llm.joining import broadcast_shapes
from tinygrad_llm.linalg.solving import solve_triangular
from tinygrad_llm.linalg.symmetric import cholesky
from tinygrad_llm.ranges import eye
from tinygrad_llm.tensor import Tensor

_MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


def log_diagonal(factor: Tensor) -> Tensor:
    """三角阵行列式的对数。"""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def mahalanobis(factor: Tensor, away: Tensor) -> Tensor:
    """``|L⁻¹ x|²``。"""
    return solve_triangular(factor, away.unsqueeze(-1), upper=False).squeeze(-1).pow(2).sum(-1)


def _factor_of_inverse(precision: Tensor) -> Tensor:
    """精度矩阵之逆的 Cholesky 因子：倒着分解，再求逆，不必先求协方差。"""
    reverse = cholesky(precision.flip(-2, -1)).flip(-2, -1).mT
    return solve_triangular(reverse, eye(precision.shape[-1], dtype=precision.dtype), upper=False)


class MultivariateNormal(Distribution):
    """多元正态分布。

    Args:
        loc: ``(..., D)`` 均值。
        covariance_matrix: ``(..., D, D)`` 协方差；三个矩阵恰给一个。
        precision_matrix: 协方差的逆。
        scale_tril: 协方差的下三角因子，对角线为正。
        validate_args: 是否检查参数与样本。

    Raises:
        ValueError: 矩阵给得不是恰好一个，或轴数不够。
    """

    arg_constraints = parameters(
        loc=constraints.real_vector,
        covariance_matrix=constraints.positive_definite,
        precision_matrix=constraints.positive_definite,
        scale_tril=constraints.lower_cholesky,
    )
    support = constraints.real_vector
    has_rsample = True
    _not_expanded = ("_unbroadcasted_scale_tril",)

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = dict(zip(_MATRICES, (covariance_matrix, precision_matrix, scale_tril), strict=True))
        (name, matrix), *more = [(name, one) for name, one in given.items() if one is not None] or [("", loc)]
        if more or not name:
            raise ValueError(f"Exactly one of {' or '.join(_MATRICES)} may be specified.")
        if matrix.ndim < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.__dict__[name] = matrix.expand(*batch, -1, -1)
        self.loc = loc.expand(*batch, -1)
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        if name != "scale_tril":
            matrix = cholesky(matrix) if name == "covariance_matrix" else _factor_of_inverse(matrix)
        self._unbroadcasted_scale_tril = matrix

    def _whole(self, matrix: Tensor) -> Tensor:
        return matrix.expand(*self._batch_shape, *self._event_shape, *self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """协方差的下三角因子。"""
        return self._whole(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """协方差。"""
        return self._whole(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """精度矩阵。"""
        return self._whole(self._unbroadcasted_scale_tril.cholesky_inverse())

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """各分量的方差。"""
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(*self._batch_shape, *self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """``loc + L ε``，ε 是标准正态数。"""
        drawn = empty(self._extended_shape(sample_shape), dtype=self.loc.dtype).normal_()
        return self.loc + (self._unbroadcasted_scale_tril @ drawn.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        factor = self._unbroadcasted_scale_tril
        distance = mahalanobis(factor, self._checked(value) - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - log_diagonal(factor)

    def entropy(self) -> Tensor:
        """熵。"""
        found = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (found + log_diagonal(self._unbroadcasted_scale_tril)).expand(self._batch_shape)


__getattr__ = attributes(__name__)
