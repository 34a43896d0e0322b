"""概率分布，与 ``torch.distributions`` 同名同义；同一种子之下样本也相同。

流入：参数；流出：样本、对数密度、熵、矩与 KL 散度。阅读次序：``distribution`` → ``continuous`` → ``counting`` →
``categorical`` → ``gammas`` → ``transform`` → ``transforms`` → ``transformed_distribution`` → ``kl``。
"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from typing import TYPE_CHECKING

from tinygrad_llm.absent import attributes

if TYPE_CHECKING:
    from tinygrad_llm.distributions.categorical import (
        Categorical, Multinomial, OneHotCategorical, OneHotCategoricalStraightThrough,
    )  # fmt: skip
    from tinygrad_llm.distributions.constraint_registry import biject_to, transform_to
    from tinygrad_llm.distributions.continuous import Cauchy, Exponential, Laplace, Normal, Uniform
    from tinygrad_llm.distributions.counting import Bernoulli, Binomial, Geometric, NegativeBinomial, Poisson
    from tinygrad_llm.distributions.distribution import Distribution
    from tinygrad_llm.distributions.gammas import Beta, Chi2, Dirichlet, FisherSnedecor, Gamma, StudentT
    from tinygrad_llm.distributions.independent import Independent
    from tinygrad_llm.distributions.kl import kl_divergence, register_kl
    from tinygrad_llm.distributions.mixture_same_family import MixtureSameFamily
    from tinygrad_llm.distributions.multivariate_normal import MultivariateNormal
    from tinygrad_llm.distributions.relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
    from tinygrad_llm.distributions.transformed import (
        Gumbel, HalfCauchy, HalfNormal, InverseGamma, LogNormal, Pareto, Weibull,
    )  # fmt: skip
    from tinygrad_llm.distributions.transformed_distribution import TransformedDistribution
    from tinygrad_llm.distributions.unit import Kumaraswamy, LogisticNormal

_HOMES = {
    name: home
    for home, names in {
        "categorical": "Categorical Multinomial OneHotCategorical OneHotCategoricalStraightThrough",
        "constraint_registry": "biject_to transform_to",
        "continuous": "Cauchy Exponential Laplace Normal Uniform",
        "counting": "Bernoulli Binomial Geometric NegativeBinomial Poisson",
        "distribution": "Distribution",
        "gammas": "Beta Chi2 Dirichlet FisherSnedecor Gamma StudentT",
        "independent": "Independent",
        "kl": "kl_divergence register_kl",
        "mixture_same_family": "MixtureSameFamily",
        "multivariate_normal": "MultivariateNormal",
        "relaxed": "RelaxedBernoulli RelaxedOneHotCategorical",
        "transformed": "Gumbel HalfCauchy HalfNormal InverseGamma LogNormal Pareto Weibull",
        "transformed_distribution": "TransformedDistribution",
        "unit": "Kumaraswamy LogisticNormal",
        "transforms": "AbsTransform AffineTransform ComposeTransform CumulativeDistributionTransform ExpTransform "
        "IndependentTransform LowerCholeskyTransform PositiveDefiniteTransform PowerTransform ReshapeTransform "
        "SigmoidTransform SoftmaxTransform SoftplusTransform StickBreakingTransform TanhTransform Transform "
        "identity_transform",
    }.items()
    for name in names.split()
}
"""名字到它所在的文件：用到哪个文件才加载哪个。"""
_MODULES = (
    "categorical", "constraint_registry", "constraints", "distribution", "independent", "kl", "mixture_same_family",
    "multivariate_normal", "transformed_distribution", "transforms", "utils",
)  # fmt: skip
"""torch 那边同名的文件。"""
__getattr__ = attributes(__name__, _MODULES, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "Dirichlet", "Distribution", "Exponential",
    "FisherSnedecor", "Gamma", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "Independent", "InverseGamma",
    "Kumaraswamy", "Laplace", "LogNormal", "LogisticNormal", "MixtureSameFamily", "Multinomial", "MultivariateNormal",
    "NegativeBinomial", "Normal", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Pareto", "Poisson",
    "RelaxedBernoulli", "RelaxedOneHotCategorical", "StudentT", "TransformedDistribution", "Uniform", "Weibull",
    "biject_to", "kl_divergence", "register_kl", "transform_to",
]  # fmt: skip
