"""可逆（或近乎可逆）的变换：把一种分布变成另一种，并给出对数雅可比。

流入：Tensor；流出：Tensor 与 ``ln |dy/dx|``。这里是逐元素的，作用于向量的在 ``vector_transforms.py``，基类与组合在
``transform.py``。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import full_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.transform import ComposeTransform, PlainTransform, Transform, identity_transform
from tinygrad_llm.distributions.utils import broadcast_all, clipped_sigmoid, lazy_property, sum_rightmost
from tinygrad_llm.distributions.vector_transforms import (
    CumulativeDistributionTransform,
    IndependentTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    ReshapeTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)
from tinygrad_llm.joining import broadcast_shapes
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.nn.activations import softplus
from tinygrad_llm.promotion import finfo
from tinygrad_llm.tensor import Tensor


def _same(a: Any, b: Any) -> bool:
    """两个参数（数或 Tensor）是否相等。"""
    found = a == b
    return bool(found.all()) if isinstance(found, Tensor) else bool(found)


def _shape_with(shape: Any, *parameters: Any) -> Size:
    """与参数广播之后的形状。"""
    return broadcast_shapes(shape, *[p.shape for p in parameters if isinstance(p, Tensor)])


class ExpTransform(PlainTransform):
    """``y = exp(x)``。"""

    domain, codomain, bijective, sign = constraints.real, constraints.positive, True, 1

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``x``。"""
        return x


class PowerTransform(Transform):
    """``y = x^exponent``，``x`` 为正。"""

    domain, codomain, bijective = constraints.positive, constraints.positive, True

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        (self.exponent,) = broadcast_all(exponent)

    @lazy_property
    def sign(self) -> Any:
        """指数的正负。"""
        return self.exponent.sign()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and _same(self.exponent, other.exponent)

    __hash__ = Transform.__hash__

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln |exponent · y / x|``。"""
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Any) -> Any:
        """与指数广播。"""
        return _shape_with(shape, self.exponent)

    inverse_shape = forward_shape


class SigmoidTransform(PlainTransform):
    """``y = 1 / (1 + exp(-x))``。"""

    domain, codomain, bijective, sign = constraints.real, constraints.unit_interval, True, 1

    def _call(self, x: Tensor) -> Tensor:
        return clipped_sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        limits = finfo(y.dtype)
        inside = y.clamp(limits.tiny, 1.0 - limits.eps)
        return inside.log() - (-inside).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln y(1-y)``。"""
        return -softplus(-x) - softplus(x)


class SoftplusTransform(PlainTransform):
    """``y = ln(1 + exp(x))``。"""

    domain, codomain, bijective, sign = constraints.real, constraints.positive, True, 1

    def _call(self, x: Tensor) -> Tensor:
        return softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln σ(x)``。"""
        return -softplus(-x)


class TanhTransform(PlainTransform):
    """``y = tanh(x)``；对数雅可比用 softplus 写，``|x|`` 大时也不溢出。"""

    domain, codomain, bijective, sign = constraints.real, constraints.interval(-1.0, 1.0), True, 1

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln (1 - y²)``。"""
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))


class AbsTransform(PlainTransform):
    """``y = |x|``；不可逆，反着走取正的一个。"""

    domain, codomain = constraints.real, constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """``y = loc + scale · x``。

    Args:
        loc: 平移。
        scale: 缩放。
        event_dim: 末尾几轴算一个事件。
        cache_size: 0 或 1，记住几对输入输出。
    """

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim
        self.domain = self.codomain = (
            constraints.independent(constraints.real, event_dim) if event_dim else constraints.real
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AffineTransform) and _same(self.loc, other.loc) and _same(self.scale, other.scale)

    __hash__ = Transform.__hash__

    @property
    def sign(self) -> Any:
        """缩放的正负。"""
        return self.scale.sign() if isinstance(self.scale, Tensor) else (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln |scale|``，在事件的轴上求和。"""
        if isinstance(self.scale, Tensor):
            found = self.scale.abs().log()
        else:
            found = full_like(x, math.log(abs(self.scale)))
        found = sum_rightmost(found, self._event_dim)
        return found.expand(x.shape[: x.ndim - self._event_dim])

    def forward_shape(self, shape: Any) -> Any:
        """与平移、缩放广播。"""
        return _shape_with(shape, self.loc, self.scale)

    inverse_shape = forward_shape


__getattr__ = attributes(__name__)

__all__ = [
    "AbsTransform", "AffineTransform", "ComposeTransform", "CumulativeDistributionTransform", "ExpTransform",
    "IndependentTransform", "LowerCholeskyTransform", "PositiveDefiniteTransform", "PowerTransform",
    "ReshapeTransform", "SigmoidTransform", "SoftmaxTransform", "SoftplusTransform", "StickBreakingTransform",
    "TanhTransform", "Transform", "identity_transform",
]  # fmt: skip
