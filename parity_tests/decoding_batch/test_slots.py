"""成批、参差、分块、截短、共用前缀：每个序列的 logits 都与它自己从头算一遍的相同。

流入：随机的模型与随机的一串动作；流出：第一处超出界的差。
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity_tests.contract.cases import configs
from parity_tests.decoding_batch.decoders import Side, relative
from parity_tests.whole_runs.commands import ENGINES
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding import slots as slots_module
from tinygrad_llm.common.decoding.slots import BatchDecoder, ContextError, OneSlot
from torch_llm.decoding.slots import TorchSlots

BOUND = 1e-5
"""float32；见 RELIABILITY 第 6 行的界：以 ``max(1, 最大的 logit)`` 为单位。"""
SLOTS = 4
SOME = settings(max_examples=min(100, settings().max_examples))
"""每个例子要喂几十次：full 档走一百个随机配置。"""
LLAMA = GPTConfig(
    vocab_size=97, context=40, n_layer=2, n_head=6, n_kv_head=2, n_embd=24, norm="rmsnorm", position="rope",
    mlp="swiglu", bias=False,
)  # fmt: skip


def rearranged(decoder: BatchDecoder, held: list[list[int]], rng: np.random.Generator) -> None:
    """随机地截短一个槽，或把一个槽的前缀给另一个。"""
    source, target = (int(slot) for slot in rng.integers(0, SLOTS, 2))
    length = int(rng.integers(0, len(held[source]) + 1))
    if rng.random() < 0.5:
        decoder.truncate(source, length)
        held[source] = held[source][:length]
    else:
        decoder.share(source, target, length)
        held[target] = held[source][:length]


def worst(side: Side, seed: int, rounds: int = 6, *, packed: bool = False) -> float:
    """随机地喂几轮，每一行与它的整段前向相差最大的 logit。"""
    rng, decoder = (
        np.random.default_rng(seed),
        TorchSlots(side.model, SLOTS, packed=True) if packed else side.slots(SLOTS),
    )
    held: list[list[int]] = [[] for _ in range(SLOTS)]
    apart = 0.0
    for _ in range(rounds):
        if rng.random() < 0.3:
            rearranged(decoder, held, rng)
        free = [slot for slot in rng.permutation(SLOTS).tolist() if len(held[slot]) < decoder.context]
        if not free:
            continue
        rows = []
        for slot in free[: int(rng.integers(1, len(free) + 1))]:
            most = decoder.context - len(held[slot])
            ids = rng.integers(0, side.model.config.vocab_size, 1 if rng.random() < 0.5 else rng.integers(1, most + 1))
            held[slot] = held[slot] + ids.tolist()
            rows.append((slot, ids))
        everything = rng.random() < 0.5
        found = decoder.feed_all(rows) if everything else decoder.feed(rows)
        for (slot, ids), logits in zip(rows, found, strict=True):
            expected = side.whole(held[slot])[-len(ids) :]
            apart = max(apart, relative(logits, expected if everything else expected[-1]))
        assert [decoder.length(slot) for slot in range(SLOTS)] == [len(ids) for ids in held]
    return apart


@pytest.mark.parametrize("engine", ENGINES)
@SOME
@given(config=configs(), seed=st.integers(0, 10_000), apart=st.booleans())
def test_a_row_depends_on_the_rest_of_the_batch(engine: str, config: GPTConfig, seed: int, apart: bool) -> None:
    """参差的几行一起算，某一行的 logits 与它单独从头算的相差超过 1e-5（各行并成一组，或各自一组）。"""
    with pytest.MonkeyPatch.context() as patch:
        if apart:
            patch.setattr(slots_module, "_FREE", -10_000)
        assert worst(Side(engine, config), seed) <= BOUND


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bound_hides_a_row_reading_its_neighbour(engine: str) -> None:
    """把邻槽的缓存给了这一行，差仍在界内：界太松。"""
    side = Side(engine, LLAMA)
    decoder, rng = side.slots(2), np.random.default_rng(0)
    mine, other, token = rng.integers(0, 97, 9), rng.integers(0, 97, 9), rng.integers(0, 97, 1)
    decoder.feed([(0, mine), (1, other)])
    decoder.share(1, 0, 9)
    found = decoder.feed([(0, token)])[0]
    assert relative(found, side.whole([*mine.tolist(), *token.tolist()])[-1]) > 100 * BOUND


def greedy(decoder: BatchDecoder, prompts: list[list[int]], count: int) -> list[list[int]]:
    """各开头一起取最大，接出 ``count`` 个。"""
    rows = [(slot, np.array(prompt)) for slot, prompt in enumerate(prompts)]
    written: list[list[int]] = [[] for _ in prompts]
    for _ in range(count):
        tokens = decoder.feed(rows).argmax(-1)
        rows = [(slot, tokens[slot : slot + 1]) for slot in range(len(prompts))]
        for slot, token in enumerate(tokens.tolist()):
            written[slot].append(token)
    return written


def assert_greedy_agrees(engine: str, config: GPTConfig, total: int, batch: int) -> None:
    """``total`` 个开头，成批接出的与单独接出的一样。"""
    side, rng = Side(engine, config), np.random.default_rng(1)
    together, alone = side.slots(batch), side.slots(1)
    for start in range(0, total, batch):
        prompts = [rng.integers(0, 97, int(rng.integers(1, 30))).tolist() for _ in range(min(batch, total - start))]
        for slot in range(batch):
            together.truncate(slot, 0)
        found = greedy(together, prompts, 8)
        for i, prompt in enumerate(prompts):
            alone.truncate(0, 0)
            assert found[i] == greedy(alone, [prompt], 8)[0], prompt


SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "window": {"window": 7},
    "gpt2": {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True, "n_kv_head": None},
}


@pytest.mark.parametrize("engine", ENGINES)
def test_batched_greedy_tokens_differ(engine: str) -> None:
    """成批与单独，取最大的 token 不同。"""
    assert_greedy_agrees(engine, LLAMA, 12, 5)


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_batched_greedy_tokens_differ_on_one_of_many_prompts(engine: str, shape: str) -> None:
    """两百个开头里，有一个成批与单独取最大的 token 不同。"""
    assert_greedy_agrees(engine, GPTConfig(**{**LLAMA.to_dict(), **SHAPES[shape]}), 200, 7)


@pytest.mark.parametrize("engine", ENGINES)
def test_long_prompt_is_cut_wrongly(engine: str) -> None:
    """比内部的一块更长的开头，一次喂完与分成几块的 logits 不同。"""
    side = Side(engine, GPTConfig(**{**LLAMA.to_dict(), "context": 700}))
    ids = np.random.default_rng(2).integers(0, 97, 600)
    decoder = side.slots(2)
    found = decoder.feed([(0, ids), (1, ids[:300])])
    assert relative(found[0], side.whole(ids.tolist())[-1]) <= BOUND
    assert relative(found[1], side.whole(ids[:300].tolist())[-1]) <= BOUND


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refused_row_changes_the_cache(engine: str) -> None:
    """超出上下文的一行没有当场报错，或报错之后缓存里多了东西。"""
    decoder = Side(engine, LLAMA).slots(2, context=10)
    decoder.feed([(0, np.arange(8)), (1, np.arange(3))])
    with pytest.raises(ContextError, match="sequence of 11 tokens is longer than the model's context of 10"):
        decoder.feed([(1, np.arange(2)), (0, np.arange(3))])
    assert (decoder.length(0), decoder.length(1)) == (8, 3)
    for rows in ([(0, np.arange(1)), (0, np.arange(1))], [(2, np.arange(1))], [], [(0, np.arange(0))]):
        with pytest.raises(ValueError, match="slot"):
            decoder.feed(rows)
    with pytest.raises(ValueError, match="cannot keep"):
        decoder.truncate(1, 4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kv_cache", ["plain", "int8"])
def test_one_slot_is_no_decoder(engine: str, kv_cache: Literal["plain", "int8"]) -> None:
    """一个槽当作单独的解码器：清空、截短之后接着写，与从头写不同。"""
    one, rng = OneSlot(Side(engine, LLAMA).slots(3, kv_cache), 1), np.random.default_rng(3)
    ids = rng.integers(0, 97, 12)
    first = one.feed(ids)
    one.truncate(5)
    again = one.feed(ids[5:])
    one.reset()
    assert one.length == 0
    assert relative(one.feed(ids), first) <= BOUND
    assert relative(again, first) <= BOUND


@SOME
@given(config=configs(), seed=st.integers(0, 10_000))
def test_packed_weights_are_other_weights(config: GPTConfig, seed: int) -> None:
    """排好次序的权重，算出的 logits 与整段前向相差超过 1e-5。"""
    side = Side("torch", config)
    assert worst(side, seed, packed=True) <= BOUND


@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
@SOME
@given(config=configs(), seed=st.integers(0, 10_000))
def test_a_vendors_processor_multiplies_otherwise(vendor: str, config: GPTConfig, seed: int) -> None:
    """某一家的处理器上，矩阵乘法换了一个库，算出的 logits 与整段前向相差超过 1e-5。"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_llm.decoding.products.cpu_vendor", lambda: vendor)
        assert worst(Side("torch", config), seed) <= BOUND
