"""概率分布：样本、对数密度、矩、熵与它们的梯度，逐个与 torch 相同；例子在 ``distribution_cases.py``。"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions

import tinygrad_llm as tg
from parity_tests.engine.distribution_cases import CASES, Build, built
from parity_tests.engine.twins import ENGINES, same, same_error, table

QUANTITIES = ("mean", "mode", "variance", "stddev", "entropy", "perplexity")
# torch 对形状参数的导数用近似的式子，相对误差到千分之一；这里的由求积得来
APPROXIMATE = {"Gamma", "Chi2", "Beta", "Dirichlet", "StudentT", "FisherSnedecor", "InverseGamma"}


def _answer(distribution: Any, name: str, *arguments: Any) -> Any:
    """一个量；torch 没有实现或算不了的，我们也该没有。"""
    try:
        found = getattr(distribution, name)
        return found(*arguments) if callable(found) else found
    except RuntimeError:
        return "not implemented"


def _at(m: Any, build: Build, seed: int = 5) -> Any:
    """torch 的几个样本，搬到某个引擎。"""
    torch.manual_seed(seed)
    return m.tensor(built(torch, build).sample((4,)).numpy())


@pytest.fixture(autouse=True)
def _parameters_are_checked() -> None:
    """torch 的编译器一经用过，就把全局的检查关掉：别的测试先用了它，这里的参数便不再检查。"""
    for m in ENGINES:
        m.distributions.Distribution.set_default_validate_args(True)


@pytest.mark.parametrize("build", table(CASES))
def test_moments_are_not_torchs(build: Build) -> None:
    """均值、众数、方差、熵、形状或打印的样子与 torch 不同。"""

    def run(m: Any) -> Any:
        d = built(m, build)
        shown = str(d) if "Mixture" not in str(d) else ""  # torch 造混合分布时顺带算出了 logits
        about = (tuple(d.batch_shape), tuple(d.event_shape), d.has_rsample, d.has_enumerate_support, str(d.support))
        return [_answer(d, name) for name in QUANTITIES], about, shown

    same(run, "distribution")


@pytest.mark.parametrize("sample", ["sample", "rsample"])
@pytest.mark.parametrize("build", table(CASES))
def test_samples_are_not_torchs(build: Build, sample: str) -> None:
    """同一种子的样本与 torch 不同，或多抽、少抽了数。"""

    def run(m: Any) -> Any:
        m.manual_seed(3)
        d = built(m, build)
        return [(_answer(d, sample, shape), m.rand(1)) for shape in ((), (5,), (2, 3))]

    same(run, "random normal")


@pytest.mark.parametrize("build", table(CASES))
def test_densities_are_not_torchs(build: Build) -> None:
    """对数密度、分布函数、分位数或列出的取值与 torch 不同。"""

    def run(m: Any) -> Any:
        d, at = built(m, build), _at(m, build)
        u = m.tensor(np.random.default_rng(0).random((4, *d.batch_shape)))
        listed = [_answer(d, "enumerate_support", expand) for expand in (True, False)]
        return _answer(d, "log_prob", at), _answer(d, "cdf", at), _answer(d, "icdf", u), listed

    same(run, "distribution")


@pytest.mark.parametrize("build", table(CASES))
def test_gradients_of_densities_are_not_torchs(build: Build) -> None:
    """对数密度或熵对参数、对样本的梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        given: list[Any] = []
        d, at = built(m, build, given), _at(m, build)
        at.requires_grad_(at.is_floating_point())
        total = d.log_prob(at).sum()
        if not isinstance(_answer(d, "entropy"), str):
            total = total + d.entropy().sum()
        total.backward()
        return [leaf.grad for leaf in (*given, at) if leaf.grad is not None], [leaf.grad is None for leaf in given]

    same(run, "distribution")


