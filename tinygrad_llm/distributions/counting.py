"""一维的离散分布：Bernoulli、几何、二项、泊松与负二项。

流入：概率或 logits（只给一个）、次数、速率；流出：分布。样本不可对参数求导。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.creation import empty, zeros_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.gammas import Gamma
from tinygrad_llm.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.nn.activations import logsigmoid, softplus
from tinygrad_llm.promotion import finfo
from tinygrad_llm.ranges import arange
from tinygrad_llm.sampling import bernoulli, binomial, poisson
from tinygrad_llm.tensor import Tensor


def one_of(probs: Any, logits: Any) -> bool:
    """给的是 ``probs``。

    Raises:
        ValueError: 两个都给了，或都没有给。
    """
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return probs is not None


class ByProbability(Distribution):
    """参数是概率或 logits 的分布；没有给的那一个用到时再算。

    Attributes:
        probs: 概率。
        logits: 概率的 logit。
    """

    def _set(self, probs: Any, logits: Any, **others: Any) -> Any:
        """记下给的那一个，与 ``others`` 互相广播；返回批次的形状。"""
        name = "probs" if one_of(probs, logits) else "logits"
        given = broadcast_all(probs if name == "probs" else logits, *others.values())
        self.__dict__[name] = given[0]
        for other, value in zip(others, given[1:], strict=True):
            self.__dict__[other] = value.type_as(given[0])
        return given[0].size()

    @lazy_property
    def probs(self) -> Tensor:
        """概率。"""
        return logits_to_probs(self.logits, is_binary=True)

    @lazy_property
    def logits(self) -> Tensor:
        """概率的 logit ``ln p - ln(1-p)``。"""
        return probs_to_logits(self.probs, is_binary=True)

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs" if "probs" in self.__dict__ else "logits"]

    @property
    def param_shape(self) -> Size:
        """参数的形状。"""
        return self._param.shape

    def _listed(self, count: int, expand: bool) -> Tensor:
        """``0 … count-1`` 排在最前的轴上。"""
        values = arange(count, dtype=self._param.dtype).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


def binary_entropy(logits: Tensor, probs: Tensor) -> Tensor:
    """概率为 ``probs`` 时，以 ``logits`` 编码的交叉熵。"""
    return (1 - probs) * logits + softplus(-logits)


class Bernoulli(ByProbability):
    """Bernoulli 分布：以概率 ``probs`` 取 1，否则取 0。"""

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._set(probs, logits), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """众数；两个一样大时 NaN。"""
        return (self.probs >= 0.5).to(self.probs.dtype).masked_fill(self.probs == 0.5, math.nan)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        with no_grad():
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        logits, seen = broadcast_all(self.logits, self._checked(value))
        return -binary_entropy(logits, seen)

    def entropy(self) -> Tensor:
        """熵。"""
        return binary_entropy(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 与 1。"""
        return self._listed(2, expand)


class Geometric(ByProbability):
    """几何分布：第一次成功之前失败了几次。"""

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._set(probs, logits), validate_args=validate_args)
        if self._validate_args and probs is not None and not (self.probs > 0).all():
            raise ValueError(f"Expected parameter probs of distribution {self!r} to be positive, got\n{self.probs}")

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        """众数，0。"""
        return zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        with no_grad():
            u = empty(self._extended_shape(sample_shape), dtype=self.probs.dtype)
            return (u.uniform_(finfo(u.dtype).tiny, 1).log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        seen, probs = broadcast_all(self._checked(value), self.probs)
        failing = probs.masked_fill((probs == 1) & (seen == 0), 0.0)
        return seen * (-failing).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        """熵。"""
        return binary_entropy(self.logits, self.probs) / self.probs


class Binomial(ByProbability):
    """二项分布：试 ``total_count`` 次，成功了几次。"""

    arg_constraints = parameters(
        total_count=constraints.nonnegative_integer, probs=constraints.unit_interval, logits=constraints.real
    )
    has_enumerate_support = True
    total_count: Tensor

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(self._set(probs, logits, total_count=total_count), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Constraint:
        """``0 … total_count``。"""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        n, seen = self.total_count, self._checked(value)
        # 在 0 处次梯度取一半，与 torch 相同：(max(l, 0) + l - min(l, 0)) / 2 就是 max(l, 0)
        positive = (self.logits.clamp(min=0) + self.logits - self.logits.clamp(max=0)) / 2
        normalizer = n * positive + n * (-self.logits.abs()).exp().log1p() - (n + 1).lgamma()
        return seen * self.logits - (seen + 1).lgamma() - (n - seen + 1).lgamma() - normalizer

    def entropy(self) -> Tensor:
        """熵，逐个取值相加。

        Raises:
            NotImplementedError: 各个分布的次数不同。
        """
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """``0 … total_count``。

        Raises:
            NotImplementedError: 各个分布的次数不同。
        """
        most = int(self.total_count.max())
        if self.total_count.min() != most:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        return self._listed(1 + most, expand)


class NegativeBinomial(ByProbability):
    """负二项分布：失败 ``total_count`` 次之前成功了几次。"""

    arg_constraints = parameters(
        total_count=constraints.greater_than_eq(0),
        probs=constraints.half_open_interval(0.0, 1.0),
        logits=constraints.real,
    )
    support = constraints.nonnegative_integer
    total_count: Tensor

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(self._set(probs, logits, total_count=total_count), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本：速率服从伽马分布的泊松数。"""
        with no_grad():
            rate = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return poisson(rate.sample(sample_shape))

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        n, seen = self.total_count, self._checked(value)
        unnormalized = n * logsigmoid(-self.logits) + seen * logsigmoid(self.logits)
        normalizer = -(n + seen).lgamma() + (1 + seen).lgamma() + n.lgamma()
        return unnormalized - normalizer.masked_fill(n + seen == 0, 0.0)


class Poisson(Distribution):
    """泊松分布，均值 ``rate``。"""

    arg_constraints = parameters(rate=constraints.nonnegative)
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.rate

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        with no_grad():
            return poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        rate, seen = broadcast_all(self.rate, self._checked(value))
        return seen.xlogy(rate) - rate - (seen + 1).lgamma()


__getattr__ = attributes(__name__)
