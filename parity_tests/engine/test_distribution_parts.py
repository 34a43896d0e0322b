"""分布的零件：KL 散度、变换、限制与换算，逐个与 torch 相同；形状参数的导数另与高精度的积分相比。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.distribution_cases import TRANSFORMS, Build, built
from parity_tests.engine.twins import ENGINES, same, same_error, table, values
from tinygrad_llm.distributions import implicit, kl

# ---- KL 散度

_PARTNERS: dict[str, tuple[Build, Build]] = {
    "Bernoulli": (lambda D, t: D.Bernoulli(t([0.2, 0.5])), lambda D, t: D.Bernoulli(t([0.7, 0.4]))),
    "Beta": (lambda D, t: D.Beta(t([0.5, 2]), t([3.0, 1])), lambda D, t: D.Beta(t([1.5, 1]), t([2.0, 4]))),
    "Binomial": (lambda D, t: D.Binomial(t([5.0, 9]), t([0.2, 0.6])), lambda D, t: D.Binomial(5, t([0.4, 0.5]))),
    "Categorical": (
        lambda D, t: D.Categorical(t([[0.2, 0.8, 0], [1.0, 1, 1]])),
        lambda D, t: D.Categorical(t([[0.3, 0.3, 0.4], [0, 0.5, 0.5]]))),
    "Cauchy": (lambda D, t: D.Cauchy(t([0.0, 2]), t([1.0, 3])), lambda D, t: D.Cauchy(t([1.0, 1]), t([2.0, 1]))),
    "Dirichlet": (lambda D, t: D.Dirichlet(t([0.5, 1, 2])), lambda D, t: D.Dirichlet(t([[1.0, 2, 3], [0.3, 1, 4]]))),
    "Exponential": (lambda D, t: D.Exponential(t([0.5, 2])), lambda D, t: D.Exponential(t([1.0, 3]))),
    "Gamma": (lambda D, t: D.Gamma(t([0.5, 4]), t([1.0, 2])), lambda D, t: D.Gamma(t([1.5, 3]), t([2.0, 1]))),
    "Geometric": (lambda D, t: D.Geometric(t([0.2, 0.5])), lambda D, t: D.Geometric(t([0.3, 0.4]))),
    "Gumbel": (lambda D, t: D.Gumbel(t([0.0, 1]), t([1.0, 2])), lambda D, t: D.Gumbel(t([1.0, 1]), t([2.0, 1]))),
    "HalfNormal": (lambda D, t: D.HalfNormal(t([1.0, 2])), lambda D, t: D.HalfNormal(t([2.0, 1]))),
    "Independent": (
        lambda D, t: D.Independent(D.Normal(t([[0.0, 1]] * 3), 1.0), 1),
        lambda D, t: D.Independent(D.Normal(t([[1.0, 3]] * 3), 2.0), 1)),
    "Laplace": (lambda D, t: D.Laplace(t([0.0, 1]), t([1.0, 2])), lambda D, t: D.Laplace(t([1.0, 1]), t([2.0, 1]))),
    "MultivariateNormal": (
        lambda D, t: D.MultivariateNormal(t([[0.0, 1], [2, 3]]), t([[2.0, 0.5], [0.5, 1]])),
        lambda D, t: D.MultivariateNormal(t([1.0, 1]), t([[1.0, 0], [0, 3]]))),
    "Normal": (lambda D, t: D.Normal(t([0.0, 1]), t([1.0, 2])), lambda D, t: D.Normal(t([1.0, -1]), t([2.0, 1]))),
    "OneHotCategorical": (
        lambda D, t: D.OneHotCategorical(t([0.2, 0.8])), lambda D, t: D.OneHotCategorical(t([0.5, 0.5]))),
    "Pareto": (lambda D, t: D.Pareto(t([1.0, 2]), t([1.5, 3])), lambda D, t: D.Pareto(t([0.5, 3]), t([1.0, 2]))),
    "Poisson": (lambda D, t: D.Poisson(t([0.5, 3])), lambda D, t: D.Poisson(t([1.0, 2]))),
    "TransformedDistribution": (
        lambda D, t: D.LogNormal(t([0.0, 1]), t([1.0, 2])), lambda D, t: D.LogNormal(t([1.0, 1]), t([2.0, 1]))),
    "Uniform": (lambda D, t: D.Uniform(t([0.0, 0]), t([1.0, 1])), lambda D, t: D.Uniform(t([-1.0, 0.5]), t([2.0, 2]))),
}  # fmt: skip
REGISTERED = sorted({(p.__name__, q.__name__) for p, q in kl._REGISTERED})


@pytest.mark.parametrize(("p", "q"), REGISTERED)
def test_a_divergence_is_not_torchs(p: str, q: str) -> None:
    """登记了的一对，散度的值或它对参数的梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        given: list[Any] = []
        found = m.distributions.kl_divergence(built(m, _PARTNERS[p][0], given), built(m, _PARTNERS[q][1], given))
        if not found.isfinite().all() or not found.requires_grad:  # inf 处的梯度没有意义
            return found.detach()
        found.sum().backward()
        return found, [leaf.grad for leaf in given if leaf.grad is not None]

    same(run, "distribution")


