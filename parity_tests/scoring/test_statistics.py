"""区间、校准与次序：等于手算的例子与定义；已知正确率的模型，区间盖得住它。

流入：小的例子与模拟；流出：差，与覆盖率。
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.scoring import (
    bootstrap_interval,
    calibration,
    centred,
    kendall_tau,
    paired_difference,
    paired_p_value,
    score_choices,
    score_of,
    seed_interval,
    spearman_rho,
    wilson_interval,
)


def test_wilson_equals_the_worked_example() -> None:
    """Wilson 区间与算好的例子不同：10 题对 8，解二次方程 ``(n + z²)p² - (2c + z²)p + c²/n = 0``。"""
    z = 1.959963984540054
    roots = np.roots([10 + z * z, -(16 + z * z), 6.4])
    found = wilson_interval(8, 10)
    np.testing.assert_allclose([found.low, found.high], sorted(roots.real), rtol=1e-12)
    assert found.value == 0.8


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (5, 5), (0, 1), (1000, 1000)])
def test_wilson_stays_inside_and_never_collapses(correct: int, n: int) -> None:
    """全对或全错时，区间越出 [0, 1] 或缩成一点。"""
    found = wilson_interval(correct, n)
    assert 0 <= found.low < found.high <= 1
    assert found.low <= found.value <= found.high


def test_wilson_misses_the_exact_ends() -> None:
    """一题不对的下限不恰是 0，或全对的上限不恰是 1：舍入误差留在了不该有它的地方。"""
    for n in range(1, 2000):
        assert wilson_interval(0, n).low == 0.0, n
        assert wilson_interval(n, n).high == 1.0, n


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("n", [30, 300])
def test_known_accuracy_lies_in_its_interval(p: float, n: int) -> None:
    """正确率已知为 p 的模型，1,000 次模拟里区间盖住 p 的不到 93 %。"""
    draw = np.random.default_rng(int(1000 * p) + n)
    inside = 0
    for correct in draw.binomial(n, p, 1000).tolist():
        found = wilson_interval(correct, n)
        inside += found.low <= p <= found.high
    assert inside >= 930


def test_bootstrap_covers_the_mean() -> None:
    """重抽的区间盖住真均值的不到九成，或不随种子重现。"""
    draw = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        found = bootstrap_interval(draw.exponential(2.0, 60), 400)
        inside += found.low <= 2.0 <= found.high
    assert inside >= 270
    values = draw.random(40)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_paired_difference_cancels_the_difficulty() -> None:
    """逐题相减之后，题目的难易仍留在区间里。"""
    draw = np.random.default_rng(4)
    difficulty, gain = draw.standard_normal(200) * 10, 0.3 + 0.1 * draw.standard_normal(200)
    found = paired_difference(difficulty, difficulty + gain)
    assert found.low < gain.mean() < found.high
    assert found.high - found.low < 0.1


def test_p_value_counts_every_sign() -> None:
    """题少时的 p 值不等于数遍全部正负号。"""
    first, second = np.zeros(6), np.array([1.0, 2, 3, -1, 4, 2])
    sums = [abs(np.dot(signs, second)) for signs in itertools.product((1, -1), repeat=6)]
    assert paired_p_value(first, second) == pytest.approx(np.mean([s >= 11 for s in sums]), rel=1e-12)
    assert paired_p_value(first, first) == 1.0


def test_p_value_is_uniform_when_nothing_differs() -> None:
    """两个模型本无差别，p < 0.05 的却远不止百分之五。"""
    draw = np.random.default_rng(6)
    found = [paired_p_value(draw.random(30), draw.random(30), 500, seed) for seed in range(300)]
    assert np.mean(np.array(found) < 0.05) < 0.09
    assert min(found) > 0


def test_seed_interval_uses_the_t_distribution() -> None:
    """几个种子的区间与 ``x̄ ± t·s/√n`` 不同。"""
    found = seed_interval(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose([found.low, found.high], [2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5], rtol=1e-12)
    with pytest.raises(UserError, match="one seed"):
        seed_interval(np.array([1.0]))


def test_calibration_equals_the_worked_example() -> None:
    """ECE 或 Brier 分与算好的例子不同：两组，把握 0.2、0.9，正确率 0.5、1。"""
    found = calibration(np.array([0.1, 0.3, 0.8, 1.0]), np.array([0, 1, 1, 1]), groups=2)
    np.testing.assert_allclose(found.confidence, np.array([0.2, 0.9]), rtol=1e-12)
    np.testing.assert_allclose(found.accuracy, np.array([0.5, 1.0]), rtol=1e-12)
    assert found.counts.tolist() == [2, 2]
    assert found.ece == pytest.approx((0.3 + 0.1) / 2, rel=1e-12)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.04) / 4, rel=1e-12)


def test_a_calibrated_model_has_a_small_ece() -> None:
    """把握恰是正确的概率，ECE 却不近于 0；总是过于自信的却不大。"""
    draw = np.random.default_rng(8)
    p = draw.random(20_000)
    hits = draw.random(20_000) < p
    assert calibration(p, hits).ece < 0.02
    assert calibration(np.sqrt(p), hits).ece > 0.1


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=8))
def test_rank_correlations_follow_their_definitions(pairs: list[tuple[int, int]]) -> None:
    """τ 与逐对计数不同，或 ρ 与平均名次的相关系数不同。"""
    a, b = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    both = list(itertools.combinations(range(len(a)), 2))
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in both]
    decided = [sum(s != 0 for s in column) for column in zip(*signs, strict=True)]
    expected = sum(s * t for s, t in signs) / np.sqrt(np.prod(decided)) if all(decided) else 0.0
    assert kendall_tau(a, b) == pytest.approx(expected, abs=1e-12)
    place = [[1 + sum(one < x for one in column) + (sum(one == x for one in column) - 1) / 2 for x in column]
             for column in (a, b)]  # fmt: skip
    rho = np.corrcoef(place)[0, 1] if all(len(set(column)) > 1 for column in place) else 0.0
    assert spearman_rho(a, b) == pytest.approx(rho, abs=1e-12)


def test_score_shows_chance_and_what_is_left_without_it() -> None:
    """成绩里少了靠猜的一档，或去掉运气之后的分不对。"""
    score = score_of("animals", [True] * 60 + [False] * 40, chance=0.25)
    assert score.raw.value == 0.6
    assert score.centred == pytest.approx(0.35 / 0.75, rel=1e-12)
    assert score.beats_chance
    assert "chance 0.2500" in str(score)
    assert not score_of("few", [True, False, False], chance=0.25).beats_chance
    assert centred(0.25, 0.25) == 0
    with pytest.raises(UserError, match="nothing to measure"):
        centred(1.0, 1.0)


def test_choices_can_be_normalised_by_length() -> None:
    """选项的长短没有抵消，或平手时没有取靠前的。"""
    logprobs, tokens, n_bytes = [-4.0, -6.0, -6.5], [1, 2, 3], [4, 10, 9]
    assert score_choices(logprobs, tokens, n_bytes) == 0
    assert score_choices(logprobs, tokens, n_bytes, "token") == 2
    assert score_choices(logprobs, tokens, n_bytes, "byte") == 1
    assert score_choices([-1.0, -1.0], [1, 1], [1, 1]) == 0
    with pytest.raises(UserError, match="non-empty"):
        score_choices([-1.0, -1.0], [1, 0], [1, 1], "token")