@pytest.mark.parametrize("name", sorted(name for name in CASES if built(torch, CASES[name]).has_rsample))
def test_gradients_of_samples_are_not_torchs(name: str) -> None:
    """样本对参数的梯度与 torch 不同，或样本因为要梯度而变了。"""

    def run(m: Any) -> Any:
        m.manual_seed(3)
        given: list[Any] = []
        drawn = built(m, CASES[name], given).rsample((40,))
        m.manual_seed(3)
        plain = built(m, CASES[name]).rsample((40,))
        (drawn * m.arange(drawn.numel(), dtype=m.float64).reshape(drawn.shape).sin()).sum().backward()
        return plain, drawn.detach(), [leaf.grad for leaf in given if leaf.grad is not None]

    ours, theirs = run(tg), run(torch)
    assert (ours[0] == ours[1]).all()
    np.testing.assert_allclose(ours[0].numpy(), theirs[0].numpy(), rtol=1e-7, atol=1e-12)
    assert len(ours[2]) == len(theirs[2])
    tolerance = 2e-3 if name in APPROXIMATE else 1e-7
    for a, b in zip(ours[2], theirs[2], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance * abs(b.numpy()).max())


@pytest.mark.parametrize("name", sorted(set(CASES) - {"Multinomial", "Multinomial by logits"}))
def test_expanding_is_not_torchs(name: str) -> None:
    """铺开批次之后的形状、矩或样本与 torch 不同。torch 铺开的多项分布没有熵，另一个测试管它。"""

    def run(m: Any) -> Any:
        m.manual_seed(3)
        d = built(m, CASES[name])
        wide = d.expand((3, *d.batch_shape))
        shapes = tuple(wide.batch_shape), tuple(wide.event_shape)
        return shapes, wide.sample(), [_answer(wide, quantity) for quantity in ("mean", "variance", "entropy")]

    same(run, "random normal")


def test_an_expanded_multinomial_has_no_entropy() -> None:
    """铺开之后的多项分布，均值、熵或对数概率与原来的不同。"""
    d = tg.distributions.Multinomial(6, tg.tensor([1.0, 2, 3]))
    wide = d.expand((2,))
    for name in ("mean", "entropy"):
        assert np.allclose(_answer(wide, name).numpy(), _answer(d, name).numpy())
    assert tuple(wide.log_prob(wide.sample()).shape) == (2,)


NUMBERS: dict[str, Callable[[Any], Any]] = {
    "Normal": lambda D: D.Normal(0.0, 1.0), "Uniform": lambda D: D.Uniform(0, 1), "Beta": lambda D: D.Beta(2, 3.0),
    "Gamma": lambda D: D.Gamma(2.0, 1), "Bernoulli": lambda D: D.Bernoulli(0.3), "Poisson": lambda D: D.Poisson(3.5),
    "Exponential": lambda D: D.Exponential(2), "Gumbel": lambda D: D.Gumbel(0.0, 1.0),
    "StudentT": lambda D: D.StudentT(5.0), "HalfNormal": lambda D: D.HalfNormal(1.0),
    "LogNormal": lambda D: D.LogNormal(0.0, 1.0), "Laplace": lambda D: D.Laplace(0, 1.0),
    "Geometric": lambda D: D.Geometric(0.25), "Binomial": lambda D: D.Binomial(4, 0.25),
    "Cauchy": lambda D: D.Cauchy(0.0, 1.0), "Weibull": lambda D: D.Weibull(1.0, 2.0), "Chi2": lambda D: D.Chi2(3.0),
}  # fmt: skip


