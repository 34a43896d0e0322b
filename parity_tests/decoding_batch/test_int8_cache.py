"""int8 的 KV 缓存：误差不超过半格，两个引擎取同样的整数，logits 只偏一点。

流入：随机的 k、v 与小模型；流出：还原的误差、logits 的差。
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.contract.cases import configs
from parity_tests.decoding_batch.decoders import Side, relative
from parity_tests.decoding_batch.test_slots import LLAMA
from parity_tests.whole_runs.commands import ENGINES
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.slots import Ledger
from tinygrad_llm.decoding import Int8Cache as NumpyCache
from torch_llm.decoding.cache import Int8Cache as TorchCache


@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4]))
def test_rounding_is_more_than_half_a_step(seed: int, size: float) -> None:
    """还原之后相差超过半个比例，或两个引擎还原出不同的数。"""
    rng, shape = np.random.default_rng(seed), (2, 3, 8, 4)
    k, v = (rng.standard_normal((5, 3, 4), np.float32) * np.float32(size) for _ in range(2))
    plan = Ledger(GPTConfig(vocab_size=9, context=8, n_embd=12, n_head=3), 2).plan(
        [(0, np.arange(2)), (1, np.arange(3))]
    )
    ours, theirs = NumpyCache(shape, np.float32), TorchCache(shape, torch.zeros(()))
    ours.write(plan, k, v)
    theirs.write(*(torch.from_numpy(a) for a in (plan.slots, plan.positions, k, v)))
    for group, span in zip(plan.groups, plan.spans, strict=True):
        for exact, found, other in zip((k, v), ours.read(group), theirs.read(group), strict=True):
            rows = exact[span].transpose(1, 0, 2)
            np.testing.assert_array_equal(found[0], other[0].numpy())
            half = np.abs(rows).max(-1, keepdims=True) / 127 / 2
            assert (np.abs(found[0] - rows) <= half * (1 + 1e-5)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_int8_cache_moves_the_logits(engine: str) -> None:
    """logits 偏离整段前向超过 3 %，或一点不差（根本没有取整）。"""
    side, ids = Side(engine, LLAMA), np.random.default_rng(0).integers(0, 97, 30)
    decoder = side.slots(2, "int8")
    decoder.feed([(1, ids[:20])])
    decoder.share(1, 0, 15)
    decoder.feed([(0, ids[15:29])])
    apart = relative(decoder.feed([(0, ids[29:])])[0], side.whole(ids.tolist())[-1])
    assert 1e-5 < apart < 0.03


@given(config=configs(), seed=st.integers(0, 1000))
def test_engines_round_differently(config: GPTConfig, seed: int) -> None:
    """同样的模型、int8 的缓存，两个引擎的 logits 不同（float64 的算术：取整落在同一边）。"""
    ids = np.random.default_rng(seed).integers(0, config.vocab_size, config.context)
    ours, theirs = (Side(engine, config, "float64").slots(1, "int8") for engine in ENGINES)
    for cut in (slice(0, 3), slice(3, 4), slice(4, None)):
        if len(ids[cut]):
            assert relative(ours.feed([(0, ids[cut])]), theirs.feed([(0, ids[cut])])) <= 1e-6
