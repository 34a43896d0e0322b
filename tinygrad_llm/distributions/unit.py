"""取值在 0 与 1 之间、由别的分布变换得来的：LogisticNormal 与 Kumaraswamy。

流入：参数；流出：``TransformedDistribution``，另给出有式子的矩与熵。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import full_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.continuous import Normal, Uniform
from tinygrad_llm.distributions.distribution import parameters
from tinygrad_llm.distributions.transformed_distribution import TransformedDistribution
from tinygrad_llm.distributions.transforms import AffineTransform, PowerTransform
from tinygrad_llm.distributions.utils import broadcast_all, euler_constant
from tinygrad_llm.distributions.vector_transforms import StickBreakingTransform
from tinygrad_llm.tensor import Tensor


class LogisticNormal(TransformedDistribution):
    """K-1 个正态数折棍而成的 K 个概率。"""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.simplex

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args)
        super().__init__(base if base.batch_shape else base.expand([1]), StickBreakingTransform(), validate_args)

    @property
    def loc(self) -> Tensor:
        """正态数的均值。"""
        return self.base_dist.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """正态数的标准差。"""
        return self.base_dist.base_dist.scale


class Kumaraswamy(TransformedDistribution):
    """Kumaraswamy 分布：与贝塔相近，分布函数有初等的式子。"""

    arg_constraints = parameters(concentration1=constraints.positive, concentration0=constraints.positive)
    support = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        base = Uniform(full_like(self.concentration0, 0), full_like(self.concentration0, 1), validate_args)
        first, last = (PowerTransform(a.reciprocal()) for a in (self.concentration0, self.concentration1))
        super().__init__(base, [first, AffineTransform(1.0, -1.0), last], validate_args)

    def _moment(self, order: int) -> Tensor:
        a, b = 1 + order / self.concentration1, self.concentration0
        return b * (a.lgamma() + b.lgamma() - (a + b).lgamma()).exp()

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """众数；参数有小于 1 的则没有。"""
        a, b = self.concentration1, self.concentration0
        log_mode = b.reciprocal() * (-b).log1p() - (-b * a).log1p()
        return log_mode.masked_fill((b < 1) | (a < 1), math.nan).exp()

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self._moment(2) - self.mean.pow(2)

    def entropy(self) -> Tensor:
        """熵。"""
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + euler_constant
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()


__getattr__ = attributes(__name__)
