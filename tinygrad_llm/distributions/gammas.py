"""伽马一族：伽马、卡方、贝塔、Dirichlet、Student t 与 F 分布。

流入：形状参数与速率；流出：分布。样本逐个拒绝抽样得来，对形状参数的导数见 ``implicit.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import is_grad_enabled
from tinygrad_llm.creation import as_tensor, empty, tensor
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.implicit import dirichlet_gradient, gamma_gradient
from tinygrad_llm.distributions.utils import broadcast_all
from tinygrad_llm.joining import stack, where
from tinygrad_llm.nn.lookups import one_hot
from tinygrad_llm.ops.op import Array
from tinygrad_llm.promotion import finfo
from tinygrad_llm.sampling import standard_gamma
from tinygrad_llm.tensor import Tensor


def _slope(parameter: Tensor, gradient: Array) -> Tensor:
    """值为 0、对 ``parameter`` 的导数为 ``gradient`` 的项：加到样本上，样本不变而有了导数。"""
    return (parameter - parameter.detach()) * Tensor.wrap(gradient.astype(parameter.array.dtype))


def _wants_gradient(parameter: Tensor) -> bool:
    return bool(parameter.requires_grad) and is_grad_enabled()


def _double(x: Tensor) -> Array:
    return np.asarray(x.array, np.float64)


def gamma_sample(concentration: Tensor) -> Tensor:
    """可求导的标准伽马样本。"""
    drawn = standard_gamma(concentration)
    if not _wants_gradient(concentration):
        return drawn
    return drawn + _slope(concentration, gamma_gradient(_double(concentration), _double(drawn)))


def dirichlet_sample(concentration: Tensor) -> Tensor:
    """可求导的 Dirichlet 样本：几个伽马数除以它们的和。"""
    gammas = standard_gamma(concentration.double()).array
    limits, kind = finfo(concentration.dtype), concentration.array.dtype
    shares = (gammas / gammas.sum(-1, keepdims=True)).astype(kind)
    largest = float(np.nextafter(kind.type(1), kind.type(0)))
    drawn = Tensor.wrap(shares).clamp(limits.tiny, largest)
    if not _wants_gradient(concentration):
        return drawn
    alpha = _double(concentration)
    own = _slope(concentration, dirichlet_gradient(_double(drawn), alpha, alpha.sum(-1, keepdims=True)))
    return drawn + own - drawn * own.sum(-1, True)


class Gamma(Distribution):
    """伽马分布，形状 ``concentration``，速率 ``rate``。"""

    arg_constraints = parameters(concentration=constraints.positive, rate=constraints.positive)
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        shape = self._extended_shape(sample_shape)
        value = gamma_sample(self.concentration.expand(shape)) / self.rate.expand(shape)
        value.detach().clamp_(min=finfo(value.dtype).tiny)  # 只改值，不动图：样本不许是 0
        return value

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        at = self._checked(as_tensor(value, dtype=self.rate.dtype))
        shape, rate = self.concentration, self.rate
        return shape.xlogy(rate) + (shape - 1).xlogy(at) - rate * at - shape.lgamma()

    def entropy(self) -> Tensor:
        """熵。"""
        shape = self.concentration
        return shape - self.rate.log() + shape.lgamma() + (1.0 - shape) * shape.digamma()

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return self.concentration.igamma(self.rate * self._checked(value))


class Chi2(Gamma):
    """自由度为 ``df`` 的卡方分布。"""

    arg_constraints = parameters(df=constraints.positive)

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    @property
    def df(self) -> Tensor:
        """自由度。"""
        return self.concentration * 2


class Dirichlet(Distribution):
    """Dirichlet 分布：样本是一组和为 1 的概率。"""

    arg_constraints = parameters(concentration=constraints.independent(constraints.positive, 1))
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Tensor:
        """众数；参数全小于 1 时取第一个角。"""
        above = (self.concentration - 1).clamp(min=0.0)
        inside = above / above.sum(-1, True)
        corner = one_hot(inside.argmax(-1), above.shape[-1]).to(above.dtype)
        return where((self.concentration < 1).all(-1, keepdim=True), corner, inside)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        return dirichlet_sample(self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        alpha, at = self.concentration, self._checked(value)
        return (alpha - 1.0).xlogy(at).sum(-1) + alpha.sum(-1).lgamma() - alpha.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        """熵。"""
        alpha, total, count = self.concentration, self.concentration.sum(-1), self.concentration.shape[-1]
        inner = ((alpha - 1.0) * alpha.digamma()).sum(-1)
        return alpha.lgamma().sum(-1) - total.lgamma() - (count - total) * total.digamma() - inner


class Beta(Distribution):
    """贝塔分布：``[0, 1]`` 上的概率，两个分量的 Dirichlet。"""

    arg_constraints = parameters(concentration1=constraints.positive, concentration0=constraints.positive)
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        if isinstance(concentration1, Tensor) or isinstance(concentration0, Tensor):
            both = stack(broadcast_all(concentration1, concentration0), -1)
        else:
            both = tensor([float(concentration1), float(concentration0)])
        self._dirichlet = Dirichlet(both, validate_args=validate_args)
        super().__init__(self._dirichlet.batch_shape, validate_args=validate_args)

    @property
    def concentration1(self) -> Tensor:
        """第一个参数：成功的份量。"""
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self) -> Tensor:
        """第二个参数：失败的份量。"""
        return self._dirichlet.concentration[..., 1]

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self) -> Tensor:
        """方差。"""
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        return self._dirichlet.rsample(sample_shape).select(-1, 0)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        at = self._checked(value)
        return self._dirichlet.log_prob(stack([at, 1.0 - at], -1))

    def entropy(self) -> Tensor:
        """熵。"""
        return self._dirichlet.entropy()


class StudentT(Distribution):
    """Student t 分布：自由度 ``df``，平移 ``loc``，缩放 ``scale``。"""

    arg_constraints = parameters(df=constraints.positive, loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值；自由度不大于 1 时没有。"""
        return self.loc.masked_fill(self.df <= 1, math.nan)

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """方差；自由度不大于 2 时无穷，不大于 1 时没有。"""
        found = self.scale.pow(2) * self.df / (self.df - 2)
        return found.masked_fill(self.df <= 2, math.inf).masked_fill(self.df <= 1, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本：正态数除以卡方数的平方根。"""
        drawn = empty(self._extended_shape(sample_shape), dtype=self.df.dtype).normal_()
        return self.loc + self.scale * (drawn * (self._chi2.rsample(sample_shape) / self.df).rsqrt())

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        df, z = self.df, (self._checked(value) - self.loc) / self.scale
        constant = 0.5 * df.log() + 0.5 * math.log(math.pi) + (0.5 * df).lgamma() - (0.5 * (df + 1.0)).lgamma()
        return -0.5 * (df + 1.0) * (z**2.0 / df).log1p() - (self.scale.log() + constant)

    def entropy(self) -> Tensor:
        """熵。"""
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        log_beta = half.lgamma() + math.lgamma(0.5) - more.lgamma()
        return self.scale.log() + more * (more.digamma() - half.digamma()) + 0.5 * self.df.log() + log_beta


class FisherSnedecor(Distribution):
    """F 分布：两个卡方数各除以自由度，再相除。"""

    arg_constraints = parameters(df1=constraints.positive, df2=constraints.positive)
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        self._gamma1, self._gamma2 = Gamma(self.df1 * 0.5, self.df1), Gamma(self.df2 * 0.5, self.df2)
        super().__init__(self.df1.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值；``df2`` 不大于 2 时没有。"""
        known = self.df2.masked_fill(self.df2 <= 2, math.nan)
        return known / (known - 2)

    @property
    def mode(self) -> Tensor:
        """众数；``df1`` 不大于 2 时没有。"""
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return found.masked_fill(self.df1 <= 2, math.nan)

    @property
    def variance(self) -> Tensor:
        """方差；``df2`` 不大于 4 时没有。"""
        known = self.df2.masked_fill(self.df2 <= 4, math.nan)
        return 2 * known.pow(2) * (self.df1 + known - 2) / (self.df1 * (known - 2).pow(2) * (known - 4))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        top, bottom = self._gamma1.rsample(sample_shape), self._gamma2.rsample(sample_shape)
        tiny = finfo(top.dtype).tiny
        return (top / bottom.clamp(min=tiny)).clamp(min=tiny)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        half1, half2, ratio, at = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2, self._checked(value)
        constant = (half1 + half2).lgamma() - half1.lgamma() - half2.lgamma()
        return constant + half1 * ratio.log() + (half1 - 1) * at.log() - (half1 + half2) * (ratio * at).log1p()


__getattr__ = attributes(__name__)
