"""参数与样本该在什么范围里，与 ``torch.distributions.constraints`` 同名。

流入：Tensor；流出：每个事件合不合格。分布的 ``arg_constraints`` 与 ``support`` 都由它们组成。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import full
from tinygrad_llm.dtypes import bool as boolean_dtype
from tinygrad_llm.joining import cat as join
from tinygrad_llm.joining import stack as pile
from tinygrad_llm.linalg.symmetric import cholesky_ex, eigvalsh
from tinygrad_llm.promotion import finfo
from tinygrad_llm.tensor import Tensor

Check = Callable[[Tensor], Tensor]


class Constraint:
    """一条限制。

    Attributes:
        event_dim: 一个事件占末尾几轴。
        is_discrete: 取值是否离散。
    """

    event_dim: int = 0
    is_discrete: bool = False

    def check(self, value: Tensor) -> Tensor:
        """每个事件是否合格。"""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_") + "()"


class _Named(Constraint):
    """由一个函数判断的限制；``bounds`` 是它的界，打印时写出，也是属性。"""

    def __init__(self, name: str, check: Check, event_dim: int = 0, is_discrete: bool = False, **bounds: Any) -> None:
        self._name, self._check, self._bounds = name, check, bounds
        self.event_dim, self.is_discrete = event_dim, is_discrete
        vars(self).update(bounds)

    def check(self, value: Tensor) -> Tensor:
        """每个事件是否合格。"""
        return self._check(value)

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{name}={bound}' for name, bound in self._bounds.items())})"


class _Dependent(Constraint):
    """随别的参数而定的限制，不能单独检查。"""

    def __init__(self, is_discrete: bool = False, event_dim: int = 0) -> None:
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: bool = False, event_dim: int = 0) -> _Dependent:
        return _Dependent(is_discrete, event_dim)

    def check(self, value: Tensor) -> Tensor:
        """无从检查。

        Raises:
            ValueError: 总是。
        """
        raise ValueError("Cannot determine validity of dependent constraint")


class dependent_property(property):  # noqa: N801  与 torch 同名
    """由分布的参数算出的限制；也可写成 ``@dependent_property(is_discrete=..., event_dim=...)``。"""

    def __init__(self, fn: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn: Any) -> dependent_property:
        """给出算的函数。"""
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """是不是随别的参数而定。"""
    return isinstance(constraint, (_Dependent, dependent_property))


class _IndependentConstraint(Constraint):
    """末尾 ``reinterpreted_batch_ndims`` 轴合成一个事件，都合格才合格。"""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete

    def check(self, value: Tensor) -> Tensor:
        """每个事件是否合格。

        Raises:
            ValueError: 轴数不够。
        """
        found, dims = self.base_constraint.check(value), self.reinterpreted_batch_ndims
        if found.ndim < dims:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.ndim}")
        return found.reshape(*found.shape[: found.ndim - dims], -1).all(-1)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """混合分布的样本要对每个成分都合格。"""

    def __init__(self, base_constraint: Constraint) -> None:
        self.base_constraint = base_constraint
        self.event_dim, self.is_discrete = base_constraint.event_dim, base_constraint.is_discrete

    def check(self, value: Tensor) -> Tensor:
        """每个事件是否合格。"""
        found = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        return found.reshape(*found.shape[: value.ndim - self.event_dim], -1).all(-1)

    def __repr__(self) -> str:
        return f"MixtureSameFamilyConstraint({self.base_constraint!r})"


class _Parts(Constraint):
    """沿一根轴分段，各段有各段的限制。"""

    def __init__(self, cseq: list[Constraint], dim: int, lengths: list[int] | None) -> None:
        self.cseq, self.dim, self.lengths = list(cseq), dim, lengths
        self.event_dim = max(c.event_dim for c in self.cseq)
        self.is_discrete = any(c.is_discrete for c in self.cseq)

    def check(self, value: Tensor) -> Tensor:
        """每个事件是否合格。"""
        if self.lengths is None:
            found = [c.check(value.select(self.dim, i)) for i, c in enumerate(self.cseq)]
            return pile(found, self.dim)
        parts = value.split(self.lengths, self.dim)
        return join([c.check(part) for c, part in zip(self.cseq, parts, strict=True)], self.dim)


def _lower_triangular(value: Tensor) -> Tensor:
    return (value.tril() == value).flatten(-2).all(-1)


def _lower_cholesky(value: Tensor) -> Tensor:
    return _lower_triangular(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


def _corr_cholesky(value: Tensor) -> Tensor:
    tolerance = finfo(value.dtype).eps * value.shape[-1] * 10
    return _lower_cholesky(value) & ((value.detach().norm(dim=-1) - 1).abs() <= tolerance).all(-1)


def _square(value: Tensor) -> Tensor:
    return full(value.shape[:-2], value.shape[-2] == value.shape[-1], dtype=boolean_dtype)


def _symmetric(value: Tensor) -> Tensor:
    if value.shape[-2] != value.shape[-1]:
        return _square(value)
    return value.isclose(value.mT, atol=1e-6).all(-2).all(-1)


def _definite(check: Check) -> Check:
    """对称的才往下看。"""

    def checked(value: Tensor) -> Tensor:
        symmetric = _symmetric(value)
        return check(value) if symmetric.all() else symmetric

    return checked


def _is_bit(value: Tensor) -> Tensor:
    return (value == 0) | (value == 1)


def _whole(value: Tensor) -> Tensor:
    return value % 1 == 0


def greater_than(lower_bound: Any) -> Constraint:
    """大于 ``lower_bound``。"""
    return _Named("GreaterThan", lambda v: lower_bound < v, lower_bound=lower_bound)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """不小于 ``lower_bound``。"""
    return _Named("GreaterThanEq", lambda v: lower_bound <= v, lower_bound=lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """小于 ``upper_bound``。"""
    return _Named("LessThan", lambda v: v < upper_bound, upper_bound=upper_bound)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """闭区间。"""
    bounds = {"lower_bound": lower_bound, "upper_bound": upper_bound}
    return _Named("Interval", lambda v: (lower_bound <= v) & (v <= upper_bound), **bounds)


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """左闭右开的区间。"""
    bounds = {"lower_bound": lower_bound, "upper_bound": upper_bound}
    return _Named("HalfOpenInterval", lambda v: (lower_bound <= v) & (v < upper_bound), **bounds)


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """闭区间里的整数。"""
    bounds = {"lower_bound": lower_bound, "upper_bound": upper_bound}
    return _Named(
        "IntegerInterval", lambda v: _whole(v) & (lower_bound <= v) & (v <= upper_bound), is_discrete=True, **bounds
    )


def _integer_from(lower_bound: int) -> Constraint:
    return _Named(
        "IntegerGreaterThan", lambda v: _whole(v) & (v >= lower_bound), is_discrete=True, lower_bound=lower_bound
    )


def multinomial(upper_bound: int) -> Constraint:
    """非负，和不超过 ``upper_bound``。"""
    return _Named("Multinomial", lambda v: (v >= 0).all(-1) & (v.sum(-1) <= upper_bound), 1, True)


def cat(cseq: list[Constraint], dim: int = 0, lengths: list[int] | None = None) -> Constraint:
    """沿 ``dim`` 依次是 ``lengths`` 长的几段，各有各的限制。"""
    return _Parts(cseq, dim, [1] * len(cseq) if lengths is None else list(lengths))


def stack(cseq: list[Constraint], dim: int = 0) -> Constraint:
    """沿 ``dim`` 的每一片各有各的限制。"""
    return _Parts(cseq, dim, None)


dependent, independent = _Dependent(), _IndependentConstraint
real = _Named("Real", lambda v: v == v)  # NaN 不等于自己
real_vector = independent(real, 1)
positive, nonnegative = greater_than(0.0), greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
boolean = _Named("Boolean", _is_bit, is_discrete=True)
one_hot = _Named("OneHot", lambda v: _is_bit(v).all(-1) & (v.sum(-1) == 1), 1, True)
nonnegative_integer, positive_integer = _integer_from(0), _integer_from(1)
simplex = _Named("Simplex", lambda v: (v >= 0).all(-1) & ((v.sum(-1) - 1).abs() < 1e-6), 1)
lower_triangular = _Named("LowerTriangular", _lower_triangular, 2)
lower_cholesky = _Named("LowerCholesky", _lower_cholesky, 2)
corr_cholesky = _Named("CorrCholesky", _corr_cholesky, 2)
square = _Named("Square", _square, 2)
symmetric = _Named("Symmetric", _symmetric, 2)
positive_semidefinite = _Named("PositiveSemidefinite", _definite(lambda v: (eigvalsh(v) >= 0).all(-1)), 2)
positive_definite = _Named("PositiveDefinite", _definite(lambda v: cholesky_ex(v).info == 0), 2)

__getattr__ = attributes(__name__)
