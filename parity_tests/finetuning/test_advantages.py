"""优势等于手算的例子与定义。

流入：小的奖励与价值；流出：与逐项求和的定义相比的差。
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.advantages import generalized_advantages, group_advantages, pass_at_k, token_rewards
from tinygrad_llm.common.errors import UserError


def test_gae_equals_the_worked_example() -> None:
    """GAE 与算好的例子不同。

    ``r = 1, 0, 2``，``V = 0.5, 1, 0.25``，γ = 0.9，λ = 0.8：δ = 1.4, -0.775, 1.75；
    ``A₂ = 1.75``，``A₁ = -0.775 + 0.72·1.75 = 0.485``，``A₀ = 1.4 + 0.72·0.485 = 1.7492``。
    """
    mask = np.array([[True, True, True, False]])
    rewards, values = np.array([[1.0, 0.0, 2.0, 9.0]]), np.array([[0.5, 1.0, 0.25, 9.0]])
    advantages, returns = generalized_advantages(rewards, values, mask, 0.9, 0.8)
    np.testing.assert_allclose(advantages, [[1.7492, 0.485, 1.75, 0]], rtol=1e-12)
    np.testing.assert_allclose(returns, [[2.2492, 1.485, 2.0, 0]], rtol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_the_discounted_sum_of_errors(seed: int, length: int, gamma: float, lam: float) -> None:
    """从后往前的一遍与「逐项求和」的定义不同；提示与填充处也算了进去。"""
    draw = np.random.default_rng(seed)
    start = int(draw.integers(0, length))
    stop = int(draw.integers(start + 1, length + 1))
    mask = np.zeros((1, length), np.bool_)
    mask[0, start:stop] = True
    rewards, values = draw.standard_normal((2, 1, length))
    found, returns = generalized_advantages(rewards, values, mask, gamma, lam)
    inside = np.append(values[0, start:stop], 0)
    errors = rewards[0, start:stop] + gamma * inside[1:] - inside[:-1]
    powers = (gamma * lam) ** np.arange(stop - start)
    expected = np.array([float(errors[t:] @ powers[: stop - start - t]) for t in range(stop - start)])
    np.testing.assert_allclose(found[0, start:stop], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(returns[0, start:stop], expected + inside[:-1], rtol=1e-10, atol=1e-12)
    assert not found[~mask].any()
    assert not returns[~mask].any()


def test_group_advantages_equal_the_worked_example() -> None:
    """GRPO 的优势与算好的例子不同：1, 0, 0, 1 的均值 0.5、标准差 √(1/3)。"""
    rewards = np.array([1, 0, 0, 1, 3, 3, 3, 3])
    plain = np.array([0.5, -0.5, -0.5, 0.5, 0, 0, 0, 0])
    np.testing.assert_allclose(group_advantages(rewards, 4), plain / (np.sqrt(1 / 3) + 1e-4), rtol=1e-12)
    np.testing.assert_allclose(group_advantages(rewards, 4, "none"), plain, rtol=1e-12)


@pytest.mark.parametrize(("size", "group"), [(4, 1), (5, 2), (4, 3)])
def test_ragged_groups_are_refused(size: int, group: int) -> None:
    """凑不成组的奖励没有报错。"""
    with pytest.raises(UserError, match="groups"):
        group_advantages(np.ones(size), group)


def test_score_goes_to_the_last_token_of_the_answer() -> None:
    """整个回答的分数没有加在它的最后一个 token 上；空回答也该不出错。"""
    mask = np.array([[False, True, True, False], [False, False, False, False], [True, True, True, True]])
    found = token_rewards(np.array([5.0, 7.0, 1.0]), np.full((3, 4), 0.5), mask, 0.2)
    np.testing.assert_allclose(found, np.array([[0, -0.1, 4.9, 0], [0, 0, 0, 0], [-0.1, -0.1, -0.1, 0.9]]), rtol=1e-12)


@pytest.mark.parametrize(("samples", "correct", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 4), (6, 5, 2)])
def test_pass_at_k_counts_the_subsets(samples: int, correct: int, k: int) -> None:
    """pass@k 不等于数遍全部 k 个一组的子集。"""
    outcomes = [True] * correct + [False] * (samples - correct)
    subsets = list(itertools.combinations(outcomes, k))
    assert pass_at_k(correct, samples, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), rel=1e-12)
