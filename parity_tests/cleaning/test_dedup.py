"""查重：与逐对相比的结果核对；相似度恰在阈值附近的一对，找得到，也不冤枉。"""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.cleaning.measure import changed, essay, grams, keepers_of, near_duplicates, similarity
from tinygrad_llm.common.cleaning.config import CleanConfig, NearConfig
from tinygrad_llm.common.cleaning.dedup import exact_keepers
from tinygrad_llm.common.cleaning.minhash import band_keys, jaccard
from tinygrad_llm.common.cleaning.words import shingles
from tinygrad_llm.common.errors import UserError

BOUND = 0.95
PAIRS = 250


def test_planted_near_duplicates_are_missed_or_invented() -> None:
    """埋下的一对相似度刚过 0.8，另有一对刚不到：召回与精确都不低于 0.95；打印两者。"""
    recall, precision = near_duplicates(PAIRS)
    theory = NearConfig().recall
    print(f"near duplicates at 0.80-0.84: recall {recall:.3f} (theory at 0.8: {theory:.4f}), precision {precision:.3f}")
    assert recall >= BOUND
    assert precision >= BOUND


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join), max_size=8), st.integers(1, 4))
def test_duplicates_differ_from_comparing_every_pair(texts: list[str], n: int) -> None:
    """每段只有一个最小值、段数很多时几乎不会漏：与逐对相比、连成一组、留最先的一致。"""
    config = NearConfig(threshold=0.5, shingle=n, bands=60, rows=1)
    texts = [text for text in texts if text]
    sets = [set(shingles(text, n).tolist()) for text in texts]
    parents = list(range(len(texts)))
    for a, b in combinations(range(len(texts)), 2):
        if len(sets[a] & sets[b]) >= 0.5 * len(sets[a] | sets[b]):
            parents = [min(parents[a], parents[b]) if one in (parents[a], parents[b]) else one for one in parents]
    assert keepers_of(texts, config) == parents


@given(st.lists(st.sampled_from("abc"), max_size=30).map(" ".join), st.integers(1, 4))
def test_shingles_differ_from_the_definition(text: str, n: int) -> None:
    """集合的大小与逐词写成的一样；不足 n 个词时是全部的词。"""
    assert shingles(text, n).size == len(grams(text, n))


@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_jaccard_differs_from_the_definition(a: list[int], b: list[int]) -> None:
    """交集除以并集。"""
    expected = len({*a} & {*b}) / max(len({*a} | {*b}), 1)
    assert jaccard(np.unique(np.array(a, np.uint64)), np.unique(np.array(b, np.uint64))) == expected


def test_minima_agree_less_often_than_the_jaccard_similarity() -> None:
    """一段一个最小值时，键相同的比例估计 Jaccard：三十对的平均误差不到 0.01，单独一对不到 0.06。

    排列是 a·x + b，比真正随机的排列稍差：对固定的一对，误差不随排列的个数趋于零，但各对之间相互抵消。
    """
    rng = random.Random(2)
    config = NearConfig(threshold=0.9, bands=2000, rows=1)
    errors = []
    for number in range(30):
        words = [f"w{rng.randrange(10**9)}" for _ in range(300)]
        other = [word if rng.random() < (0.3, 0.6, 0.9)[number % 3] else f"{word}x" for word in words]
        a, b = (shingles(" ".join(some), 1) for some in (words, other))
        errors.append(float(np.mean(band_keys(a, config) == band_keys(b, config))) - jaccard(a, b))
    print(f"minhash estimate: mean error {np.mean(errors):+.4f}, worst {max(map(abs, errors)):.4f}")
    assert abs(np.mean(errors)) < 0.01
    assert max(map(abs, errors)) < 0.06


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_identical_documents_are_not_kept_by_the_first(pairs: list[tuple[int, int]]) -> None:
    """由最先出现的一份代表。"""
    digests = np.array(pairs, np.uint64).reshape(-1, 2)
    assert exact_keepers(digests).tolist() == [pairs.index(pair) for pair in pairs]


def test_a_chain_is_cut_or_its_first_lost() -> None:
    """甲像乙、乙像丙、甲不像丙，三份仍是一组，留甲；次序倒过来就留丙。"""
    rng = random.Random(4)
    first = essay(rng, 300)
    second = changed(rng, first, 0.82, 0.86)
    third = changed(rng, second, 0.82, 0.86)
    assert similarity(first, third) < NearConfig().threshold
    assert keepers_of([first, essay(rng, 300), second, third]) == [0, 1, 0, 0]
    assert keepers_of([third, second, first]) == [0, 0, 0]


def test_settings_that_miss_duplicates_are_accepted() -> None:
    """阈值处的召回不到 0.95 的设置，开始之前就拒绝。"""
    with pytest.raises(UserError, match="near finds only"):
        CleanConfig(near=NearConfig(bands=4, rows=8))
    with pytest.raises(UserError, match="exact and near must come last"):
        CleanConfig(stages=("near", "length"))
    with pytest.raises(UserError, match=r"unknown stage 'lenght'.*twice"):
        CleanConfig(stages=("lenght", "pii", "pii"))
