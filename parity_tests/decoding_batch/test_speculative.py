"""抢先猜测：写出的与不猜时逐个相同；分布与模型的相同；猜得准，前向就少。

流入：随机的模型与各种猜测者；流出：第一处不同的 token，或卡方统计量。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.contract.cases import configs
from parity_tests.decoding_batch.decoders import Side, letters
from parity_tests.decoding_batch.test_scheduler import alone, tokens
from parity_tests.whole_runs.commands import ENGINES
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.speculative import Draft, ModelDraft, NgramDraft, Tally, speculate
from tinygrad_llm.common.errors import UserError

SAMPLINGS = [Sampling(0.0), Sampling(1.0, seed=3), Sampling(0.8, 4, 0.9, repetition_penalty=1.3, seed=5)]
TINY = GPTConfig(vocab_size=5, context=12, n_layer=1, n_head=2, n_embd=8)


class Wild:
    """胡乱猜；多半不中。"""

    def propose(self, history: Sequence[int], count: int) -> list[int]:
        """由历史定出的几个 token。"""
        return [(sum(history) * 7 + i) % 2 for i in range(count)]


def speculated(side: Side, request: Request, draft: Draft, count: int, tally: Tally | None = None) -> list[Step]:
    """边猜边写。"""
    decoder = side.slots(1)
    generation = Generation(request, letters(side.model.config.vocab_size), decoder.context)
    steps = list(speculate(decoder, generation, draft, count, tally))
    assert decoder.length(0) == len(request.prompt) + len(steps) - 1  # 缓存里恰是写下的，末一个除外
    return steps


@pytest.mark.parametrize("engine", ENGINES)
@given(
    config=configs(), seed=st.integers(0, 10_000), sampling=st.sampled_from(SAMPLINGS),
    kind=st.sampled_from(["ngram", "wild", "same model", "other model"]), count=st.integers(1, 5),
)  # fmt: skip
def test_guessing_changes_the_tokens(
    engine: str, config: GPTConfig, seed: int, sampling: Sampling, kind: str, count: int
) -> None:
    """有猜测者与没有，写出的 token、文字或停下的原因不同（float64）。"""
    side, rng = Side(engine, config, "float64"), np.random.default_rng(seed)
    prompt = tuple(rng.integers(0, config.vocab_size, int(rng.integers(1, config.context))).tolist())
    request = Request(prompt, int(rng.integers(1, 12)), sampling, stop=(chr(33),))
    other = Side(engine, GPTConfig(**{**config.to_dict(), "n_layer": 1, "norm_eps": 0.1}), "float64")
    drafts: dict[str, Any] = {
        "ngram": NgramDraft(3, 1), "wild": Wild(),
        "same model": ModelDraft(side.slots(1), sampling), "other model": ModelDraft(other.slots(1), sampling),
    }  # fmt: skip
    assert speculated(side, request, drafts[kind], count) == alone(side, request)


@pytest.mark.parametrize("engine", ENGINES)
def test_perfect_guesses_save_no_pass(engine: str) -> None:
    """猜测者就是模型自己、罚与截断都没有：每次都该猜中，前向次数没有少到 (k + 1) 分之一。"""
    config = GPTConfig(**{**TINY.to_dict(), "vocab_size": 50, "context": 64})
    side, tally = Side(engine, config, "float64"), Tally()
    for sampling in SAMPLINGS[:2]:
        request = Request((1, 2, 3), 41, sampling)
        assert len(speculated(side, request, ModelDraft(side.slots(1), sampling), 4, tally)) == 41
    assert tally.accepted == tally.proposed == 2 * 32
    assert tally.passes == 2 * 8


def chi_square(found: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> tuple[float, int]:
    """卡方统计量与自由度；期望不足 5 次的并成一格。"""
    total = sum(found.values())
    assert set(found) <= set(expected)
    large = {key for key, p in expected.items() if p * total >= 5}
    cells = [(found[key], expected[key] * total) for key in large]
    rest = [(found[key], p * total) for key, p in expected.items() if key not in large]
    if rest:
        cells.append((sum(count for count, _ in rest), sum(mean for _, mean in rest)))
    return sum((count - mean) ** 2 / mean for count, mean in cells), len(cells) - 1


def exact(side: Side, prompt: list[int], count: int, temperature: float) -> dict[tuple[int, ...], float]:
    """``count`` 个 token 的联合分布，由整段前向逐个相乘。"""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(count):
        longer: dict[tuple[int, ...], float] = {}
        for key, p in found.items():
            scores = side.whole([*prompt, *key])[-1] / temperature
            weights = np.exp(scores - scores.max())
            for token, share in enumerate((weights / weights.sum()).tolist()):
                longer[(*key, token)] = p * share
        found = longer
    return found


def sampled(side: Side, draft_side: Side, runs: int, temperature: float) -> Counter[tuple[int, ...]]:
    """``runs`` 个种子，各猜着写两个 token。"""
    decoder, small = side.slots(1), draft_side.slots(1)
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(runs):
        decoder.truncate(0, 0)
        sampling = Sampling(temperature, seed=seed)
        generation = Generation(Request((1, 2), 2, sampling), letters(5), decoder.context)
        found[tuple(tokens(list(speculate(decoder, generation, ModelDraft(small, sampling), 2))))] += 1
    return found


def test_guessing_changes_the_distribution() -> None:
    """两个 token 的联合分布（25 种）偏离模型的：卡方检验，五个标准差。"""
    side = Side("numpy", TINY, "float64")
    other = Side("numpy", GPTConfig(**{**TINY.to_dict(), "norm_eps": 5.0}), "float64")
    expected = exact(side, [1, 2], 2, 0.5)
    statistic, freedom = chi_square(sampled(side, other, 400, 0.5), expected)
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)
    wrong, freedom = chi_square(sampled(side, other, 400, 1.0), expected)
    assert wrong > freedom + 5 * np.sqrt(2 * freedom)  # 温度不同，就该被发现


def test_lookup_finds_no_repetition() -> None:
    """文字在重复，查找却没有猜出后面的；没有重复时也猜了。"""
    draft = NgramDraft(3, 2)
    assert draft.propose([1, 2, 3, 4, 9, 1, 2, 3], 3) == [4, 9, 1]
    assert draft.propose([5, 1, 2, 7, 1, 2, 8, 1, 2], 1) == [8]
    assert draft.propose([1, 2, 3, 4], 3) == []
    assert draft.propose([1], 3) == []
    steps = speculate(Side("numpy", TINY).slots(1), Generation(Request((1,), 2), letters(5)), draft, 0)
    with pytest.raises(UserError, match="guesses"):
        next(steps)
