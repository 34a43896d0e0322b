"""变换的基类，以及反过来、接起来的变换。

流入：Tensor；流出：变换之后的 Tensor，与对数雅可比。各种具体的变换在 ``transforms.py`` 与 ``vector_transforms.py``。
"""

from __future__ import annotations

import copy
import functools
import operator
from typing import Any

from tinygrad_llm.creation import zeros_like
from tinygrad_llm.distributions import constraints
from tinygrad_llm.distributions.constraints import Constraint
from tinygrad_llm.distributions.utils import sum_rightmost
from tinygrad_llm.tensor import Tensor


class Transform:
    """一个变换 ``y = f(x)``；子类写 ``_call``、``_inverse`` 与 ``log_abs_det_jacobian``。

    Args:
        cache_size: 1 则记住最近一对 ``(x, y)``，反着走时原样取出，既省时又没有舍入误差。

    Attributes:
        domain: 定义域。
        codomain: 值域。
        bijective: 是否一一对应。
        sign: 单调增为 1，减为 -1；谈不上增减的为 ``None``。

    Raises:
        ValueError: ``cache_size`` 不是 0 或 1。
    """

    domain: Any = None
    codomain: Any = None
    bijective: Any = False
    sign: Any = None

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size, self._latest = cache_size, (None, None)
        self._inv: Transform | None = None

    @property
    def event_dim(self) -> int:
        """一个事件占几轴。

        Raises:
            ValueError: 前后不同。
        """
        if self.domain.event_dim != self.codomain.event_dim:
            raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")
        return self.domain.event_dim

    @property
    def inv(self) -> Any:
        """反过来的变换。"""
        if self._inv is None:
            self._inv = _InverseTransform(self)
        return self._inv

    def with_cache(self, cache_size: int = 1) -> Any:
        """同一个变换，记不记最近一对另行设定。"""
        if self._cache_size == cache_size:
            return self
        twin = copy.copy(self)
        twin._cache_size, twin._latest, twin._inv = cache_size, (None, None), None
        return twin

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __call__(self, x: Any) -> Any:
        """``y = f(x)``。"""
        return self._remembered(x, 0)

    def _inv_call(self, y: Any) -> Any:
        """``x = f⁻¹(y)``。"""
        return self._remembered(y, 1)

    def _remembered(self, given: Any, side: int) -> Any:
        if self._cache_size and self._latest[side] is given:
            return self._latest[1 - side]
        found = self._inverse(given) if side else self._call(given)
        if self._cache_size:
            self._latest = (found, given) if side else (given, found)
        return found

    def _call(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward direction")

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``ln |det dy/dx|``，``y`` 是 ``f(x)``。

        Raises:
            NotImplementedError: 不可逆的变换没有。
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_abs_det_jacobian")

    def forward_shape(self, shape: Any) -> Any:
        """``x`` 的形状变成什么。"""
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        """``y`` 的形状来自什么。"""
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PlainTransform(Transform):
    """没有参数的变换：同一类的都相等。"""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    __hash__ = Transform.__hash__


class _InverseTransform(Transform):
    """反过来的变换。"""

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform._cache_size)
        self._inv: Transform = transform

    @property
    def domain(self) -> Any:
        """原来的值域。"""
        return self._inv.codomain

    @property
    def codomain(self) -> Any:
        """原来的定义域。"""
        return self._inv.domain

    @property
    def bijective(self) -> Any:
        """是否一一对应。"""
        return self._inv.bijective

    @property
    def sign(self) -> Any:
        """增减不变。"""
        return self._inv.sign

    def with_cache(self, cache_size: int = 1) -> Any:
        """同一个变换，记不记最近一对另行设定。"""
        return self._inv.with_cache(cache_size).inv

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InverseTransform) and self._inv == other._inv

    __hash__ = Transform.__hash__

    def __call__(self, x: Any) -> Any:
        return self._inv._inv_call(x)

    def _inv_call(self, y: Any) -> Any:
        """正着走。"""
        return self._inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """原来的取负。"""
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        """形状。"""
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        """形状。"""
        return self._inv.forward_shape(shape)

    def __repr__(self) -> str:
        return f"_InverseTransform({self._inv!r})"


def _widened(constraint: Constraint, event_dim: int) -> Constraint:
    extra = event_dim - constraint.event_dim
    return constraints.independent(constraint, extra) if extra else constraint


class ComposeTransform(Transform):
    """几个变换依次接起来。"""

    def __init__(self, parts: list[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = [part.with_cache(cache_size) for part in parts] if cache_size else parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = Transform.__hash__

    @property
    def domain(self) -> Any:
        """第一个的定义域，事件的轴数够所有变换用。"""
        if not self.parts:
            return constraints.real
        event_dim = self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            event_dim = max(event_dim + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim)
        return _widened(self.parts[0].domain, event_dim)

    @property
    def codomain(self) -> Any:
        """最后一个的值域，事件的轴数够所有变换用。"""
        if not self.parts:
            return constraints.real
        event_dim = self.parts[0].domain.event_dim
        for part in self.parts:
            event_dim = max(event_dim + part.codomain.event_dim - part.domain.event_dim, part.codomain.event_dim)
        return _widened(self.parts[-1].codomain, event_dim)

    @property
    def bijective(self) -> Any:
        """是否个个一一对应。"""
        return all(part.bijective for part in self.parts)

    @property
    def sign(self) -> Any:
        """各个的乘积。

        Raises:
            NotImplementedError: 有的变换谈不上增减。
        """
        if any(part.sign is None for part in self.parts):
            raise NotImplementedError(f"{self!r} is neither increasing nor decreasing")
        return functools.reduce(operator.mul, [part.sign for part in self.parts], 1)

    @property
    def inv(self) -> Any:
        """反过来的变换。"""
        if self._inv is None:
            self._inv = ComposeTransform([part.inv for part in reversed(self.parts)])
            self._inv._inv = self
        return self._inv

    def with_cache(self, cache_size: int = 1) -> Any:
        """同一个变换，记不记最近一对另行设定。"""
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size)

    def __call__(self, x: Any) -> Any:
        """依次走过各个变换。"""
        for part in self.parts:
            x = part(x)
        return x

    def _inv_call(self, y: Any) -> Any:
        """依次反着走。"""
        return self.inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """各步之和。"""
        if not self.parts:
            return zeros_like(x)
        points, terms, event_dim = [x], [], self.domain.event_dim
        for part in self.parts[:-1]:
            points.append(part(points[-1]))
        for part, before, after in zip(self.parts, points, [*points[1:], y], strict=True):
            term = part.log_abs_det_jacobian(before, after)
            terms.append(sum_rightmost(term, event_dim - part.domain.event_dim))
            event_dim += part.codomain.event_dim - part.domain.event_dim
        return functools.reduce(operator.add, terms)

    def forward_shape(self, shape: Any) -> Any:
        """形状。"""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        """形状。"""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self) -> str:
        return "ComposeTransform(\n    " + ",\n    ".join(repr(part) for part in self.parts) + "\n)"


identity_transform = ComposeTransform([])
