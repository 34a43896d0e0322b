"""混合：任何时候份额都不偏离一个样本，每个来源自己的一轮恰好一轮，进程数不改变内容。"""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.batches import Mixture, Source, Windows, schedule, whole_weights
from tinygrad_llm.common.batches.mixture import MAX_PERIOD
from tinygrad_llm.common.errors import UserError

Weights = st.lists(st.one_of(st.integers(1, 40), st.sampled_from([0.1, 0.25, 0.7, 1.5])), min_size=1, max_size=6)


def counting(first: int, windows: int, context: int = 2) -> Windows:
    """id 从 ``first`` 起逐个加一：由 x 的首列认得出来源与窗口。"""
    return Windows(np.arange(first, first + windows * context + 1), context)


def mixture(weights: list[float], sizes: list[int], batch_size: int, seed: int | None = 0) -> Mixture:
    """第 k 个来源的 id 从 1000·k 起。"""
    sources = [
        Source(f"s{k}", counting(1000 * k, size), weight)
        for k, (weight, size) in enumerate(zip(weights, sizes, strict=True))
    ]
    return Mixture(sources, batch_size=batch_size, seed=seed)


@given(Weights)
def test_a_share_strays_by_a_whole_sample(weights: list[float]) -> None:
    """前 n 个里每个来源的个数与 n·权重之差都小于 1，对每一个 n。"""
    shares = whole_weights(weights)
    exact = [Fraction(str(weight)) / sum(Fraction(str(other)) for other in weights) for weight in weights]
    choice, ranks = schedule(shares)
    counts = [0] * len(weights)
    for n, k in enumerate(choice.tolist(), 1):
        assert ranks[n - 1] == counts[k]
        counts[k] += 1
        assert all(abs(count - n * share) < 1 for count, share in zip(counts, exact, strict=True))
    assert counts == shares


@given(Weights, st.integers(0, 2**63), st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 10**12))
def test_ranks_together_are_not_the_whole_mixture(weights: list[float], seed: int, world: int, step: int) -> None:
    """各进程的份接起来就是单进程的批次，任何一步都能直接问起。"""
    sizes = [3 + k for k in range(len(weights))]
    whole = mixture(weights, sizes, 12, seed)
    x, y = whole.batch(step)
    parts = [mixture(weights, sizes, 12, seed).batch(step, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate([part[0] for part in parts]), x)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), y)
    assert np.array_equal(y, x + 1)
    assert np.array_equal(x[:, 0] // 1000, whole.chosen(step)[0])
    assert whole.segments(step).shape == x.shape


@given(Weights, st.integers(0, 2**63), st.integers(1, 9))
def test_epochs_of_a_source_repeat_a_window(weights: list[float], seed: int, batch_size: int) -> None:
    """不论权重，一个来源的窗口全都出现过一次之后才有第二次；``counts`` 与 ``epochs`` 与数出来的相同。"""
    sizes = [4 + k for k in range(len(weights))]
    mixed = mixture(weights, sizes, batch_size, seed)
    seen: list[list[int]] = [[] for _ in weights]
    for step in range(40):
        for start in mixed.batch(step)[0][:, 0].tolist():
            seen[start // 1000].append(start % 1000 // 2)
    for k, size in enumerate(sizes):
        for epoch in range(len(seen[k]) // size):
            assert sorted(seen[k][epoch * size : (epoch + 1) * size]) == list(range(size))
    assert mixed.counts(40) == [len(one) for one in seen]
    assert mixed.epochs(40) == [len(one) / size for one, size in zip(seen, sizes, strict=True)]


def test_equal_sources_are_visited_in_the_same_order() -> None:
    """两个一样大的来源各有各的排列，不会总是成对出现。"""
    mixed = mixture([1, 1], [500, 500], 1000)
    starts = mixed.batch(0)[0][:, 0]
    first, second = starts[starts < 1000] // 2, starts[starts >= 1000] % 1000 // 2
    assert sorted(first) == sorted(second)
    assert (first == second).mean() < 0.02


def test_long_weights_are_rounded_too_far() -> None:
    """周期过长的权重取整之后，每份的偏差不到一个单位；次序仍然守住取整后的份额。"""
    weights = [0.123456789, 0.7, 0.000001, 0.176542211]
    shares = whole_weights(weights)
    assert sum(shares) <= MAX_PERIOD + len(weights)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share / sum(shares) - weight / sum(weights)) < 2 / MAX_PERIOD
    choice, _ = schedule(shares)
    counts = np.cumsum(choice[:, None] == np.arange(4), axis=0)
    ideal = np.arange(1, choice.size + 1)[:, None] * np.array(shares) / sum(shares)
    assert np.abs(counts - ideal).max() < 1


def test_unshuffled_mixture_is_the_written_order() -> None:
    """不打乱时按次序轮流：2:1 的前六个。"""
    starts = [int(mixture([2, 1], [4, 4], 1, None).batch(step)[0][0, 0]) for step in range(6)]
    assert [s for s in starts if s < 1000] == [0, 2, 4, 6]
    assert [s for s in starts if s >= 1000] == [1000, 1002]
    assert Counter(s // 1000 for s in starts[:3]) == {0: 2, 1: 1}


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0], [float("nan")], [float("inf")]])
def test_impossible_weights_are_accepted(weights: list[float]) -> None:
    """没有来源、零、负数与非有限的权重。"""
    with pytest.raises(UserError):
        whole_weights(weights)


def test_sources_of_two_contexts_are_mixed() -> None:
    """长度不同的样本排不成一批。"""
    sources = [Source("a", counting(0, 3, 2)), Source("b", counting(0, 3, 4))]
    with pytest.raises(UserError, match="one context"):
        Mixture(sources, batch_size=2, seed=0)


def test_weights_lose_their_proportions() -> None:
    """小数按写出来的样子约成整数。"""
    assert whole_weights([0.1, 0.2, 0.7]) == [1, 2, 7]
    assert whole_weights([6, 4]) == [3, 2]
    for pair in itertools.permutations([0.3, 0.6]):
        assert sorted(whole_weights(pair)) == [1, 2]
