"""两个分布之间的 KL 散度 ``KL(p ‖ q)``：有式子的，按两边的类型登记在表里。

流入：两个分布；流出：形状为 ``batch_shape`` 的 Tensor。登记新的一对用 ``register_kl``。
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import full_like
from tinygrad_llm.distributions.categorical import Categorical, OneHotCategorical
from tinygrad_llm.distributions.continuous import Cauchy, Exponential, Laplace, Normal, Uniform
from tinygrad_llm.distributions.counting import Bernoulli, Binomial, Geometric, Poisson
from tinygrad_llm.distributions.distribution import Distribution
from tinygrad_llm.distributions.gammas import Beta, Dirichlet, Gamma
from tinygrad_llm.distributions.independent import Independent
from tinygrad_llm.distributions.multivariate_normal import MultivariateNormal, log_diagonal, mahalanobis
from tinygrad_llm.distributions.transformed import Gumbel, HalfNormal, Pareto
from tinygrad_llm.distributions.transformed_distribution import TransformedDistribution
from tinygrad_llm.distributions.utils import euler_constant, sum_rightmost
from tinygrad_llm.joining import broadcast_shapes
from tinygrad_llm.linalg.solving import solve_triangular
from tinygrad_llm.nn.activations import softplus
from tinygrad_llm.tensor import Tensor

Divergence = Callable[[Any, Any], Tensor]
_REGISTERED: dict[tuple[type, type], Divergence] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Divergence], Divergence]:
    """登记一对类型的散度；用作装饰器。"""

    def decorator(function: Divergence) -> Divergence:
        _REGISTERED[type_p, type_q] = function
        return function

    return decorator


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """``KL(p ‖ q)``，形状为 ``batch_shape``。

    Raises:
        NotImplementedError: 这一对没有登记。
    """
    kinds = [(a, b) for a, b in _REGISTERED if isinstance(p, a) and isinstance(q, b)]
    if not kinds:
        raise NotImplementedError(f"No KL(p || q) is implemented for {type(p).__name__} and {type(q).__name__}")
    first, second = type(p).__mro__.index, type(q).__mro__.index
    by_left = min(kinds, key=lambda kind: (first(kind[0]), second(kind[1])))
    by_right = min(kinds, key=lambda kind: (second(kind[1]), first(kind[0])))
    if _REGISTERED[by_left] is not _REGISTERED[by_right]:
        names = f"({type(p).__name__}, {type(q).__name__})"
        warnings.warn(f"Ambiguous kl_divergence{names}: register_kl{names} decides", RuntimeWarning, stacklevel=2)
    return _REGISTERED[by_left](p, q)


def _infinite(*pairs: tuple[type, type], name: str) -> None:
    """样本可能落到 q 的范围之外的各对，散度无穷；``name`` 是 p 的一个参数，给出形状。"""

    def infinite(p: Distribution, q: Distribution) -> Tensor:
        return full_like(getattr(p, name), math.inf)

    for pair in pairs:
        register_kl(*pair)(infinite)


def _x_log_x(x: Tensor) -> Tensor:
    return x.xlogy(x)


# ---- 离散


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    ones = ones.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0)
    return ones + zeros.masked_fill(q.probs == 1, math.inf).masked_fill(p.probs == 1, 0.0)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    found = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return found.masked_fill(p.total_count > q.total_count, math.inf)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    return terms.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


# ---- 位置与尺度


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio, away = (p.scale / q.scale).pow(2), ((p.loc - q.loc) / q.scale).pow(2)
    return 0.5 * (ratio + away - 1 - ratio.log())


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    away = (p.loc - q.loc) / p.scale
    near = math.sqrt(2 / math.pi) * p.scale * (-0.5 * away.pow(2)).exp()
    far = (p.loc - q.loc) * (math.sqrt(0.5) * away).erf()
    return -(p.scale / q.scale).log() + (near + far) / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Normal, q: Gumbel) -> Tensor:
    mean, spread, loc = p.loc / q.scale, (p.scale / q.scale).pow(2), q.loc / q.scale
    tail = (-mean + 0.5 * spread + loc).exp()
    return -spread.log() * 0.5 + mean - loc + tail - 0.5 * (1 + math.log(2 * math.pi))


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * (-away / p.scale).exp() - 1


@register_kl(Laplace, Normal)
def _laplace_normal(p: Laplace, q: Normal) -> Tensor:
    ratio = p.scale.pow(2) / q.scale.pow(2)
    return -0.5 * (2 * ratio / math.pi).log() + ratio + 0.5 * ((p.loc - q.loc) / q.scale).pow(2) - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    return ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log() - (4 * p.scale * q.scale).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc) / q.scale
    tail = (-away + (1 + ratio).lgamma()).exp()
    return -ratio.log() + away + ratio * euler_constant + tail - (1 + euler_constant)


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Gumbel, q: Normal) -> Tensor:
    ratio = p.scale / q.scale
    spread = (math.pi * ratio * 0.5).pow(2) / 3
    away = ((p.loc + p.scale * euler_constant - q.loc) / q.scale).pow(2) * 0.5
    return -(ratio / math.sqrt(2 * math.pi)).log() + spread + away - (euler_constant + 1)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL between normals of different event shapes {p.event_shape} and {q.event_shape}")
    ours, theirs = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    shape = (*broadcast_shapes(ours.shape[:-2], theirs.shape[:-2]), *p.event_shape, *p.event_shape)
    trace = solve_triangular(theirs.expand(shape), ours.expand(shape), upper=False).pow(2).sum([-2, -1])
    away = mahalanobis(theirs, q.loc - p.loc)
    return log_diagonal(theirs) - log_diagonal(ours) + 0.5 * (trace + away - p.event_shape[0])


# ---- 正数


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Tensor:
    ratio, shape = q.rate / p.rate, q.concentration
    return -shape * ratio.log() + ratio + shape.lgamma() + shape * euler_constant - (1 + euler_constant)


@register_kl(Exponential, Normal)
def _exponential_normal(p: Exponential, q: Normal) -> Tensor:
    spread, rate = q.scale.pow(2), p.rate.pow(2)
    square = rate.reciprocal() - q.loc / p.rate + q.loc.pow(2) * 0.5
    return 0.5 * (rate * spread * 2 * math.pi).log() - 1 + square / spread


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    shapes = b * (p.rate / q.rate).log() + b.lgamma() - a.lgamma() + (a - b) * a.digamma()
    return shapes + (q.rate - p.rate) * (a / p.rate)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


@register_kl(Gamma, Normal)
def _gamma_normal(p: Gamma, q: Normal) -> Tensor:
    a, rate, spread = p.concentration, p.rate.pow(2), q.scale.pow(2)
    constant = 0.5 * (rate * spread * 2 * math.pi).log() - a - a.lgamma() + (a - 1) * a.digamma()
    return constant + (0.5 * (a.pow(2) + a) / rate - q.loc * a / p.rate + 0.5 * q.loc.pow(2)) / spread


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    a1, a0, b1, b0 = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    a, b = a1 + a0, b1 + b0
    constants = b1.lgamma() + b0.lgamma() + a.lgamma() - (a1.lgamma() + a0.lgamma() + b.lgamma())
    return constants + (a1 - b1) * a1.digamma() + (a0 - b0) * a0.digamma() + (b - a) * a.digamma()


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    constants = a.sum(-1).lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return constants + ((a - b) * (a.digamma() - a.sum(-1).digamma().unsqueeze(-1))).sum(-1)


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return found.masked_fill(p.scale < q.scale, math.inf)


# ---- 区间


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return found.masked_fill((q.low > p.low) | (q.high < p.high), math.inf)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    square = width.pow(2) / 12 + ((p.high + p.low - 2 * q.loc) / 2).pow(2)
    return (math.sqrt(math.pi * 2) * q.scale / width).log() + 0.5 * square / q.scale.pow(2)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    found = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return found.masked_fill(p.low < 0, math.inf)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Uniform, q: Gamma) -> Tensor:
    width, shape = p.high - p.low, q.concentration
    mean_log = (_x_log_x(p.high) - _x_log_x(p.low) - width) / width
    found = -width.log() + shape.lgamma() - shape * q.rate.log() + (1 - shape) * mean_log
    return (found + q.rate * (p.high + p.low) / 2).masked_fill(p.low < 0, math.inf)


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> Tensor:
    width, a1, a0 = p.high - p.low, q.concentration1, q.concentration0
    ones = (a1 - 1) * (_x_log_x(p.high) - _x_log_x(p.low) - width) / width
    zeros = (a0 - 1) * (_x_log_x(1 - p.high) - _x_log_x(1 - p.low) + width) / width
    found = zeros + a1.lgamma() + a0.lgamma() - (a1 + a0).lgamma() - width.log() - ones
    return found.masked_fill((p.high > 1) | (p.low < 0), math.inf)


@register_kl(Beta, Uniform)
def _beta_uniform(p: Beta, q: Uniform) -> Tensor:
    found = -p.entropy() + (q.high - q.low).log()
    return found.masked_fill((q.low > 0) | (q.high < 1), math.inf)


@register_kl(Beta, Normal)
def _beta_normal(p: Beta, q: Normal) -> Tensor:
    spread, mean = q.scale.pow(2), p.mean
    square = 0.5 * (p.variance + mean.pow(2)) - q.loc * mean + q.loc.pow(2) * 0.5
    return -p.entropy() + 0.5 * (spread * 2 * math.pi).log() + square / spread


# ---- 由别的分布组成的


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("KL between transformed distributions needs the same transforms and event shapes")
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL between Independents needs the same reinterpreted_batch_ndims")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


_infinite(*((Normal, q) for q in (Beta, Exponential, Gamma, Pareto, Uniform)), name="loc")
_infinite(*((Laplace, q) for q in (Beta, Exponential, Gamma, Pareto, Uniform)), name="loc")
_infinite(*((Gumbel, q) for q in (Beta, Exponential, Gamma, Pareto, Uniform)), name="loc")
_infinite(*((Exponential, q) for q in (Beta, Pareto, Uniform)), name="rate")
_infinite(*((Gamma, q) for q in (Beta, Pareto, Uniform)), name="concentration")
_infinite((Beta, Pareto), name="concentration1")
_infinite((Pareto, Beta), (Pareto, Uniform), name="scale")
_infinite((Poisson, Bernoulli), (Poisson, Binomial), name="rate")

__getattr__ = attributes(__name__)
