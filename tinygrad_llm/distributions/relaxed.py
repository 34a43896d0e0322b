"""松弛的离散分布（Gumbel-softmax，Maddison 等、Jang 等，2017）：温度趋于 0 时趋于离散，样本可求导。

流入：温度，概率或 logits；流出：分布。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import full_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.categorical import ByCategorical
from tinygrad_llm.distributions.counting import ByProbability
from tinygrad_llm.distributions.distribution import parameters
from tinygrad_llm.distributions.transformed_distribution import TransformedDistribution
from tinygrad_llm.distributions.transforms import ExpTransform, SigmoidTransform
from tinygrad_llm.distributions.utils import broadcast_all, clamp_probs
from tinygrad_llm.sampling import rand
from tinygrad_llm.tensor import Tensor


class LogitRelaxedBernoulli(ByProbability):
    """``RelaxedBernoulli`` 在 sigmoid 之前的样子。"""

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.real
    has_rsample = True
    _not_expanded = ("temperature",)

    def __init__(
        self, temperature: Tensor, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        super().__init__(self._set(probs, logits), validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        shape = self._extended_shape(sample_shape)
        probs = clamp_probs(self.probs.expand(shape))
        u = clamp_probs(rand(shape, dtype=probs.dtype))
        return (u.log() - (-u).log1p() + probs.log() - (-probs).log1p()) / self.temperature

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        logits, at = broadcast_all(self.logits, self._checked(value))
        away = logits - at.mul(self.temperature)
        return self.temperature.log() + away - 2 * away.exp().log1p()


class ExpRelaxedCategorical(ByCategorical):
    """``RelaxedOneHotCategorical`` 取对数之后的样子。"""

    support = constraints.real_vector
    has_rsample = True
    _not_expanded = ("temperature",)

    def __init__(
        self, temperature: Tensor, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        super().__init__(probs, logits, validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        u = clamp_probs(rand(self._extended_shape(sample_shape), dtype=self.logits.dtype))
        scores = (self.logits - (-u.log()).log()) / self.temperature
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度。"""
        count = self._event_shape[0]
        logits, at = broadcast_all(self.logits, self._checked(value))
        scale = full_like(self.temperature, float(count)).lgamma() + (count - 1) * self.temperature.log()
        score = logits - at.mul(self.temperature)
        return (score - score.logsumexp(dim=-1, keepdim=True)).sum(-1) + scale


class _Relaxed(TransformedDistribution):
    """样本落在离散取值之间。"""

    @property
    def temperature(self) -> Tensor:
        """温度。"""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """logits。"""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """概率。"""
        return self.base_dist.probs


class RelaxedBernoulli(_Relaxed):
    """松弛的 Bernoulli：样本在 ``(0, 1)``。"""

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.unit_interval

    def __init__(
        self, temperature: Tensor, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(LogitRelaxedBernoulli(temperature, probs, logits), SigmoidTransform(), validate_args)


class RelaxedOneHotCategorical(_Relaxed):
    """松弛的独热向量：样本非负，和为 1。"""

    arg_constraints = parameters(probs=constraints.simplex, logits=constraints.real_vector)
    support = constraints.simplex

    def __init__(
        self, temperature: Tensor, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args)


__getattr__ = attributes(__name__)
