"""由限制到变换：把不受限制的实数变成合格的参数，优化时就不必管边界。

流入：一条限制；流出：把全体实数变到它里面的变换。``biject_to`` 一一对应，可以算密度；``transform_to`` 未必，但好走。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.distributions.constraints import Constraint, independent
from tinygrad_llm.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IndependentTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SigmoidTransform,
    SoftmaxTransform,
    StickBreakingTransform,
    Transform,
    identity_transform,
)

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """哪种限制用哪个变换；``registry(限制)`` 得到变换。"""

    def __init__(self) -> None:
        self._factories: dict[Any, Factory] = {}

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """登记：``constraint`` 这一种限制，用 ``factory(限制)`` 造变换；也可作装饰器。

        Raises:
            TypeError: 不是限制，也不是 ``Constraint`` 的子类。
        """
        if factory is None:
            return lambda given: self.register(constraint, given)
        if not isinstance(constraint, Constraint) and not (
            isinstance(constraint, type) and issubclass(constraint, Constraint)
        ):
            raise TypeError(
                f"Expected constraint to be either a Constraint subclass or instance, but got {constraint!r}"
            )
        self._factories[_kind(constraint)] = factory
        return factory

    def __call__(self, constraint: Constraint) -> Transform:
        """``constraint`` 的变换。

        Raises:
            NotImplementedError: 没有登记。
        """
        kind = _kind(constraint)
        if kind not in self._factories:
            raise NotImplementedError(f"Cannot transform {constraint!r}")
        return self._factories[kind](constraint)


def _kind(constraint: Any) -> Any:
    """同一种限制只是界不同：按名字；别的按类型。"""
    if isinstance(constraint, type):
        return constraint
    return getattr(constraint, "_name", type(constraint))


def _interval(constraint: Any) -> Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and (low, high) == (0, 1):
        return SigmoidTransform()
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])


def _above(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.lower_bound, 1)])


def _below(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.upper_bound, -1)])


def _independent(registry: ConstraintRegistry) -> Factory:
    return lambda c: IndependentTransform(registry(c.base_constraint), c.reinterpreted_batch_ndims)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()
for _registry in (biject_to, transform_to):
    _registry._factories |= {
        "Real": lambda c: identity_transform,
        "GreaterThan": _above,
        "GreaterThanEq": _above,
        "LessThan": _below,
        "Interval": _interval,
        "HalfOpenInterval": _interval,
        independent: _independent(_registry),
    }
biject_to._factories["Simplex"] = lambda c: StickBreakingTransform()
transform_to._factories |= {
    "Simplex": lambda c: SoftmaxTransform(),
    "LowerCholesky": lambda c: LowerCholeskyTransform(),
    "PositiveDefinite": lambda c: PositiveDefiniteTransform(),
    "PositiveSemidefinite": lambda c: PositiveDefiniteTransform(),
}
__getattr__ = attributes(__name__)
