"""伸缩律的拟合：由已知的参数造出损失，要能找回；前沿要真的最优。"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.study.fit import Law, bootstrap, fit_law

SIZES, BUDGETS = (3e4, 1e5, 3e5, 1e6), (1e5, 3e5, 1e6, 3e6)
N, D = (grid.reshape(-1) for grid in np.meshgrid(SIZES, BUDGETS))
LAWS = st.builds(
    Law, st.floats(0.5, 2.5), st.floats(20, 300), st.floats(50, 900), st.floats(0.3, 0.55), st.floats(0.3, 0.55)
)


@given(LAWS)
def test_exact_losses_do_not_give_the_law_back(law: Law) -> None:
    """没有噪声时，五个参数都找得回来。"""
    found = fit_law(N, D, law.loss(N, D))
    np.testing.assert_allclose(np.array(found), np.array(law), rtol=1e-4)


@given(LAWS, st.floats(1e9, 1e15))
def test_frontier_is_not_optimal(law: Law, compute: float) -> None:
    """同样的算力换别的大小，损失都不会更低：与逐个试出来的最好者相比。"""
    best = float(law.optimal_size(compute))
    tried = best * np.geomspace(0.01, 100, 4001)
    losses = law.loss(tried, compute / 6 / tried)
    assert float(law.loss(best, compute / 6 / best)) <= losses.min() * (1 + 1e-12)
    assert abs(np.log(tried[losses.argmin()] / best)) < 0.01


@pytest.mark.full
def test_intervals_miss_the_truth_too_often() -> None:
    """加上 0.5% 的噪声反复来：E 的 90% 区间盖住真值的次数不能远少于九成。"""
    law, rng, hits, rounds = Law(1.5, 80.0, 300.0, 0.4, 0.42), np.random.default_rng(3), 0, 20
    for seed in range(rounds):
        loss = law.loss(N, D) * np.exp(rng.normal(0, 0.005, N.size))
        spread = np.array(bootstrap(fit_law(N, D, loss), N, D, loss, draws=60, seed=seed))[:, 0]
        hits += bool(np.percentile(spread, 5) <= law.E <= np.percentile(spread, 95))
    assert hits >= 14  # 二项分布 B(20, 0.9) 少于 14 次的概率约 0.2%


def test_same_data_gives_another_fit() -> None:
    """同样的点、同样的种子，拟合与自助法逐位相同。"""
    loss = Law(1.5, 80.0, 300.0, 0.4, 0.42).loss(N, D) * np.exp(np.random.default_rng(0).normal(0, 0.01, N.size))
    first, second = fit_law(N, D, loss), fit_law(N, D, loss)
    assert first == second
    assert bootstrap(first, N, D, loss, draws=5, seed=1) == bootstrap(first, N, D, loss, draws=5, seed=1)


@pytest.mark.parametrize("kept", [np.s_[:5], np.s_[:4], np.s_[::4]])
def test_too_few_runs_are_fitted(kept: slice) -> None:
    """点不够，或只有一种大小：说清，不硬拟合。"""
    with pytest.raises(UserError, match="do not determine"):
        fit_law(N[kept], D[kept], np.full(N[kept].size, 2.0))
