"""经过变换的分布：先抽样，再变换；密度除以雅可比。

流入：一个分布与一串变换；流出：分布。由它得来的几种分布在 ``transformed.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.independent import Independent
from tinygrad_llm.distributions.transform import ComposeTransform, Transform
from tinygrad_llm.distributions.utils import sum_rightmost
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.tensor import Tensor


class TransformedDistribution(Distribution):
    """``y = tₙ(…t₁(x))``，``x`` 服从 ``base_distribution``。

    Raises:
        ValueError: ``transforms`` 不是变换或它们的列表，或基础分布的轴数不够。
    """

    arg_constraints = parameters()

    def __init__(self, base_distribution: Distribution, transforms: Any, validate_args: bool | None = None) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(self.transforms, list) or not all(isinstance(t, Transform) for t in self.transforms):
            raise ValueError(f"transforms must be a Transform or a list of Transforms, but was {transforms}")
        whole, base = ComposeTransform(self.transforms), base_distribution
        shape, base_dim = Size((*base.batch_shape, *base.event_shape)), len(base.event_shape)
        inner, outer = whole.domain.event_dim, whole.codomain.event_dim
        if len(shape) < inner:
            raise ValueError(f"base_distribution needs to have shape with size at least {inner}, but got {shape}.")
        after = whole.forward_shape(shape)
        before = whole.inverse_shape(after)
        if tuple(before) != tuple(shape):
            base = base.expand(before[: len(before) - base_dim])
        self.base_dist: Any = Independent(base, inner - base_dim) if inner > base_dim else base
        self.has_rsample = self.base_dist.has_rsample
        cut = len(after) - max(outer, base_dim + outer - inner)
        super().__init__(after[:cut], after[cut:], validate_args=validate_args)

    def _expanded(self, value: Any, shape: Size) -> Any:
        if value is not self.base_dist:
            return super()._expanded(value, shape)
        whole = ComposeTransform(self.transforms).inverse_shape(Size((*shape, *self._event_shape)))
        return value.expand(whole[: len(whole) - len(value.event_shape)])

    @constraints.dependent_property
    def support(self) -> Constraint:
        """最后一个变换的值域。"""
        if not self.transforms:
            return self.base_dist.support
        found, extra = self.transforms[-1].codomain, len(self._event_shape) - self.transforms[-1].codomain.event_dim
        return constraints.independent(found, extra) if extra > 0 else found

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        with no_grad():
            return self._forward(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        return self._forward(self.base_dist.rsample(sample_shape))

    def _forward(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x

    def log_prob(self, value: Any) -> Tensor:
        """对数密度：逐个反着走，减去各步的对数雅可比。"""
        y, found, event_dim = self._checked(value), 0.0, len(self._event_shape)
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            slope = transform.log_abs_det_jacobian(x, y)
            found, y = found - sum_rightmost(slope, event_dim - transform.domain.event_dim), x
        inside = self.base_dist.log_prob(y)
        return found + sum_rightmost(inside, event_dim - len(self.base_dist.event_shape))

    def _increasing(self, value: Any) -> Any:
        """递减的变换把分布函数反过来。"""
        sign = ComposeTransform(self.transforms).sign
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._increasing(self.base_dist.cdf(value))

    def icdf(self, value: Any) -> Tensor:
        """分位数。"""
        return self._forward(self.base_dist.icdf(self._increasing(value)))


__getattr__ = attributes(__name__)
