"""学习率曲线：端点取值精确，两段各自单调，参数越界有清楚的报错。"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.schedule import learning_rate

PEAKS = st.floats(1e-8, 10.0)
FRACTIONS = st.floats(0.0, 1.0)


def curve(peak: float, minimum: float, warmup: int, total: int, extra: int = 0) -> list[float]:
    """整条曲线，末尾多取 ``extra`` 步。"""
    return [
        learning_rate(step, peak=peak, minimum=minimum, warmup_steps=warmup, total_steps=total)
        for step in range(total + extra)
    ]


def test_a_small_curve_matches_values_worked_out_by_hand() -> None:
    """预热两步、共六步：余弦段四等分，中点是峰值与最小值的平均。"""
    root = math.sqrt(0.5)
    expected = [0.5, 1.0, 0.2 + 0.8 * (1 + root) / 2, 0.6, 0.2 + 0.8 * (1 - root) / 2, 0.2]
    assert curve(1.0, 0.2, 2, 6) == pytest.approx(expected, rel=1e-14)


@given(PEAKS, FRACTIONS, st.integers(1, 50), st.integers(1, 100))
def test_edges_are_exact(peak: float, fraction: float, warmup: int, decay: int) -> None:
    """首步为 peak / W，预热末步恰为峰值，最后一步及以后恰为最小值。"""
    minimum = peak * fraction
    rates = curve(peak, minimum, warmup, warmup + decay, extra=3)
    assert rates[0] == pytest.approx(peak / warmup, rel=1e-15)
    assert rates[0] > 0
    assert rates[warmup - 1] == peak
    assert rates[-4:] == [minimum] * 4


@given(PEAKS, FRACTIONS, st.integers(0, 50), st.integers(1, 100))
def test_rises_then_falls_and_stays_inside_the_bounds(peak: float, fraction: float, warmup: int, decay: int) -> None:
    """预热段严格上升，余弦段不上升，且不越出 [最小值, 峰值]。"""
    minimum = peak * fraction
    rates = curve(peak, minimum, warmup, max(warmup, 1) + decay)
    rising, falling = rates[:warmup], rates[max(warmup, 1) - 1 :]
    assert all(low < high for low, high in pairwise(rising))
    slack = 4e-16 * peak  # 余弦的舍入误差
    assert all(high >= low - slack for high, low in pairwise(falling))
    assert all(minimum - slack <= rate <= peak + slack for rate in falling)


def test_no_warmup_starts_at_the_peak() -> None:
    """W = 0 与 W = 1 是同一条曲线。"""
    assert curve(3e-4, 3e-5, 0, 10) == curve(3e-4, 3e-5, 1, 10)
    assert curve(3e-4, 3e-5, 0, 10)[0] == 3e-4


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_a_single_step_run_has_a_rate(warmup: int) -> None:
    """只有一步时取最小值，不除以零。"""
    assert curve(1.0, 0.25, warmup, 1, extra=2) == [0.25] * 3


def test_warmup_longer_than_the_run_still_ends_at_the_minimum() -> None:
    """预热没走完也不越界。"""
    assert curve(1.0, 0.05, 10, 4) == pytest.approx([0.1, 0.2, 0.3, 0.05], rel=1e-15)


@pytest.mark.parametrize(
    "wrong",
    [
        {"peak": 0.0},
        {"peak": math.nan},
        {"peak": math.inf},
        {"minimum": -1.0},
        {"minimum": 2.0},
        {"minimum": math.nan},
        {"warmup_steps": -1},
        {"total_steps": 0},
        {"step": -1},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, float]) -> None:
    """每个越界参数都报 UserError，而不是算出一个数。"""
    good: dict[str, float] = {"step": 0, "peak": 1.0, "minimum": 0.1, "warmup_steps": 2, "total_steps": 5}
    with pytest.raises(UserError) as caught:
        learning_rate(**(good | wrong))  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
