"""目标：四种方法各项的公式，与手算、列举、中心差分相同。

流入：随机的小模型与批次，三个动作的策略；流出：损失与梯度的差。
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from tinygrad_llm import losses as numpy_losses
from tinygrad_llm import objectives_policy as numpy_policy
from tinygrad_llm.common.advantages import baseline_advantages
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights, philox
from tinygrad_llm.common.rl.objective import Objective
from tinygrad_llm.train import build_model as numpy_model
from torch_llm import objectives_policy as torch_policy
from torch_llm.loop import build_model as torch_model

CONFIG = GPTConfig(vocab_size=13, context=8, n_layer=2, n_head=2, n_embd=8)
WEIGHTS = initial_weights(CONFIG, 0, "float64")
GOAL = Objective(
    temperature=0.7, clip=0.2, kl_weight=0.1, entropy_weight=0.01, value_weight=0.5, value_clip=0.2, vocab_size=13
)
PLAIN = replace(GOAL, clip=None, kl_weight=0.0, entropy_weight=0.0, value_weight=None, temperature=1.0)
BACKENDS: dict[str, Any] = {
    "numpy": (numpy_policy, numpy_model, tg.from_numpy),
    "torch": (torch_policy, torch_model, torch.from_numpy),
}


def batch(seed: int = 0) -> tuple[Any, ...]:
    """一个随机的批次：x、y、权重、采样时与参考的对数概率、优势、记下的数、价值、回报。"""
    draw = np.random.default_rng(seed)
    x, y = draw.integers(0, 13, (2, 4, 8))
    y[draw.random(y.shape) < 0.4] = -100
    y[:, 3] = 1  # 每行至少一个
    mask = y != -100
    floats = [mask / mask.sum(1, keepdims=True), *(draw.normal(-2.5, 0.3, (2, 4, 8))), draw.normal(size=(4, 8))]
    return (x, y, *floats, draw.random((4, 5)), *draw.normal(size=(2, 4, 8)))


def gradients(backend: str, goal: Objective, given: tuple[Any, ...]) -> tuple[float, dict[str, Any], dict[str, float]]:
    """损失、各参数的梯度、记下的数。"""
    module, build, tensor = BACKENDS[backend]
    model = build(CONFIG, WEIGHTS)
    method = module.PolicyGradient(goal)
    trained = method.attach(model)
    loss, figures = method.loss(model, *map(tensor, given))
    loss.backward()
    grads = {name: np.array(p.grad.numpy()) for name, p in trained.items() if p.grad is not None}
    return float(loss.detach()), grads, {name: float(value) for name, value in figures.items()}


def scores(backend: str, goal: Objective, given: tuple[Any, ...]) -> Any:
    """模型自己给这个批次的对数概率。"""
    module, build, _ = BACKENDS[backend]
    model = build(CONFIG, WEIGHTS)
    return module.Scorer(model, model, goal, rows=3).policy(*given[:2])[0]


@pytest.mark.parametrize("goal", [GOAL, PLAIN], ids=["all terms", "plain"])
def test_the_two_engines_compute_other_losses(goal: Objective) -> None:
    """同样的批次，两个引擎的损失、梯度或记下的数不同。"""
    given = batch() if goal.value_weight is not None else batch()[:7]
    ours, theirs = (gradients(backend, goal, given) for backend in BACKENDS)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-12)
    assert ours[1].keys() == theirs[1].keys()
    for name, grad in ours[1].items():
        np.testing.assert_allclose(grad, theirs[1][name], atol=1e-12, err_msg=name)
    assert ours[2] == pytest.approx(theirs[2], abs=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_loss_is_not_the_sum_of_its_terms_by_hand(backend: str) -> None:
    """PPO 的一个批次，每一项逐个 token 用 Python 手算，加起来与损失不同。"""
    given = batch()
    x, y, weights, old, reference, advantages, _, values, returns = given
    logits = torch_model(CONFIG, WEIGHTS)(torch.from_numpy(x)).detach().numpy() / GOAL.temperature
    total = 0.0
    for i, t in np.argwhere(y != -100):
        row = logits[i, t] - logits[i, t].max()
        logp = row - np.log(np.exp(row).sum())
        ratio, a = np.exp(logp[y[i, t]] - old[i, t]), advantages[i, t]
        d = reference[i, t] - logp[y[i, t]]
        error = (0 - returns[i, t]) ** 2  # 价值头全是 0，价值也是 0
        near = values[i, t] + np.clip(0 - values[i, t], -0.2, 0.2)
        each = -min(ratio * a, np.clip(ratio, 0.8, 1.2) * a) + 0.1 * (np.exp(d) - d - 1)
        each += 0.01 * (np.exp(logp) * logp).sum() + 0.5 * 0.5 * max(error, (near - returns[i, t]) ** 2)
        total += weights[i, t] * each
    assert gradients(backend, GOAL, given)[0] == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_grpo_at_ratio_one_is_not_its_simplified_form(backend: str) -> None:
    """采样的就是眼下的模型时，GRPO 的梯度与不用比值、不用 KL 的简化不同。"""
    given = list(batch()[:7])
    given[3] = given[4] = scores(backend, PLAIN, tuple(given))
    clipped = gradients(backend, replace(PLAIN, clip=0.2, kl_weight=0.3), tuple(given))
    simple = gradients(backend, PLAIN, tuple(given))
    for name, grad in simple[1].items():
        np.testing.assert_allclose(clipped[1][name], grad, atol=1e-12, err_msg=name)
    assert clipped[2]["clip_fraction"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_kl_of_equal_policies_does_not_vanish(backend: str) -> None:
    """参考就是自己时，KL 的值或梯度不是 0。"""
    given = list(batch()[:7])
    given[4], given[5] = scores(backend, PLAIN, tuple(given)), np.zeros((4, 8))  # 优势为 0：只剩 KL
    loss, grads, figures = gradients(backend, replace(PLAIN, kl_weight=1.0), tuple(given))
    assert abs(loss) < 1e-12
    assert abs(figures["kl"]) < 1e-12
    assert max(float(np.abs(grad).max()) for grad in grads.values()) < 1e-12


def test_clipped_tokens_still_have_a_gradient() -> None:
    """比值朝有利的方向走出 ε 之外，策略一项的梯度不是 0。"""
    given = list(batch()[:7])
    given[3] = scores("torch", PLAIN, tuple(given)) - 1.0  # 每个比值都是 e
    given[5] = np.ones((4, 8))
    _, grads, figures = gradients("torch", replace(PLAIN, clip=0.2), tuple(given))
    assert max(float(np.abs(grad).max()) for grad in grads.values()) == 0
    assert figures["clip_fraction"] == pytest.approx(float(given[2].sum()))


def policy_gradient(actions: Any, rewards: Any) -> Any:
    """NumPy 引擎上一次 REINFORCE：三个动作的策略，抽到的动作与奖励 → ``Σ A·∇log π / n``。"""
    theta = tg.tensor([0.3, -0.2, 0.5], dtype=tg.float64, requires_grad=True)
    logp = tg.nn.functional.log_softmax(theta, dim=0)[tg.from_numpy(actions)]
    advantages = tg.from_numpy(baseline_advantages(rewards))
    numpy_losses.reinforce_loss(logp, advantages).mean().backward()
    return -theta.grad.numpy()


P = np.exp([0.3, -0.2, 0.5]) / np.exp([0.3, -0.2, 0.5]).sum()
R = np.array([1.0, -0.5, 2.0])
EXPECTED = P * (R - P @ R)
"""``∂J/∂θ_i = p_i (r_i - J)``，``J = Σ p r``。"""


def test_the_expected_policy_gradient_is_not_the_enumerated_one() -> None:
    """两次抽样的全部九种结果，按概率加权的 REINFORCE 梯度（带基线）不等于期望奖励的梯度。"""
    total = np.zeros(3)
    for a in range(3):
        for b in range(3):
            actions = np.array([a, b])
            total += P[a] * P[b] * policy_gradient(actions, R[actions])
    np.testing.assert_allclose(total, EXPECTED, rtol=0, atol=1e-12)


def test_the_sampled_policy_gradient_misses_the_enumerated_one() -> None:
    """抽 400 组，每组 16 个动作：平均梯度偏离列举的期望超过 4 个标准误；或基线没有使方差变小。"""
    draw = philox(0, "bandit")
    groups = [draw.choice(3, size=16, p=P) for _ in range(400)]
    with_baseline = np.array([policy_gradient(actions, R[actions]) for actions in groups])
    error = with_baseline.std(0, ddof=1) / np.sqrt(len(groups))
    assert (np.abs(with_baseline.mean(0) - EXPECTED) < 4 * error).all()
    onehot = np.eye(3)
    without = np.array([(R[actions, None] * (onehot[actions] - P)).mean(0) for actions in groups])
    assert with_baseline.var(0).sum() < without.var(0).sum()


def test_the_baseline_is_not_the_mean_of_the_others() -> None:
    """基线不是其余奖励的平均。"""
    rewards = np.array([1.0, 0.0, 0.0, 4.0])
    by_hand = [1 - 4 / 3, 0 - 5 / 3, 0 - 5 / 3, 4 - 1 / 3]
    np.testing.assert_allclose(baseline_advantages(rewards), by_hand, rtol=0, atol=1e-12)
