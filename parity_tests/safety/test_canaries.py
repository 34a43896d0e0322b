"""金丝雀：暴露度与手算的相符，整句的对数概率与完整的前向相符，埋的遍数不多不少。"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.safety import memorisation
from tinygrad_llm.common.safety.canaries import Canary, load_canaries, make_canaries, planted, save_canaries
from tinygrad_llm.common.safety.memorisation import (
    Exposure,
    Memorisation,
    exposure_of,
    memorised,
    sequence_logprobs,
)
from tinygrad_llm.common.safety.report import canary_page
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.decoding import NumpySlots
from tinygrad_llm.train import build_model as numpy_model
from torch_llm.decoding.slots import TorchSlots
from torch_llm.loop import build_model as torch_model

TOKENIZER = Tokenizer([])
CONFIG = GPTConfig(vocab_size=TOKENIZER.vocab_size, context=64, n_layer=1, n_head=2, n_embd=16)
WEIGHTS = {name: 3 * array for name, array in initial_weights(CONFIG, 2, "float64").items()}
ENGINES: dict[str, Callable[[int], Any]] = {
    "numpy": lambda slots: NumpySlots(numpy_model(CONFIG, WEIGHTS), slots),
    "torch": lambda slots: TorchSlots(torch_model(CONFIG, WEIGHTS, "cpu"), slots),
}


def test_exposure_equals_the_worked_examples() -> None:
    """名次与暴露度和手算的不符。"""
    others = np.arange(999.0)
    assert exposure_of(1e9, others, 1000) == (1, math.log2(1000))
    assert exposure_of(-1.0, others, 1000) == (1000, 0)
    rank, bits = exposure_of(899.5, others, 1000)
    assert rank == 100
    assert bits == pytest.approx(math.log2(10))
    assert exposure_of(998.0, others, 1000)[0] == 1.5  # 与一个平手：两种名次的平均
    assert exposure_of(7.0, np.zeros(255), 10**6) == (1.0, 8.0)  # 抽了 255 个都输：只知道不低于 log2(256)
    rank, bits = exposure_of(0.5, np.r_[np.zeros(75), np.ones(25)], 10**6)
    assert rank == 250_001
    assert bits == pytest.approx(2.0, abs=1e-5)


def test_random_numbers_have_the_exposure_of_chance() -> None:
    """没有背下的号码，暴露度的平均不是 1.44 左右。"""
    draw = np.random.default_rng(0)
    found = [exposure_of(draw.random(), draw.random(999), 1000)[1] for _ in range(3000)]
    assert np.mean(found) == pytest.approx(1 / math.log(2), abs=0.1)


@pytest.mark.parametrize("engine", ENGINES)
def test_sequence_logprobs_equal_the_full_forward(engine: str) -> None:
    """公共开头只算一遍之后，整句的对数概率变了。"""
    texts = ["code 12.", "code 129.", "code 1", "code 13456789", "code 12."]
    rows = [TOKENIZER.encode(text) for text in texts]
    model = numpy_model(CONFIG, WEIGHTS)
    expected = []
    for row in rows:
        with tg.no_grad():
            logits = model(tg.from_numpy(np.array([row]))).numpy()[0]
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected.append(logs[np.arange(len(row) - 1), row[1:]].sum())
    for slots in (1, 2, 8):
        np.testing.assert_allclose(sequence_logprobs(ENGINES[engine](slots), rows), expected, rtol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_rank_is_counted_over_every_number(engine: str) -> None:
    """逐个数遍的名次与把每一句单独算一遍的不符。"""
    canary = Canary("The code is ", "42", ".", 1)
    found = memorised(ENGINES[engine](16), TOKENIZER, [canary]).exposures[0]
    start = [TOKENIZER.eot]
    decoder = ENGINES["numpy"](1)
    scores = [
        sequence_logprobs(decoder, [start + TOKENIZER.encode(f"The code is {number:02d}.")])[0] for number in range(100)
    ]
    assert found.is_exact
    assert found.candidates == 99
    assert found.rank == 1 + sum(score > scores[42] for score in scores)


def test_a_sampled_rank_is_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """抽样的估计与数遍的差得远。"""
    canaries = make_canaries((1,), 4, 3, seed=1)
    exact = memorised(ENGINES["numpy"](64), TOKENIZER, canaries)
    monkeypatch.setattr(memorisation, "EXACT_SPACE", 10)
    sampled = memorised(ENGINES["numpy"](64), TOKENIZER, canaries, samples=500)
    assert not any(one.is_exact for one in sampled.exposures)
    for a, b in zip(exact.exposures, sampled.exposures, strict=True):
        if a.rank > 50:
            assert b.exposure == pytest.approx(a.exposure, abs=0.75)


def test_each_canary_is_planted_as_often_as_it_says() -> None:
    """埋的遍数不对，或动了原来的文档。"""
    canaries = make_canaries((0, 1, 2, 4), 3, 4, seed=0)
    documents = [f"document {i}" for i in range(20)]
    mixed = planted(documents, canaries, seed=5)
    counts = Counter(mixed)
    assert [text for text in mixed if text.startswith("document")] == documents
    assert all(counts[canary.text] == canary.repetitions for canary in canaries)
    assert mixed != planted(documents, canaries, seed=6)
    assert len({canary.prefix for canary in canaries}) == 12


def test_canaries_survive_the_file(tmp_path: Path) -> None:
    """存了再读，变了样。"""
    canaries = make_canaries((0, 3), 2, 5, seed=0)
    path = tmp_path / "c.json"
    save_canaries(path, canaries)
    assert load_canaries(path) == canaries


@pytest.mark.parametrize("text", ["", "{}", '{"canaries": []}', '{"canaries": [{"prefix": 1}]}', "[" * 10_000])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    """坏文件没有说是哪个，或照样用。"""
    path = tmp_path / "c.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_canaries(path)
    assert caught.value.where == str(path)


def test_too_many_canaries_are_refused() -> None:
    """句式用完了，悄悄埋下重复的。"""
    with pytest.raises(UserError, match="canaries"):
        make_canaries(tuple(range(60)), 60, 3, seed=0)


def test_the_interval_misses_the_rank_correlation() -> None:
    """次序分明时区间不是一点，次序全乱时区间窄得像是有把握；只有一种遍数时不是 NaN。"""

    def exposures(means: list[float], spread: float) -> Memorisation:
        draw = np.random.default_rng(0)
        rows = [(1 << i, mean + spread * draw.standard_normal()) for i, mean in enumerate(means) for _ in range(12)]
        return Memorisation(tuple(Exposure(times, 1.0, bits, True, 9, False) for times, bits in rows))

    assert exposures([1, 2, 3, 4], 0.01).interval_of_means() == (1.0, 1.0)
    low, high = exposures([2, 2, 2, 2], 1.0).interval_of_means()
    assert high - low > 0.5
    assert all(map(math.isnan, exposures([1], 1.0).interval_of_means()))


def test_the_page_shows_each_count() -> None:
    """报告里缺了一种遍数。"""
    found = memorised(ENGINES["numpy"](16), TOKENIZER, make_canaries((0, 1, 8), 2, 1, seed=0))
    html = canary_page("toy", found)
    assert "<svg" in html
    assert set(found.by_repetitions()) == {0, 1, 8}
