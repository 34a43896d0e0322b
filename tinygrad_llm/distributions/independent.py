"""把批次的末尾几轴并进事件：一行各自独立的数，当作一个向量来看。

流入：一个分布与轴数；流出：``log_prob`` 在这几轴上求和的分布。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.distribution import Distribution, parameters
from tinygrad_llm.distributions.utils import sum_rightmost
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.tensor import Tensor


class Independent(Distribution):
    """批次末尾的 ``reinterpreted_batch_ndims`` 轴并进事件。

    Raises:
        ValueError: 批次没有那么多轴。
    """

    arg_constraints = parameters()

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        batch, event = base_distribution.batch_shape, base_distribution.event_shape
        if reinterpreted_batch_ndims > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), "
                f"actual {reinterpreted_batch_ndims} vs {len(batch)}"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        self.has_rsample = base_distribution.has_rsample
        self.has_enumerate_support = reinterpreted_batch_ndims == 0 and base_distribution.has_enumerate_support
        cut = len(batch) - reinterpreted_batch_ndims
        super().__init__(batch[:cut], (*batch[cut:], *event), validate_args=validate_args)

    def _expanded(self, value: Any, shape: Size) -> Any:
        if value is self.base_dist:
            return value.expand((*shape, *self._event_shape[: self.reinterpreted_batch_ndims]))
        return super()._expanded(value, shape)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """样本的范围。"""
        base = self.base_dist.support
        return constraints.independent(base, self.reinterpreted_batch_ndims) if self.reinterpreted_batch_ndims else base

    @property
    def mean(self) -> Tensor:
        """均值。"""
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        """众数。"""
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        """方差。"""
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本。"""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本。"""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        """对数密度，在并进来的轴上求和。"""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        """熵，在并进来的轴上求和。"""
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """全部取值。

        Raises:
            NotImplementedError: 几个数的全部组合太多。
        """
        if self.reinterpreted_batch_ndims:
            raise NotImplementedError("Enumeration over cartesian product is not implemented")
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"


__getattr__ = attributes(__name__)
