"""损失等于手算与定义；两个引擎的值与梯度相同。

流入：随机的对数概率与 logits；流出：与逐项写出的公式、与对全部动作求和的期望相比的差。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
import tinygrad_llm.losses as ours
import torch_llm.losses as theirs

DRAW = np.random.default_rng(7)
PAIRS = [-np.exp(DRAW.standard_normal(5)) * 3 for _ in range(4)]
TOKENS = [DRAW.standard_normal((2, 4)) * 0.3 - 1 for _ in range(3)]
LOGITS = [DRAW.standard_normal((2, 3, 5)) for _ in range(2)]
TARGETS = np.array([[1, -100, 4], [0, 2, -100]])
GOOD = np.array([True, False, True, True, False])


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _by_hand(name: str, row: int) -> float:
    """照公式逐项写出的一行。"""
    chosen, rejected, chosen_reference, rejected_reference = (float(one[row]) for one in PAIRS)
    gap = (chosen - chosen_reference) - (rejected - rejected_reference)
    if name == "dpo":
        return -math.log(_sigmoid(0.3 * gap))
    if name == "dpo_smooth":
        return -0.9 * math.log(_sigmoid(0.3 * gap)) - 0.1 * math.log(_sigmoid(-0.3 * gap))
    if name == "ipo":
        return (gap - 1 / 0.6) ** 2
    if name == "kto":
        gain = 0.3 * (chosen - rejected - 0.2)
        return 2.0 * (1 - _sigmoid(gain)) if GOOD[row] else 0.5 * (1 - _sigmoid(-gain))
    if name == "orpo":
        odds = [math.exp(one) / (1 - math.exp(one)) for one in (chosen, rejected)]
        return -chosen_reference - 0.3 * math.log(_sigmoid(math.log(odds[0] / odds[1])))
    return -math.log(_sigmoid(chosen - rejected - 0.5))


CALLS: dict[str, Any] = {
    "dpo": lambda m, a, b, c, d: m.dpo_loss(a, b, c, d, 0.3),
    "dpo_smooth": lambda m, a, b, c, d: m.dpo_loss(a, b, c, d, 0.3, 0.1),
    "ipo": lambda m, a, b, c, d: m.ipo_loss(a, b, c, d, 0.3),
    "orpo": lambda m, a, b, c, d: m.orpo_loss(a, b, -c, 0.3),
    "reward": lambda m, a, b, c, d: m.reward_loss(a, b, 0.5),
}


def both(function: Any, arrays: list[Any]) -> tuple[Any, Any]:
    """两个引擎上的值与各输入的梯度。"""
    found = []
    for engine, module in ((torch, theirs), (tg, ours)):
        inputs = [engine.tensor(a.tolist(), dtype=engine.float64, requires_grad=True) for a in arrays]
        value = function(module, engine, *inputs)
        value.sum().backward()
        grads = [np.zeros(x.shape) if x.grad is None else np.array(x.grad.tolist()) for x in inputs]
        found.append((np.array(value.tolist()), grads))
    return found[0], found[1]


def _same(function: Any, arrays: list[Any]) -> Any:
    """两个引擎相同；返回值与梯度。"""
    first, second = both(function, arrays)
    np.testing.assert_allclose(second[0], first[0], rtol=1e-12, atol=1e-14)
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-13)
    return first


@pytest.mark.parametrize("name", CALLS)
def test_preference_losses_equal_the_formula(name: str) -> None:
    """偏好损失与逐项写出的公式不同，或两个引擎不同。"""
    value, _ = _same(lambda m, _, *xs: CALLS[name](m, *xs), PAIRS)
    np.testing.assert_allclose(value, [_by_hand(name, row) for row in range(5)], rtol=1e-12)


def test_kto_equals_the_formula() -> None:
    """KTO 与逐项写出的公式不同。"""
    value, _ = _same(lambda m, e, a, b: m.kto_loss(a, b, e.tensor(GOOD.tolist()), 0.2, 0.3, 2.0, 0.5), PAIRS[:2])
    np.testing.assert_allclose(value, [_by_hand("kto", row) for row in range(5)], rtol=1e-12)


def test_dpo_starts_at_ln_2() -> None:
    """策略就是参考模型时，DPO 的损失不是 ln 2。"""
    value, grads = _same(lambda m, e, a, b: m.dpo_loss(a, b, a.detach(), b.detach(), 0.1), PAIRS[:2])
    np.testing.assert_allclose(value, math.log(2), rtol=1e-15)
    np.testing.assert_allclose(grads[0], -0.05, rtol=1e-12)  # -β/2：往更好的回答推
    np.testing.assert_allclose(grads[1], 0.05, rtol=1e-12)


def test_logprobs_pick_the_targets() -> None:
    """目标的对数概率取错了位置，或计入了 -100 处。"""
    z = LOGITS[0]
    table = z - np.log(np.exp(z).sum(-1, keepdims=True))
    expected = np.array([[table[0, 0, 1], 0, table[0, 2, 4]], [table[1, 0, 0], table[1, 1, 2], 0]])
    value, _ = _same(lambda m, e, a: m.target_logprobs(a, e.tensor(TARGETS.tolist())), [z])
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    value, _ = _same(lambda m, e, a: m.sequence_logprobs(a, e.tensor(TARGETS.tolist()), True), [z])
    np.testing.assert_allclose(value, expected.sum(1) / 2, rtol=1e-13)


def test_all_masked_answer_has_zero_logprob() -> None:
    """一个有效 token 也没有的回答，平均的对数概率不是 0。"""
    value, grads = _same(lambda m, e, a: m.sequence_logprobs(a, e.full((2, 3), -100), True), [LOGITS[0]])
    assert (value == 0).all()
    assert (grads[0] == 0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_distillation_is_the_divergence(reverse: bool) -> None:
    """蒸馏的损失不是 KL 乘 T²，或计入了 -100 处。"""
    rows = [one / 2.0 for one in LOGITS]
    p, q = (np.exp(one) / np.exp(one).sum(-1, keepdims=True) for one in rows)  # 学生、老师
    first, second = (p, q) if reverse else (q, p)
    expected = 4 * ((first * np.log(first / second)).sum(-1) * (TARGETS != -100)).sum()
    value, grads = _same(lambda m, e, a, b: m.distillation_loss(a, b, e.tensor(TARGETS.tolist()), 2.0, reverse), LOGITS)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert (grads[1] == 0).all(), "the teacher must stay constant"


def test_ppo_clips_as_worked_out_by_hand() -> None:
    """PPO 的截断与算好的例子不同。"""
    ratio = np.array([[1.5, 1.5, 0.5, 0.5, 1.1, 0.9]])
    advantage = np.array([[2.0, -2.0, 2.0, -2.0, 1.0, -1.0]])
    expected = -np.array([[2.4, -3.0, 1.0, -1.6, 1.1, -0.9]])  # 有利方向截到 1.2 或 0.8，不利方向不截
    slope = np.array([[0.0, -3.0, 1.0, 0.0, 1.1, -0.9]])  # ρA，截住的为 0
    value, grads = _same(
        lambda m, e, a, b: m.ppo_loss(a, b.detach(), e.tensor(advantage.tolist(), dtype=e.float64)),
        [np.log(ratio), np.zeros_like(ratio)],
    )
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(grads[0], -slope, rtol=1e-12, atol=1e-15)


def test_value_loss_takes_the_worse_of_clipped_and_free() -> None:
    """价值的损失没有取截断前后的较大者。"""
    values, old, returns = np.array([1.0, 0.3, -1.0]), np.zeros(3), np.array([2.0, 1.0, -0.5])
    clipped = np.clip(values, -0.2, 0.2)
    expected = 0.5 * np.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    value, _ = _same(lambda m, e, a, b, c: m.value_loss(a, b.detach(), c.detach(), 0.2), [values, old, returns])
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    free, _ = _same(lambda m, e, a, b, c: m.value_loss(a, b.detach(), c.detach()), [values, old, returns])
    np.testing.assert_allclose(free, 0.5 * (values - returns) ** 2, rtol=1e-13)


def test_kl_penalty_vanishes_at_equal_policies() -> None:
    """两个策略相等时，KL 的估计或它的梯度不是 0。"""
    value, grads = _same(lambda m, e, a: m.kl_penalty(a, a.detach()), TOKENS[:1])
    assert (value == 0).all()
    np.testing.assert_allclose(grads[0], 0, atol=1e-15)


@given(st.integers(2, 6), st.integers(0, 1000))
def test_kl_penalty_is_unbiased(size: int, seed: int) -> None:
    """对全部 token 求期望，KL 的估计不等于 KL。"""
    p, q = np.random.default_rng(seed).dirichlet(np.ones(size) * 2, 2) * 0.98 + 0.02 / size
    values = ours.kl_penalty(
        tg.tensor(np.log(p).tolist(), dtype=tg.float64), tg.tensor(np.log(q).tolist(), dtype=tg.float64)
    )
    assert (np.array(values.tolist()) >= 0).all()
    np.testing.assert_allclose(p @ np.array(values.tolist()), (p * np.log(p / q)).sum(), rtol=1e-9, atol=1e-12)


@given(st.integers(2, 6), st.integers(0, 1000), st.floats(-3, 3))
def test_policy_gradient_is_the_gradient_of_expected_reward(size: int, seed: int, baseline: float) -> None:
    """对全部动作求期望的 REINFORCE 梯度，不等于期望回报的梯度；减去基线之后也该相等。"""
    draw = np.random.default_rng(seed)
    logits, rewards = draw.standard_normal(size), draw.standard_normal(size)
    p = np.exp(logits) / np.exp(logits).sum()
    expected = p * (rewards - p @ rewards)  # ∂E[R]/∂z
    x = tg.tensor(logits.tolist(), dtype=tg.float64, requires_grad=True)
    logprobs = tg.nn.functional.log_softmax(x, dim=0)
    losses = ours.reinforce_loss(logprobs, tg.tensor((rewards - baseline).tolist(), dtype=tg.float64))
    (losses * tg.tensor(p.tolist(), dtype=tg.float64)).sum().backward()
    np.testing.assert_allclose(-np.array(x.grad.tolist()), expected, rtol=1e-9, atol=1e-12)
