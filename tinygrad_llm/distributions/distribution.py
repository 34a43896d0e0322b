"""概率分布的基类：一批（``batch_shape``）独立的分布，每个样本的形状是 ``event_shape``。

流入：参数；流出：样本、对数密度、熵与矩。参数与样本在 ``validate_args`` 时检查，报错的类型同 torch。
下一站：``continuous.py``。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.utils import lazy_property
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.tensor import Tensor


def parameters(**given: Any) -> dict[str, Any]:
    """参数名到它该满足的限制。"""
    return given


class Distribution:
    """一批独立的概率分布。

    Args:
        batch_shape: 有多少个分布，排成什么形状。
        event_shape: 一个样本的形状。
        validate_args: 是否检查参数与样本；不给则看 ``set_default_validate_args``。

    Attributes:
        arg_constraints: 每个参数该满足的限制，名字到 ``Constraint``。
        support: 样本该满足的限制。
        has_rsample: 样本能否把梯度传回参数。
        has_enumerate_support: 能否列出全部取值。

    Raises:
        ValueError: 参数不合格。
    """

    arg_constraints: Any = None
    support: Any = None
    has_rsample: bool = False
    has_enumerate_support: bool = False
    _validate_args: bool = __debug__
    _not_expanded: tuple[str, ...] = ()  # 不随批次扩展的属性

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        if self.arg_constraints is None:
            warnings.warn(f"{type(self).__name__} does not define `arg_constraints`", stacklevel=4)
        for name, constraint in (self.arg_constraints or {}).items():
            is_lazy = isinstance(getattr(type(self), name, None), lazy_property)
            if constraints.is_dependent(constraint) or (is_lazy and name not in self.__dict__):
                continue
            value = getattr(self, name)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """此后造的分布是否检查参数与样本。

        Raises:
            ValueError: 不是布尔。
        """
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args expects a bool, got {value!r}")
        Distribution._validate_args = value

    @property
    def batch_shape(self) -> Size:
        """分布的个数与排布。"""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """一个样本的形状。"""
        return self._event_shape

    @property
    def mean(self) -> Tensor:
        """均值。"""
        raise self._missing("mean")

    @property
    def mode(self) -> Tensor:
        """众数：密度最大之处。"""
        raise self._missing("mode")

    @property
    def variance(self) -> Tensor:
        """方差。"""
        raise self._missing("variance")

    @property
    def stddev(self) -> Tensor:
        """标准差。"""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """样本，形状 ``sample_shape + batch_shape + event_shape``，不在图上。"""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """可对参数求导的样本：把与参数无关的随机数变换而来。

        Raises:
            NotImplementedError: 做不到（如离散的分布）。
        """
        raise self._missing("rsample")

    def sample_n(self, n: int) -> Tensor:
        """``sample((n,))`` 从前的写法。"""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Any) -> Tensor:
        """``value`` 处的对数密度或对数概率，形状 ``sample_shape + batch_shape``。

        Raises:
            ValueError: ``value`` 不是 Tensor，形状不合，或不在 ``support`` 里（``validate_args`` 时）。
        """
        raise self._missing("log_prob")

    def cdf(self, value: Any) -> Tensor:
        """分布函数：不超过 ``value`` 的概率。"""
        raise self._missing("cdf")

    def icdf(self, value: Any) -> Tensor:
        """分布函数的反函数：分位数。"""
        raise self._missing("icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """全部取值，排在最前的轴上；``expand`` 则铺满批次。"""
        raise self._missing("enumerate_support")

    def entropy(self) -> Tensor:
        """熵，形状 ``batch_shape``，以 nat 计。"""
        raise self._missing("entropy")

    def perplexity(self) -> Tensor:
        """困惑度 ``exp(熵)``。"""
        return self.entropy().exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """同一族、参数铺成 ``batch_shape`` 的分布，共享内存。"""
        new = object.__new__(type(self)) if _instance is None else _instance
        shape = Size(batch_shape)
        for name, value in self.__dict__.items():
            new.__dict__[name] = value if name in self._not_expanded else self._expanded(value, shape)
        new._batch_shape = shape
        return new

    def _expanded(self, value: Any, shape: Size) -> Any:
        if isinstance(value, Distribution):
            return value.expand(shape)
        if isinstance(value, Tensor):
            return value.expand(*shape, *value.shape[len(self._batch_shape) :])
        return value

    def _missing(self, name: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} does not implement {name}")

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _checked(self, value: Any) -> Any:
        """原样返回 ``value``；``validate_args`` 时先检查。"""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def _validate_sample(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"The value argument to log_prob must be a Tensor, got {type(value).__name__}")
        wanted, shape = (*self._batch_shape, *self._event_shape), tuple(value.shape)
        if shape[len(shape) - len(self._event_shape) :] != tuple(self._event_shape):
            raise ValueError(f"The right-most size of value must match event_shape: {shape} vs {self._event_shape}.")
        if any(i not in (1, j) and j != 1 for i, j in zip(reversed(shape), reversed(wanted), strict=False)):
            raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {wanted}.")
        support = self.support
        if support is None:
            warnings.warn(f"{type(self).__name__} does not define `support` to validate samples", stacklevel=4)
        elif not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        given = {name: self.__dict__[name] for name in self.arg_constraints or () if name in self.__dict__}
        shown = [f"{name}: {value if value.numel() == 1 else value.size()}" for name, value in given.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


__getattr__ = attributes(__name__)
