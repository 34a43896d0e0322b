"""概率分布的例子：名字到构造的办法，两个引擎各造一个。

流入：引擎与造 float64 张量的函数；流出：分布。供 ``test_distributions*.py`` 使用。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Build = Callable[[Any, Callable[[Any], Any]], Any]
"""``(m.distributions, 造张量的函数) → 分布``。"""

CASES: dict[str, Build] = {
    "Normal": lambda D, t: D.Normal(t([0.0, 1, 2]), t([1.0, 2, 0.5])),
    "Normal, broadcast": lambda D, t: D.Normal(t([[1.0], [2.0]]), 2),
    "Uniform": lambda D, t: D.Uniform(t([0.0, -1]), t([1.0, 3])),
    "Laplace": lambda D, t: D.Laplace(t([0.0, 1]), t([1.0, 2])),
    "Cauchy": lambda D, t: D.Cauchy(t([0.0, 1]), t([1.0, 2])),
    "Exponential": lambda D, t: D.Exponential(t([0.5, 2])),
    "Bernoulli": lambda D, t: D.Bernoulli(t([0.2, 0.5, 0.9])),
    "Bernoulli by logits": lambda D, t: D.Bernoulli(logits=t([-1.0, 0, 2])),
    "Bernoulli, certain": lambda D, t: D.Bernoulli(t([0.0, 1])),
    "Geometric": lambda D, t: D.Geometric(t([0.2, 0.5])),
    "Geometric by logits": lambda D, t: D.Geometric(logits=t([0.2, 0.5])),
    "Binomial": lambda D, t: D.Binomial(10, t([0.2, 0.5, 0.9])),
    "Binomial by logits": lambda D, t: D.Binomial(5, logits=t([-1.0, 0.3, 2])),
    "Poisson": lambda D, t: D.Poisson(t([0.5, 3, 40])),
    "NegativeBinomial": lambda D, t: D.NegativeBinomial(t([3.0, 5]), t([0.2, 0.6])),
    "NegativeBinomial by logits": lambda D, t: D.NegativeBinomial(4, logits=t([0.2, -0.6])),
    "Categorical": lambda D, t: D.Categorical(t([[1.0, 2, 3], [0.5, 1, 1]])),
    "Categorical by logits": lambda D, t: D.Categorical(logits=t([[1.0, 2, 3], [0, 1, 1]])),
    "Categorical, alone": lambda D, t: D.Categorical(t([0.2, 0.8])),
    "OneHotCategorical": lambda D, t: D.OneHotCategorical(t([[1.0, 2, 3], [0.5, 1, 1]])),
    "straight through": lambda D, t: D.OneHotCategoricalStraightThrough(logits=t([[1.0, 2, 3], [0, 1, 1]])),
    "Multinomial": lambda D, t: D.Multinomial(6, t([[1.0, 2, 3], [0.5, 1, 1]])),
    "Multinomial by logits": lambda D, t: D.Multinomial(3, logits=t([1.0, 2, 3])),
    "Gamma": lambda D, t: D.Gamma(t([0.5, 1, 4, 30]), t([1.0, 2, 3, 1])),
    "Chi2": lambda D, t: D.Chi2(t([1.0, 3])),
    "Beta": lambda D, t: D.Beta(t([0.5, 2, 40]), t([3.0, 0.7, 30])),
    "Dirichlet": lambda D, t: D.Dirichlet(t([[0.5, 1, 2], [3.0, 4, 5], [0.8, 0.9, 0.7]])),
    "StudentT": lambda D, t: D.StudentT(t([0.5, 1.5, 5]), 1.0, t([2.0, 3, 1])),
    "FisherSnedecor": lambda D, t: D.FisherSnedecor(t([1.0, 5]), t([3.0, 9])),
    "LogNormal": lambda D, t: D.LogNormal(t([0.0, 1]), t([1.0, 0.5])),
    "HalfNormal": lambda D, t: D.HalfNormal(t([1.0, 2])),
    "HalfCauchy": lambda D, t: D.HalfCauchy(t([1.0, 2])),
    "Gumbel": lambda D, t: D.Gumbel(t([0.0, 1]), t([1.0, 2])),
    "Weibull": lambda D, t: D.Weibull(t([1.0, 2]), t([1.5, 3])),
    "Pareto": lambda D, t: D.Pareto(t([1.0, 2]), t([1.5, 3])),
    "InverseGamma": lambda D, t: D.InverseGamma(t([1.5, 4]), t([1.0, 2])),
    "LogisticNormal": lambda D, t: D.LogisticNormal(t([0.0, 1]), t([1.0, 2])),
    "Kumaraswamy": lambda D, t: D.Kumaraswamy(t([1.5, 2]), t([2.0, 3])),
    "MultivariateNormal": lambda D, t: D.MultivariateNormal(t([0.0, 1]), t([[2.0, 0.5], [0.5, 1]])),
    "MultivariateNormal by precision": lambda D, t: D.MultivariateNormal(
        t([[0.0, 1], [2, 3]]), precision_matrix=t([[2.0, 0.5], [0.5, 1]])
    ),
    "MultivariateNormal by factor": lambda D, t: D.MultivariateNormal(
        t([0.0, 1]), scale_tril=t([[[2.0, 0], [0.5, 1]], [[1.0, 0], [0.2, 2]]])
    ),
    "Independent": lambda D, t: D.Independent(D.Normal(t([[0.0, 1, 2]] * 2), t([[1.0, 2, 0.5]] * 2)), 1),
    "mixture": lambda D, t: D.MixtureSameFamily(
        D.Categorical(t([[0.3, 0.7], [0.5, 0.5]])), D.Normal(t([[0.0, 1], [3, 4]]), t([[1.0, 2], [1, 1]]))
    ),
    "mixture of vectors": lambda D, t: D.MixtureSameFamily(
        D.Categorical(t([0.3, 0.7])), D.Independent(D.Normal(t([[0.0, 1], [3, 4]]), t([[1.0, 2], [1, 1]])), 1)
    ),
    "RelaxedBernoulli": lambda D, t: D.RelaxedBernoulli(t(0.7), t([0.2, 0.6])),
    "RelaxedBernoulli by logits": lambda D, t: D.RelaxedBernoulli(t(0.7), logits=t([0.2, 0.6])),
    "RelaxedOneHotCategorical": lambda D, t: D.RelaxedOneHotCategorical(t(0.7), t([0.2, 0.6, 0.2])),
    "RelaxedOneHotCategorical by logits": lambda D, t: D.RelaxedOneHotCategorical(
        t(0.7), logits=t([[0.2, 0.6], [1.0, 2]])
    ),
    "squashed": lambda D, t: D.TransformedDistribution(
        D.Normal(t([0.0, 1]), t([1.0, 2])), D.transforms.TanhTransform(cache_size=1)
    ),
    "affine, then sigmoid": lambda D, t: D.TransformedDistribution(
        D.Normal(t([0.0, 1]), t([1.0, 2])), [D.AffineTransform(1.0, -2.0), D.SigmoidTransform()]
    ),
    "a flow over vectors": lambda D, t: D.TransformedDistribution(
        D.Independent(D.Normal(t([0.0, 1]), t([1.0, 2])), 1),
        [D.AffineTransform(t([1.0, 2]), t([2.0, -1]), event_dim=1), D.ExpTransform()],
    ),
}

TRANSFORMS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "Exp": (lambda D, t: D.ExpTransform(), (4,)),
    "Power": (lambda D, t: D.PowerTransform(t([2.0, 0.5])), (3, 2)),
    "Sigmoid": (lambda D, t: D.SigmoidTransform(), (4,)),
    "Softplus": (lambda D, t: D.SoftplusTransform(), (4,)),
    "Tanh": (lambda D, t: D.TanhTransform(), (4,)),
    "Abs": (lambda D, t: D.AbsTransform(), (4,)),
    "Affine": (lambda D, t: D.AffineTransform(1.0, t([2.0, -3])), (3, 2)),
    "Affine of vectors": (lambda D, t: D.AffineTransform(t([1.0, 2]), 0.5, event_dim=1), (3, 2)),
    "Softmax": (lambda D, t: D.SoftmaxTransform(), (3, 4)),
    "StickBreaking": (lambda D, t: D.StickBreakingTransform(), (3, 4)),
    "LowerCholesky": (lambda D, t: D.LowerCholeskyTransform(), (2, 3, 3)),
    "PositiveDefinite": (lambda D, t: D.PositiveDefiniteTransform(), (2, 3, 3)),
    "Reshape": (lambda D, t: D.ReshapeTransform((2, 3), (6,)), (4, 2, 3)),
    "Independent": (lambda D, t: D.IndependentTransform(D.ExpTransform(), 1), (3, 2)),
    "Compose": (lambda D, t: D.ComposeTransform([D.ExpTransform(), D.AffineTransform(1.0, 2.0)]), (4,)),
    "Compose of different events": (
        lambda D, t: D.ComposeTransform([D.TanhTransform(), D.StickBreakingTransform()]), (3, 4)),
    "identity": (lambda D, t: D.identity_transform, (4,)),
    "CumulativeDistribution": (lambda D, t: D.CumulativeDistributionTransform(D.Normal(t(0.0), t(1.0))), (4,)),
    "inverse": (lambda D, t: D.ExpTransform().inv, (4,)),
    "inverse of Compose": (lambda D, t: D.ComposeTransform([D.TanhTransform(), D.ExpTransform()]).inv, (4,)),
}  # fmt: skip
"""变换，与输入的形状。"""


def built(m: Any, build: Build, given: list[Any] | None = None) -> Any:
    """造一个分布；``given`` 收下造它用的张量，都要梯度。"""

    def tensor(values: Any) -> Any:
        leaf = m.tensor(np.array(values), dtype=m.float64, requires_grad=given is not None)
        if given is not None:
            given.append(leaf)
        return leaf

    return build(m.distributions, tensor)
