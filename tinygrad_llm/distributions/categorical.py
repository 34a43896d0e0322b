"""有限个类别的分布：下标（Categorical）、独热向量、直通估计与多项分布。

流入：概率或 logits，最后一轴是类别；流出：分布。概率先归一化，logits 先减去 logsumexp。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.creation import full, ones_like, tensor
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.counting import Binomial, one_of
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits
from tinygrad_llm.joining import broadcast_tensors
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.nn.lookups import one_hot
from tinygrad_llm.promotion import finfo
from tinygrad_llm.ranges import arange, eye
from tinygrad_llm.sampling import multinomial
from tinygrad_llm.tensor import Tensor


class Categorical(Distribution):
    """取 ``0 … K-1`` 之一的分布。

    Args:
        probs: ``(..., K)`` 非负的权重，归一化成概率。
        logits: ``(..., K)`` 未归一化的对数概率；与 ``probs`` 只给一个。
        validate_args: 是否检查参数与样本。

    Raises:
        ValueError: 两个都给了或都没有给，或没有类别的轴。
    """

    arg_constraints = parameters(probs=constraints.simplex, logits=constraints.real_vector)
    has_enumerate_support = True

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        name, given = ("probs", probs) if one_of(probs, logits) else ("logits", logits)
        assert given is not None
        if given.ndim < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if name == "probs":
            self.__dict__[name] = given / given.sum(-1, keepdim=True)
        else:
            self.__dict__[name] = given - given.logsumexp(dim=-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @lazy_property
    def probs(self) -> Tensor:
        """归一化的概率。"""
        return logits_to_probs(self.logits)

    @lazy_property
    def logits(self) -> Tensor:
        """归一化的对数概率。"""
        return probs_to_logits(self.probs)

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs" if "probs" in self.__dict__ else "logits"]

    @property
    def param_shape(self) -> Size:
        """参数的形状。"""
        return self._param.shape

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Constraint:
        """``0 … K-1``。"""
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Tensor:
        """类别没有均值，NaN。"""
        return full(self._extended_shape(), math.nan, dtype=self.probs.dtype)

    @property
    def mode(self) -> Tensor:
        """概率最大的类别。"""
        return self.probs.argmax(dim=-1)

    @property
    def variance(self) -> Tensor:
        """类别没有方差，NaN。"""
        return self.mean

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """类别的下标。"""
        rows = self.probs.detach().reshape(-1, self._num_events)
        drawn = multinomial(rows, math.prod(sample_shape), True)
        return drawn.T.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Any) -> Tensor:
        """下标的对数概率。"""
        at, logits = broadcast_tensors(self._checked(value).long().unsqueeze(-1), self.logits)
        return logits.gather(-1, at[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        """熵；概率为 0 的类别不计。"""
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """全部下标。"""
        values = arange(self._num_events).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class ByCategorical(Distribution):
    """建立在一个 Categorical 上、样本是 K 维向量的分布。"""

    arg_constraints = parameters(probs=constraints.simplex, logits=constraints.real_vector)

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        """归一化的概率。"""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """归一化的对数概率。"""
        return self._categorical.logits

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def param_shape(self) -> Size:
        """参数的形状。"""
        return self._categorical.param_shape


class OneHotCategorical(ByCategorical):
    """样本是独热向量的 Categorical，参数相同。"""

    support = constraints.one_hot
    has_enumerate_support = True

    @property
    def mean(self) -> Tensor:
        """均值，就是概率。"""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """概率最大的一个。"""
        return one_hot(self._categorical.mode, self._event_shape[0]).to(self.probs.dtype)

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """独热向量。"""
        return one_hot(self._categorical.sample(sample_shape), self._event_shape[0]).to(self.probs.dtype)

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        return self._categorical.log_prob(self._checked(value).max(-1)[1])

    def entropy(self) -> Tensor:
        """熵。"""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """单位阵的各行。"""
        count = self._event_shape[0]
        values = eye(count, dtype=self._param.dtype).reshape(count, *[1] * len(self._batch_shape), count)
        return values.expand(count, *self._batch_shape, count) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """直通估计：前向是独热的样本，反传时当作概率本身（Bengio 等，2013）。"""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """独热的样本，梯度流向概率。"""
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(ByCategorical):
    """抽 ``total_count`` 次，各类别抽中几次。

    Raises:
        NotImplementedError: ``total_count`` 不是一个整数。
    """

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        super().__init__(probs, logits, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Constraint:
        """非负，和不超过 ``total_count``。"""
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """各类别的次数。"""
        drawn = self._categorical.sample((self.total_count, *sample_shape)).movedim(0, -1)
        counts = drawn.new_zeros(self._extended_shape(sample_shape))
        return counts.scatter_add_(-1, drawn, ones_like(drawn)).type_as(self.probs)

    def log_prob(self, value: Any) -> Tensor:
        """对数概率。"""
        logits, seen = broadcast_all(self.logits, self._checked(value))
        logits = logits.masked_fill((seen == 0) & (logits == -math.inf), 0.0)
        return (seen.sum(-1) + 1).lgamma() - (seen + 1).lgamma().sum(-1) + (logits * seen).sum(-1)

    def entropy(self) -> Tensor:
        """熵，逐个次数相加。"""
        with no_grad():
            total = tensor(float(self.total_count), dtype=self.probs.dtype)
        each = Binomial(self.total_count, probs=self.probs)
        counts = each.enumerate_support(expand=False)[1:]
        spread = (each.log_prob(counts).exp() * (counts + 1).lgamma()).sum([0, -1])
        return total * self._categorical.entropy() - (total + 1).lgamma() + spread


__getattr__ = attributes(__name__)
