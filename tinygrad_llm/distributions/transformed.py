"""由别的分布变换得来的一维分布：对数正态、半正态、半 Cauchy、Gumbel、Weibull、Pareto 等。

流入：参数；流出：``TransformedDistribution``，另给出矩、熵等有式子的量。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import full_like, ones_like, zeros_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.continuous import Cauchy, Exponential, Normal, Uniform
from tinygrad_llm.distributions.distribution import parameters
from tinygrad_llm.distributions.gammas import Gamma
from tinygrad_llm.distributions.transformed_distribution import TransformedDistribution
from tinygrad_llm.distributions.transforms import AbsTransform, AffineTransform, ExpTransform, PowerTransform
from tinygrad_llm.distributions.utils import broadcast_all, euler_constant
from tinygrad_llm.joining import where
from tinygrad_llm.promotion import finfo
from tinygrad_llm.tensor import Tensor

_LOC_SCALE = parameters(loc=constraints.real, scale=constraints.positive)


class LogNormal(TransformedDistribution):
    """对数正态分布：``exp`` 之前是 ``Normal(loc, scale)``。"""

    arg_constraints = _LOC_SCALE
    support = constraints.positive

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args), ExpTransform(), validate_args)

    @property
    def loc(self) -> Tensor:
        """取对数之后的均值。"""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """取对数之后的标准差。"""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return (self.loc + self.scale.pow(2) / 2).exp()

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """方差。"""
        spread = self.scale.pow(2)
        return spread.expm1() * (2 * self.loc + spread).exp()

    def entropy(self) -> Tensor:
        """熵。"""
        return self.base_dist.entropy() + self.loc


class _Half(TransformedDistribution):
    """以 0 为中心的对称分布取绝对值。"""

    arg_constraints = parameters(scale=constraints.positive)
    support = constraints.nonnegative

    @property
    def scale(self) -> Tensor:
        """尺度。"""
        return self.base_dist.scale

    @property
    def mode(self) -> Tensor:
        """众数，0。"""
        return zeros_like(self.scale)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        at = self._checked(value)
        return (self.base_dist.log_prob(at) + math.log(2)).masked_fill(at < 0, -math.inf)

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return 2 * self.base_dist.cdf(self._checked(value)) - 1

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        """熵。"""
        return self.base_dist.entropy() - math.log(2)


class HalfNormal(_Half):
    """半正态分布：``|Normal(0, scale)|``。"""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), AbsTransform(), validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.scale.pow(2) * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """半 Cauchy 分布：``|Cauchy(0, scale)|``，均值与方差无穷。"""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args)

    @property
    def mean(self) -> Tensor:
        """无穷。"""
        return full_like(self.scale, math.inf)

    @property
    def variance(self) -> Tensor:
        """无穷。"""
        return full_like(self.scale, math.inf)


class Gumbel(TransformedDistribution):
    """Gumbel 分布：``loc - scale · ln(-ln u)``，u 均匀。"""

    arg_constraints = _LOC_SCALE
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        limits = finfo(self.loc.dtype)
        low, high = full_like(self.loc, limits.tiny), full_like(self.loc, 1 - limits.eps)
        minus_log = [ExpTransform().inv, AffineTransform(0, -ones_like(self.scale))]
        steps = [*minus_log, ExpTransform().inv, AffineTransform(self.loc, -self.scale)]
        super().__init__(Uniform(low, high, validate_args), steps, validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """标准差。"""
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.stddev.pow(2)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        z = (self.loc - self._checked(value)) / self.scale
        return z - z.exp() - self.scale.log()

    def entropy(self) -> Tensor:
        """熵。"""
        return self.scale.log() + (1 + euler_constant)


class Weibull(TransformedDistribution):
    """Weibull 分布：指数分布的幂，再缩放。"""

    arg_constraints = parameters(scale=constraints.positive, concentration=constraints.positive)
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(ones_like(self.scale), validate_args)
        steps = [PowerTransform(self.concentration_reciprocal), AffineTransform(0, self.scale)]
        super().__init__(base, steps, validate_args)

    def _moment(self, order: int) -> Tensor:
        return (1 + order * self.concentration_reciprocal).lgamma().exp()

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.scale * self._moment(1)

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.scale * ((self.concentration - 1) / self.concentration) ** self.concentration_reciprocal

    @property
    def variance(self) -> Tensor:
        """方差。"""
        squared = (2 * (1 + self.concentration_reciprocal).lgamma()).exp()
        return self.scale.pow(2) * (self._moment(2) - squared)

    def entropy(self) -> Tensor:
        """熵。"""
        return (
            euler_constant * (1 - self.concentration_reciprocal)
            + (self.scale * self.concentration_reciprocal).log()
            + 1
        )


class Pareto(TransformedDistribution):
    """Pareto 分布：不小于 ``scale``，尾部是 ``alpha`` 次幂。"""

    arg_constraints = parameters(alpha=constraints.positive, scale=constraints.positive)

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args)
        super().__init__(base, [ExpTransform(), AffineTransform(0, self.scale)], validate_args)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """不小于 ``scale``。"""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        """均值；``alpha`` 不大于 1 时无穷。"""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """方差；``alpha`` 不大于 2 时无穷。"""
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def entropy(self) -> Tensor:
        """熵。"""
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())


class InverseGamma(TransformedDistribution):
    """逆伽马分布：伽马数的倒数。"""

    arg_constraints = parameters(concentration=constraints.positive, rate=constraints.positive)
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, PowerTransform(-base.rate.new_ones(())), validate_args)

    @property
    def concentration(self) -> Tensor:
        """形状。"""
        return self.base_dist.concentration

    @property
    def rate(self) -> Tensor:
        """速率。"""
        return self.base_dist.rate

    @property
    def mean(self) -> Tensor:
        """均值；形状不大于 1 时无穷。"""
        return where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        """方差；形状不大于 2 时无穷。"""
        shape = self.concentration
        return where(shape > 2, self.rate.square() / ((shape - 1).square() * (shape - 2)), math.inf)

    def entropy(self) -> Tensor:
        """熵。"""
        shape = self.concentration
        return shape + self.rate.log() + shape.lgamma() - (1 + shape) * shape.digamma()


__getattr__ = attributes(__name__)