def test_divergences_are_dispatched_differently() -> None:
    """子类没有用父类的式子，自己登记的一对没有优先，或没有登记的一对不报错。"""
    for m in ENGINES:
        D = m.distributions
        both = D.kl_divergence(D.Chi2(m.tensor(3.0)), D.Gamma(m.tensor(1.5), m.tensor(0.5)))
        assert abs(both.item()) < 1e-6

        class Special(D.Normal):  # type: ignore[misc, name-defined]
            """正态分布的子类。"""

        D.register_kl(Special, D.Normal)(lambda p, q: m.tensor(7.0))  # noqa: B023
        assert D.kl_divergence(Special(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 7.0
        assert D.kl_divergence(D.Normal(0.0, 1.0), Special(0.0, 1.0)).item() == 0.0
        with pytest.raises(NotImplementedError):
            D.kl_divergence(D.Normal(0.0, 1.0), D.Poisson(1.0))
        del m.distributions.kl.__dict__["_REGISTERED" if m is tg else "_KL_REGISTRY"][Special, D.Normal]


def test_certain_outcomes_diverge_differently() -> None:
    """概率为 0 或 1 时，散度该是 0 的不是 0，该是无穷的不是无穷。"""
    p, q = [0.2, 0.5, 0, 1, 0, 1], [0, 1, 0.4, 0.4, 0, 1]

    def run(m: Any) -> Any:
        D = m.distributions
        return D.kl_divergence(D.Bernoulli(m.tensor(p, dtype=m.float64)), D.Bernoulli(m.tensor(q, dtype=m.float64)))

    same(run)


# ---- 变换


def _transformed(m: Any, case: tuple[Build, tuple[int, ...]]) -> Any:
    build, shape = case
    transform = built(m, build)
    x = m.tensor(np.abs(values(4, *shape)) + 0.1, requires_grad=True)
    y = transform(x)
    results = [y, transform.inv(y.detach())]
    try:
        results.append(transform.log_abs_det_jacobian(x, y))
    except NotImplementedError:
        results.append("not implemented")
    sum(one.sum() for one in results if not isinstance(one, str)).backward()
    shapes = tuple(transform.forward_shape(x.shape)), tuple(transform.inverse_shape(y.shape))
    about = transform.bijective, str(transform.domain), str(transform.codomain), str(transform)
    return results, x.grad, shapes, about


@pytest.mark.parametrize("case", table(TRANSFORMS))
def test_a_transform_is_not_torchs(case: tuple[Build, tuple[int, ...]]) -> None:
    """变换的值、反着走的值、对数雅可比、梯度、形状或打印的样子与 torch 不同。"""
    same(lambda m: _transformed(m, case))


@pytest.mark.parametrize("case", table({name: case for name, case in TRANSFORMS.items() if name != "Reshape"}))
def test_a_jacobian_is_not_the_derivative(case: tuple[Build, tuple[int, ...]]) -> None:
    """一一对应的变换，对数雅可比不是导数的行列式。"""
    build, shape = case
    transform = built(tg, build)
    if not transform.bijective or transform.domain.event_dim > 1:
        return
    dim = transform.domain.event_dim
    x = tg.tensor(np.abs(values(4, *shape))[0] + 0.1)
    y = transform(x)
    jacobian = tg.autograd.functional.jacobian(lambda v: transform(v), x).numpy()
    if dim == 0:  # 逐元素：雅可比是对角阵
        expected = np.log(np.abs(np.diagonal(jacobian.reshape(x.numel(), -1)))).reshape(x.shape)
    else:
        expected = np.linalg.slogdet(jacobian[: x.numel()])[1]
    np.testing.assert_allclose(transform.log_abs_det_jacobian(x, y).numpy(), expected, rtol=1e-9, atol=1e-9)


def test_transforms_do_not_compare_or_remember() -> None:
    """相等的变换认不出来，或记住的一对没有原样取回。"""

    def run(m: Any) -> Any:
        D = m.distributions
        affine = D.AffineTransform
        pairs = [(D.ExpTransform(), D.ExpTransform()), (D.ExpTransform(), D.TanhTransform()),
            (affine(0.0, 1.0), affine(0.0, 1)), (affine(0, 1), affine(1, 1)),
            (D.ExpTransform().inv, D.ExpTransform().inv), (D.PowerTransform(2.0), D.PowerTransform(2.0)),
            (D.ComposeTransform([D.ExpTransform()]), D.ComposeTransform([D.ExpTransform()]))]  # fmt: skip
        remembered = D.TanhTransform(cache_size=1)
        x = m.tensor([20.0])
        kept = remembered.inv(remembered(x)) is x, remembered.with_cache(0).inv(remembered(x)).isinf().item()
        signs = [D.ExpTransform().sign, D.AffineTransform(0, -2.0).sign, D.ExpTransform().event_dim]
        return [a == b for a, b in pairs], [a != b for a, b in pairs], kept, signs, D.ExpTransform().inv.inv.sign

    same(run)


# ---- 限制与换算

CONSTRAINTS: dict[str, Callable[[Any], Any]] = {
    "boolean": lambda c: c.boolean, "positive": lambda c: c.positive, "nonnegative": lambda c: c.nonnegative,
    "real": lambda c: c.real, "unit_interval": lambda c: c.unit_interval, "interval": lambda c: c.interval(-1, 0.5),
    "half_open_interval": lambda c: c.half_open_interval(0, 1), "less_than": lambda c: c.less_than(1),
    "greater_than": lambda c: c.greater_than(0.5), "greater_than_eq": lambda c: c.greater_than_eq(0.5),
    "integer_interval": lambda c: c.integer_interval(0, 1), "positive_integer": lambda c: c.positive_integer,
    "nonnegative_integer": lambda c: c.nonnegative_integer, "simplex": lambda c: c.simplex,
    "one_hot": lambda c: c.one_hot, "multinomial": lambda c: c.multinomial(2), "real_vector": lambda c: c.real_vector,
    "independent": lambda c: c.independent(c.positive, 2), "lower_triangular": lambda c: c.lower_triangular,
    "lower_cholesky": lambda c: c.lower_cholesky, "corr_cholesky": lambda c: c.corr_cholesky,
    "square": lambda c: c.square, "symmetric": lambda c: c.symmetric,
    "positive_definite": lambda c: c.positive_definite,
    "positive_semidefinite": lambda c: c.positive_semidefinite, "cat": lambda c: c.cat([c.positive, c.real], 0, [1, 2]),
    "stack": lambda c: c.stack([c.positive, c.real, c.boolean], 0),
    "mixture": lambda c: c.MixtureSameFamilyConstraint(c.positive),
}  # fmt: skip
CHECKED = {
    "mixed": [[[1.0, 0, 0], [0.5, 0.5, 0], [-1, 1, 1]]] * 2 + [[[2.0, 0.25, 1], [float("nan"), 3, 0], [0, 0, 1]]],
    "triangular": [[[1.0, 0, 0], [0.5, 2, 0], [-1, 1, 3]]] * 3,
    "definite": [[[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]] * 3,
    "singular": [[[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]] * 3,
}


@pytest.mark.parametrize("make", table(CONSTRAINTS))
def test_a_constraint_is_not_torchs(make: Callable[[Any], Any]) -> None:
    """限制的判断、事件的轴数或打印的样子与 torch 不同。"""

    def run(m: Any) -> Any:
        c = make(m.distributions.constraints)
        checked = [c.check(m.tensor(data, dtype=m.float64)) for data in CHECKED.values()]
        return (
            checked,
            c.event_dim,
            c.is_discrete,
            repr(c) if type(c).__name__ not in ("_Cat", "_Stack", "_Parts") else "",
        )

    same(run)


NOT_TRANSFORMED = ("cat", "corr_cholesky", "stack")


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
@pytest.mark.parametrize("make", table({k: one for k, one in CONSTRAINTS.items() if k not in NOT_TRANSFORMED}))
def test_a_constraint_is_reached_differently(make: Callable[[Any], Any], registry: str) -> None:
    """由限制找到的变换、它的值与反着走的值与 torch 不同；或没有变换也不报错。"""

    def run(m: Any) -> Any:
        try:
            transform = getattr(m.distributions, registry)(make(m.distributions.constraints))
        except NotImplementedError:
            return "none"
        y = transform(m.tensor(values(3, 3, 3)))
        return y, transform.inv(y), str(transform)

    same(run)


def test_a_constraint_of_ones_own_has_no_transform() -> None:
    """自己写的限制登记不了，不是限制的也登记了。"""

    def run(m: Any) -> Any:
        D = m.distributions

        class Even(D.constraints.Constraint):  # type: ignore[misc, name-defined]
            """偶数。"""

        @D.transform_to.register(Even)  # type: ignore[untyped-decorator]
        def doubled(constraint: Any) -> Any:
            assert isinstance(constraint, Even)
            return D.AffineTransform(0.0, 2.0)

        fresh = type(D.biject_to)()
        fresh.register(D.constraints.positive, lambda c: D.SoftplusTransform())
        return D.transform_to(Even())(m.ones(2)), str(fresh(D.constraints.positive))

    same(run)
    same_error(lambda m: m.distributions.biject_to.register(3, lambda c: None))
    same_error(lambda m: m.distributions.biject_to(m.distributions.constraints.dependent))


CONVERSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "logits to probabilities": lambda m, u: (
        u.logits_to_probs(m.tensor([[0.0, 1]])), u.logits_to_probs(m.tensor([0.3]), True)),
    "probabilities to logits": lambda m, u: (
        u.probs_to_logits(m.tensor([0.0, 0.3, 1])), u.probs_to_logits(m.tensor([0.0, 0.3, 1]), is_binary=True)),
    "clamped": lambda m, u: u.clamp_probs(m.tensor([0.0, 1], dtype=m.float64)),
    "broadcast": lambda m, u: u.broadcast_all(1, m.tensor([2.0, 3], dtype=m.float64), m.zeros(3, 1, dtype=m.float64)),
    "numbers broadcast": lambda m, u: u.broadcast_all(1, 2.5),
    "triangles": lambda m, u: [
        u.tril_matrix_to_vec(m.arange(18.0).reshape(2, 3, 3), d) for d in (-1, 0, 1)
    ] + [u.vec_to_tril_matrix(m.arange(6.0).reshape(2, 3), d) for d in (-1, 0)],
}  # fmt: skip


@pytest.mark.parametrize("convert", table(CONVERSIONS))
def test_a_conversion_is_not_torchs(convert: Callable[[Any, Any], Any]) -> None:
    """概率与 logits 的换算、参数的广播或三角阵的拆装与 torch 不同。"""
    same(lambda m: convert(m, m.distributions.utils), "float32")


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "a cache of two": lambda m: m.distributions.ExpTransform(cache_size=2),
    "a reshape that loses elements": lambda m: m.distributions.ReshapeTransform((2, 3), (5,)),
    "a reshape of another shape": lambda m: m.distributions.ReshapeTransform((2, 3), (6,)).forward_shape((3, 2)),
    "a reshape of too few axes": lambda m: m.distributions.ReshapeTransform((2, 3), (6,)).forward_shape((3,)),
    "an independent transform of a number": lambda m: m.distributions.IndependentTransform(
        m.distributions.ExpTransform(), 1)(m.tensor(1.0)),
    "the event of a stick": lambda m: m.distributions.LowerCholeskyTransform().log_abs_det_jacobian(m.eye(2), m.eye(2)),
    "a dependent check": lambda m: m.distributions.constraints.dependent.check(m.ones(1)),
    "a vector constraint on a number": lambda m: m.distributions.constraints.real_vector.check(m.tensor(1.0)),
    "a triangle of five": lambda m: m.distributions.utils.vec_to_tril_matrix(m.ones(5)),
    "a diagonal outside": lambda m: m.distributions.utils.tril_matrix_to_vec(m.eye(2), 2),
    "a divergence of two lengths": lambda m: m.distributions.kl_divergence(
        m.distributions.MultivariateNormal(m.zeros(2), m.eye(2)),
        m.distributions.MultivariateNormal(m.zeros(3), m.eye(3))),
    "a divergence of two transforms": lambda m: m.distributions.kl_divergence(
        m.distributions.LogNormal(0.0, 1.0),
        m.distributions.TransformedDistribution(m.distributions.Normal(0.0, 1.0), m.distributions.TanhTransform())),
    "a divergence of more tries": lambda m: m.distributions.kl_divergence(
        m.distributions.Binomial(3, m.tensor(0.5)), m.distributions.Binomial(5, m.tensor(0.5))),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_a_wrong_part_is_accepted(mistake: Callable[[Any], Any]) -> None:
    """torch 拒绝的变换、限制或散度这里放过了，或报的是另一类错。"""
    same_error(mistake)


# ---- 形状参数的导数


GAMMA_SLOPES = (
    (0.05, 1e-09, 4.04508417316318e-7),
    (0.05, 0.5, 9.74961895789878),
    (0.3, 2.0, 3.56411032124692),
    (1, 0.01, 0.0505569223698673),
    (1, 3, 1.93791169382496),
    (2.5, 2.5, 1.06867301998763),
    (8, 1, 0.302458117041182),
    (30, 28, 0.971282368474091),
    (200, 260, 1.13785760118694),
)
"""形状参数、样本，与 ``-(∂P(a, x)/∂a) / f(x)``：mpmath 以 60 位算得。"""
BETA_SLOPES = (
    (1e-06, 0.1, 2.0, 0.000129064451148861),
    (0.4, 0.3, 0.3, 3.51066527177618),
    (0.999, 0.5, 0.2, 3.71504956718325),
    (0.5, 1, 1, 0.693147180559945),
    (0.2, 3, 8, 0.0842412305575458),
    (0.95, 3, 8, 0.174976688208218),
    (0.6, 60, 40, 0.01006134033286),
    (0.0001, 5, 200, 0.000112312411411506),
)
"""样本、两个参数，与 ``-(∂I_x(a, b)/∂a) / (f(x) (1 - x))``：同上。"""


def test_slopes_of_samples_are_not_those_of_the_distribution_function() -> None:
    """伽马与贝塔样本对形状参数的导数，与分布函数的高精度导数不同。"""
    a, x, gammas = np.array(GAMMA_SLOPES).T
    np.testing.assert_allclose(implicit.gamma_gradient(a, x), gammas, rtol=1e-9)
    x, a, b, betas = np.array(BETA_SLOPES).T
    np.testing.assert_allclose(implicit.dirichlet_gradient(x, a, a + b), betas, rtol=1e-8)
