"""n-gram 基线：概率归一，与手算和朴素实现一致，随机字节约为 8 比特，λ 从不看验证文本。"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.corpora import load_corpus, split_text
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.ngram import ByteNgram, fit_byte_ngram

ORDERS = st.integers(1, 7)
TRAIN = st.text("ab\nc", min_size=10, max_size=200).map(str.encode) | st.binary(min_size=10, max_size=200)


def naive_probability(model: ByteNgram, train: bytes, context: bytes, byte: int) -> float:
    """照公式逐阶计算：计数用切片比较，λ 取模型的。"""
    order = len(model.levels)
    text, context, p = b"\n" * (order - 1) + train, b"\n" * (order - 1) + context, 1 / 256
    for k in range(order):
        before = context[len(context) - k :]
        follows = [text[i] for i in range(order - 1, len(text)) if text[i - k : i] == before]
        weight = model.weights[k, len(follows).bit_length()]
        p = weight * follows.count(byte) / max(len(follows), 1) + (1 - weight) * p
    return float(p)


@given(TRAIN, st.binary(max_size=9) | st.text("ab\n", max_size=9).map(str.encode), ORDERS)
def test_probabilities_sum_to_one_and_match_the_formula(train: bytes, context: bytes, order: int) -> None:
    """任意上文（见过的、没见过的、不足的）：每个字节的概率都大于 0，总和为 1，与朴素实现相同。"""
    model = fit_byte_ngram(train, order)
    p = model.probabilities(context)
    assert p.shape == (256,)
    assert p.min() > 0
    assert p.sum() == pytest.approx(1, abs=1e-12)
    for byte in (train[0], 97, 10, 255):
        assert p[byte] == pytest.approx(naive_probability(model, train, context, byte), rel=1e-12)


@given(TRAIN, st.binary(min_size=1, max_size=20), ORDERS)
def test_bits_are_the_mean_surprise_of_each_byte(train: bytes, text: bytes, order: int) -> None:
    """bits-per-byte 就是逐字节 -log2 p 的平均。"""
    model = fit_byte_ngram(train, order)
    surprise = [-math.log2(model.probabilities(text[:i])[byte]) for i, byte in enumerate(text)]
    assert model.bits_per_byte(text) == pytest.approx(math.fsum(surprise) / len(text), rel=1e-12)


def test_a_unigram_example_worked_out_by_hand() -> None:
    """十个 a：末一个用来求 λ，ML 概率为 1。

    EM 的不动点满足 3λ = 1 + λ / (λ + (1 - λ) / 256)，即 765λ² - 508λ - 1 = 0。
    """
    weight = (508 + math.sqrt(508**2 + 4 * 765)) / (2 * 765)
    model = fit_byte_ngram(b"a" * 10, order=1)
    assert model.bits_per_byte(b"a") == pytest.approx(-math.log2(weight + (1 - weight) / 256), rel=1e-9)
    assert model.bits_per_byte(b"b") == pytest.approx(-math.log2((1 - weight) / 256), rel=1e-9)


def test_uniform_random_bytes_cost_eight_bits() -> None:
    """没有规律可学时既不占便宜，也不因过拟合吃大亏。"""
    train, val = (np.random.default_rng(seed).bytes(100_000) for seed in (1, 2))
    assert fit_byte_ngram(train).bits_per_byte(val) == pytest.approx(8, abs=0.01)


def test_a_known_source_costs_its_entropy() -> None:
    """两个字节以 1:3 独立出现，熵为 0.811 比特。"""
    train, val = (
        bytes(np.random.default_rng(seed).choice([65, 66], 50_000, p=[0.25, 0.75]).tolist()) for seed in (1, 2)
    )
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert fit_byte_ngram(train).bits_per_byte(val) == pytest.approx(entropy, abs=0.01)


def test_the_default_corpus_gives_a_sensible_baseline_quickly() -> None:
    """阶数越高 bits-per-byte 越低；3-gram 在 python-docs 上拟合加评估不到一秒。"""
    train, val = (part.encode() for part in split_text(load_corpus("python-docs").text, 0.1))
    started_at = time.process_time()
    trigram = fit_byte_ngram(train).bits_per_byte(val)
    assert time.process_time() - started_at < 1
    unigram, bigram = (fit_byte_ngram(train, order).bits_per_byte(val) for order in (1, 2))
    assert 2 < trigram < bigram < unigram < 5


@pytest.mark.parametrize("order", [0, 8, -1])
def test_impossible_orders_are_refused(order: int) -> None:
    """阶数越界是用法错误。"""
    with pytest.raises(UserError) as caught:
        fit_byte_ngram(b"x" * 100, order)
    assert caught.value.exit_code == 2


def test_too_short_texts_are_data_errors() -> None:
    """训练文本太短，或要评估的文本为空。"""
    with pytest.raises(DataError):
        fit_byte_ngram(b"x" * 9)
    with pytest.raises(DataError):
        fit_byte_ngram(b"x" * 10).bits_per_byte(b"")
