"""混合分布：各成分是同一族，按类别分布挑一个。

流入：成分的权重（Categorical）与成分（批次的最后一轴是成分）；流出：分布。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.categorical import Categorical
from tinygrad_llm.distributions.constraints import Constraint, MixtureSameFamilyConstraint
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.tensor import Tensor


class MixtureSameFamily(Distribution):
    """同族成分的混合。

    Raises:
        ValueError: 权重不是 Categorical，成分不是分布，或两者的批次、个数对不上。
    """

    arg_constraints = parameters()

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError("The Mixture distribution needs to be an instance of distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution needs to be an instance of distributions.Distribution")
        batch, count = component_distribution.batch_shape[:-1], mixture_distribution.param_shape[-1]
        pairs = zip(reversed(mixture_distribution.batch_shape), reversed(batch), strict=False)
        if any(a not in (1, b) and b != 1 for a, b in pairs):
            raise ValueError(
                f"`mixture_distribution.batch_shape` ({mixture_distribution.batch_shape}) is not compatible with "
                f"`component_distribution.batch_shape` ({batch})"
            )
        if count != component_distribution.batch_shape[-1]:
            raise ValueError(f"{count} weights do not match {component_distribution.batch_shape[-1]} components")
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        super().__init__(batch, component_distribution.event_shape, validate_args=validate_args)

    def _expanded(self, value: Any, shape: Size) -> Any:
        if value is self.component_distribution:
            return value.expand((*shape, self.mixture_distribution.param_shape[-1]))
        return super()._expanded(value, shape)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """样本的范围，随成分。"""
        return MixtureSameFamilyConstraint(self.component_distribution.support)

    def _over_components(self, values: Tensor) -> Tensor:
        """按权重对成分取平均。"""
        dims = len(self._event_shape)
        weights = self.mixture_distribution.probs
        return (weights.reshape(*weights.shape, *[1] * dims) * values).sum(-1 - dims)

    def _each(self, value: Tensor) -> Tensor:
        return value.unsqueeze(-1 - len(self._event_shape))

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self._over_components(self.component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        """方差：成分之内的平均，加上成分之间的。"""
        within = self._over_components(self.component_distribution.variance)
        return within + self._over_components((self.component_distribution.mean - self._each(self.mean)).pow(2.0))

    def cdf(self, value: Any) -> Tensor:
        """分布函数。"""
        return (self.component_distribution.cdf(self._each(value)) * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        inside = self.component_distribution.log_prob(self._each(self._checked(value)))
        return (inside + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本：先抽成分，再取这个成分的样本。"""
        with no_grad():
            chosen = self.mixture_distribution.sample(sample_shape)
            drawn, event = self.component_distribution.sample(sample_shape), self._event_shape
            at = chosen.reshape(*chosen.shape, *[1] * (len(event) + 1)).expand(*chosen.shape, 1, *event)
            dim = len(sample_shape) + len(self._batch_shape)
            return drawn.gather(dim, at).squeeze(dim)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"


__getattr__ = attributes(__name__)