@pytest.mark.parametrize("build", table(NUMBERS))
def test_numbers_as_parameters_are_not_torchs(build: Callable[[Any], Any]) -> None:
    """参数写成数时，类型、形状或样本与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(7)
        d = build(m.distributions)
        drawn = d.sample((9,))
        return tuple(d.batch_shape), d.mean, d.variance, drawn, d.log_prob(drawn)

    same(run, "random normal")


def _policy(m: Any) -> Any:
    """REINFORCE 与 PPO 里的几行：抽动作、记下对数概率、比率与熵。"""
    m.manual_seed(0)
    policy = m.nn.Linear(4, 3)
    with m.no_grad():
        dist = m.distributions.Categorical(logits=policy(m.ones(5, 4)))
        action = dist.sample()
        before = dist.log_prob(action)
    dist = m.distributions.Categorical(logits=policy(m.ones(5, 4)))
    ratio = (dist.log_prob(action) - before).exp()
    (-ratio.mean() - 0.01 * dist.entropy().mean()).backward()
    return action, before, policy.weight.grad, policy.bias.grad


def _actor(m: Any) -> Any:
    """SAC 的演员：tanh 压缩的正态，带重参数化。"""
    m.manual_seed(0)
    net = m.nn.Linear(3, 4)
    mean, log_std = net(m.ones(2, 3)).chunk(2, dim=-1)
    base = m.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
    dist = m.distributions.TransformedDistribution(base, [m.distributions.transforms.TanhTransform(cache_size=1)])
    action = dist.rsample()
    log_prob = dist.log_prob(action).sum(-1)
    (log_prob - action.sum(-1)).mean().backward()
    return action, log_prob, net.weight.grad


def _autoencoder(m: Any) -> Any:
    """VAE 的 ELBO：重参数化、KL 与 Bernoulli 的似然。"""
    m.manual_seed(0)
    encode, decode = m.nn.Linear(6, 4), m.nn.Linear(2, 6)
    x = (m.rand(3, 6) > 0.5).float()
    mean, log_var = encode(x).chunk(2, -1)
    posterior = m.distributions.Independent(m.distributions.Normal(mean, (0.5 * log_var).exp()), 1)
    prior = m.distributions.Independent(m.distributions.Normal(m.zeros(3, 2), m.ones(3, 2)), 1)
    z = posterior.rsample()
    likelihood = m.distributions.Independent(m.distributions.Bernoulli(logits=decode(z)), 1).log_prob(x)
    loss = (m.distributions.kl_divergence(posterior, prior) - likelihood).mean()
    loss.backward()
    return loss, encode.weight.grad, decode.weight.grad


@pytest.mark.parametrize("program", table({"policy": _policy, "actor": _actor, "autoencoder": _autoencoder}))
def test_a_program_that_samples_differs(program: Callable[[Any], Any]) -> None:
    """强化学习或变分自编码器的一步，动作、损失或梯度与 torch 不同。"""
    same(program, "random normal")


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "a negative scale": lambda m: m.distributions.Normal(0.0, -1.0),
    "a scale of NaN": lambda m: m.distributions.Normal(m.zeros(2), m.tensor([1.0, float("nan")])),
    "a parameter that is text": lambda m: m.distributions.Normal("0", 1.0),
    "a probability of two": lambda m: m.distributions.Bernoulli(m.tensor([2.0])),
    "probabilities and logits": lambda m: m.distributions.Categorical(m.ones(2), m.ones(2)),
    "neither probabilities nor logits": lambda m: m.distributions.Bernoulli(),
    "negative weights": lambda m: m.distributions.Categorical(m.tensor([-1.0, 2])),
    "weights without an axis": lambda m: m.distributions.Categorical(m.tensor(1.0)),
    "a crossed interval": lambda m: m.distributions.Uniform(1.0, 0.0),
    "a geometric that never succeeds": lambda m: m.distributions.Geometric(0.0),
    "half a total count": lambda m: m.distributions.Binomial(2.5, m.tensor(0.5)),
    "a count per row": lambda m: m.distributions.Multinomial(m.tensor([1, 2]), m.ones(2, 2)),
    "a covariance that is not definite": lambda m: m.distributions.MultivariateNormal(m.zeros(2), m.zeros(2, 2)),
    "a covariance that is not symmetric": lambda m: m.distributions.MultivariateNormal(
        m.zeros(2), m.tensor([[1.0, 0.5], [0, 1]])),
    "two matrices": lambda m: m.distributions.MultivariateNormal(m.zeros(2), m.eye(2), m.eye(2)),
    "no matrix": lambda m: m.distributions.MultivariateNormal(m.zeros(2)),
    "a mean without an axis": lambda m: m.distributions.MultivariateNormal(m.tensor(0.0), m.eye(2)),
    "a factor without rows": lambda m: m.distributions.MultivariateNormal(m.zeros(2), scale_tril=m.ones(2)),
    "a factor with an upper half": lambda m: m.distributions.MultivariateNormal(m.zeros(2), scale_tril=m.ones(2, 2)),
    "too many independent axes": lambda m: m.distributions.Independent(m.distributions.Normal(m.zeros(2), 1.0), 2),
    "a mixture without weights": lambda m: m.distributions.MixtureSameFamily(
        m.distributions.Normal(0.0, 1.0), m.distributions.Normal(m.zeros(2), 1.0)),
    "a mixture of numbers": lambda m: m.distributions.MixtureSameFamily(m.distributions.Categorical(m.ones(2)), 3),
    "a mixture of too many": lambda m: m.distributions.MixtureSameFamily(
        m.distributions.Categorical(m.ones(2)), m.distributions.Normal(m.zeros(3), 1.0)),
    "a transform that is a function": lambda m: m.distributions.TransformedDistribution(
        m.distributions.Normal(0.0, 1.0), [abs]),
    "a value that is a number": lambda m: m.distributions.Normal(0.0, 1.0).log_prob(0.5),
    "a value outside": lambda m: m.distributions.Exponential(1.0).log_prob(m.tensor(-1.0)),
    "a class that is not there": lambda m: m.distributions.Categorical(m.ones(3)).log_prob(m.tensor(3)),
    "half a class": lambda m: m.distributions.Categorical(m.ones(3)).log_prob(m.tensor(0.5)),
    "a value of another shape": lambda m: m.distributions.Normal(m.zeros(3), 1.0).log_prob(m.zeros(2)),
    "an event of another length": lambda m: m.distributions.MultivariateNormal(
        m.zeros(2), m.eye(2)).log_prob(m.zeros(3)),
    "a reparameterised count": lambda m: m.distributions.Poisson(3.0).rsample(),
    "a mean of nothing": lambda m: m.distributions.RelaxedBernoulli(m.tensor(1.0), 0.5).mean,
    "the entropy of a transform": lambda m: m.distributions.TransformedDistribution(
        m.distributions.Normal(0.0, 1.0), m.distributions.ExpTransform()).entropy(),
    "an expansion that shrinks": lambda m: m.distributions.Normal(m.zeros(3), 1.0).expand((2,)),
    "validation that is a word": lambda m: m.distributions.Distribution.set_default_validate_args("yes"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_a_wrong_distribution_is_accepted(mistake: Callable[[Any], Any]) -> None:
    """torch 拒绝的参数或样本这里放过了，或报的是另一类错。"""
    same_error(mistake)


def test_validation_cannot_be_turned_off() -> None:
    """``validate_args=False`` 或全局的开关不起作用，或改不回来。"""
    for m in ENGINES:
        base = m.distributions.Distribution
        assert m.distributions.Exponential(1.0, validate_args=False).log_prob(m.tensor(-1.0)).item() == 1.0
        base.set_default_validate_args(False)
        try:
            assert m.distributions.Normal(0.0, -1.0).scale.item() == -1.0
        finally:
            base.set_default_validate_args(True)
        with pytest.raises(ValueError, match=r"parameter scale .* GreaterThan"):
            m.distributions.Normal(0.0, -1.0)


def test_a_distribution_of_ones_own_does_not_work() -> None:
    """自己写的分布不能继承，或没有写限制时不警告。"""
    for m in ENGINES:

        class Point(m.distributions.Distribution):  # type: ignore[misc, name-defined]
            """总是 3。"""

            def sample(self, sample_shape: Any = ()) -> Any:
                """样本。"""
                return m.full(self._extended_shape(sample_shape), 3.0)  # noqa: B023

        with pytest.warns(UserWarning, match="arg_constraints"):
            point = Point((2,))
        assert point.sample((4,)).shape == (4, 2)
        with pytest.raises(NotImplementedError):
            point.log_prob(m.zeros(2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            assert m.distributions.Normal(0.0, 1.0).sample_n(3).shape == (3,)


def test_lazy_parameters_lose_their_gradients() -> None:
    """在 ``no_grad`` 里第一次取用的 logits 此后没有梯度。"""

    def run(m: Any) -> Any:
        probs = m.tensor([0.25, 0.75], dtype=m.float64, requires_grad=True)
        dist = m.distributions.Categorical(probs)
        with m.no_grad():
            dist.log_prob(m.tensor(1))
        dist.log_prob(m.tensor(1)).backward()
        return probs.grad

    same(run)
