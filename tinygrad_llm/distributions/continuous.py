"""一维的连续分布：正态、均匀、Laplace、Cauchy 与指数。

流入：位置与尺度（数或 Tensor，可广播）；流出：分布。样本由标准的随机数平移、缩放而来，可对参数求导。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.creation import empty, full_like, zeros_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.utils import broadcast_all
from tinygrad_llm.promotion import finfo
from tinygrad_llm.sampling import normal, rand
from tinygrad_llm.tensor import Tensor


class _LocationScale(Distribution):
    """由位置与尺度决定的分布，取遍全部实数。"""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.loc

    def _standard(self, value: Any) -> Tensor:
        return (self._checked(value) - self.loc) / self.scale

    def _empty(self, sample_shape: Any) -> Tensor:
        return empty(self._extended_shape(sample_shape), dtype=self.loc.dtype)


class Normal(_LocationScale):
    """正态分布，均值 ``loc``，标准差 ``scale``。"""

    @property
    def stddev(self) -> Tensor:
        """标准差。"""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.scale.pow(2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """``loc + scale · ε``，ε 是标准正态数。"""
        return self.loc + self._empty(sample_shape).normal_() * self.scale

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        away = self._checked(value) - self.loc
        return -(away**2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return 0.5 * (1 + (self._standard(value) / math.sqrt(2)).erf())

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        """熵。"""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


class Laplace(_LocationScale):
    """Laplace 分布：密度向两边指数衰减。"""

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return 2 * self.scale.pow(2)

    @property
    def stddev(self) -> Tensor:
        """标准差。"""
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        u = self._empty(sample_shape).uniform_(finfo(self.loc.dtype).eps - 1, 1)
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        return -(2 * self.scale).log() - self._standard(value).abs()

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        z = self._standard(value)
        return 0.5 - 0.5 * z.sign() * (-z.abs()).expm1()

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Tensor:
        """熵。"""
        return 1 + (2 * self.scale).log()


class Cauchy(_LocationScale):
    """Cauchy 分布：没有均值，方差无穷。"""

    @property
    def mean(self) -> Tensor:
        """没有均值，NaN。"""
        return full_like(self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        """无穷。"""
        return full_like(self.loc, math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        return self.loc + self._empty(sample_shape).cauchy_() * self.scale

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        return -math.log(math.pi) - self.scale.log() - (self._standard(value) ** 2).log1p()

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return self._standard(value).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        """熵。"""
        return math.log(4 * math.pi) + self.scale.log()


class Uniform(Distribution):
    """``[low, high)`` 上的均匀分布。"""

    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.size(), validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """下界小于上界。"""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    @constraints.dependent_property
    def support(self) -> Constraint:
        """区间。"""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """处处一样大，NaN。"""
        return math.nan * self.high

    @property
    def stddev(self) -> Tensor:
        """标准差。"""
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return (self.high - self.low).pow(2) / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        drawn = rand(self._extended_shape(sample_shape), dtype=self.low.dtype)
        return self.low + drawn * (self.high - self.low)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度；区间之外是 ``-inf``。"""
        inside = (self.low <= self._checked(value)) & (self.high > value)
        return inside.type_as(self.low).log() - (self.high - self.low).log()

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return ((self._checked(value) - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """熵。"""
        return (self.high - self.low).log()


class Exponential(Distribution):
    """指数分布，速率 ``rate``。"""

    arg_constraints = parameters(rate=constraints.positive)
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """众数，0。"""
        return zeros_like(self.rate)

    @property
    def stddev(self) -> Tensor:
        """标准差。"""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        return empty(self._extended_shape(sample_shape), dtype=self.rate.dtype).exponential_() / self.rate

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        return self.rate.log() - self.rate * self._checked(value)

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return 1 - (-self.rate * self._checked(value)).exp()

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Tensor:
        """熵。"""
        return 1 - self.rate.log()


__getattr__ = attributes(__name__)
