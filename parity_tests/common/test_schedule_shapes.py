"""直线与先平后降：端点精确，平的一段恰为峰值，总步数变了平的一段不变。"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.schedule import Schedule, learning_rate


def _curve(shape: Schedule, total: int, warmup: int = 2, **more: float) -> list[float]:
    return [
        learning_rate(step, peak=1.0, minimum=0.2, warmup_steps=warmup, total_steps=total, shape=shape, **more)
        for step in range(total + 2)
    ]


def test_small_curves_match_values_worked_out_by_hand() -> None:
    """预热两步、共六步：直线四等分；先平后降的末两步降到最小值。"""
    assert _curve("linear", 6) == pytest.approx([0.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2], rel=1e-15)
    assert _curve("wsd", 6, decay_fraction=1 / 3) == pytest.approx([0.5, 1, 1, 1, 0.6, 0.2, 0.2, 0.2], rel=1e-15)


@given(st.sampled_from(["linear", "wsd"]), st.integers(0, 9), st.integers(1, 60), st.floats(0.01, 1.0))
def test_edges_are_exact_and_nothing_rises_after_the_warmup(
    shape: Schedule, warmup: int, total: int, fraction: float
) -> None:
    """末步与越过末步之后不是最小值，预热末步不是峰值，或预热之后又升了。"""
    rates = _curve(shape, total, warmup, decay_fraction=fraction)
    falls = shape == "linear" or round(fraction * total) > 0
    assert rates[total - 1 :] == [0.2 if falls else 1.0] * 3 or not (falls or total > warmup)
    if total > max(warmup, 1):
        assert rates[max(warmup, 1) - 1] == 1.0
    assert all(a >= b for a, b in pairwise(rates[max(warmup, 1) - 1 :])) or total <= warmup


@given(st.integers(20, 60), st.integers(0, 5))
def test_stable_part_does_not_depend_on_the_total(total: int, more: int) -> None:
    """``wsd`` 停在峰值的一段随总步数变了：那样就不能随时延长训练。"""
    short, long = _curve("wsd", total), _curve("wsd", total + more)
    stable = total - round(0.2 * total)
    assert short[:stable] == long[:stable]
    assert set(short[2:stable]) == {1.0}


def test_zero_decay_never_falls() -> None:
    """``decay_fraction`` 为 0 时末步也停在峰值：以后再接着训练、再降。"""
    assert set(_curve("wsd", 9, decay_fraction=0.0)[2:]) == {1.0}
