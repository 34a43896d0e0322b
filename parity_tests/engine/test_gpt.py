"""同一份 GPT、同一套初值：两个引擎的 logits、梯度与十步 AdamW 相同；KV 缓存与整段前向相同。

流入：随机的 ``GPTConfig``；流出：第一处不同的参数名与数值。
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.contract.cases import configs, weights
from parity_tests.tolerances import as_array, assert_close
from tinygrad_llm import gpt as our_gpt
from tinygrad_llm.common.config import PRESETS, GPTConfig, parameter_count, parameter_shapes
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.decoding import NumpyDecoder
from torch_llm import gpt as torch_gpt

FEWER = settings(max_examples=max(5, settings().max_examples // 5))
"""十步训练每个例子几百毫秒，取五分之一的例子。"""

CACHES: dict[Any, Any] = {tg: our_gpt.KVCache, torch: torch_gpt.KVCache}


def _models(config: GPTConfig, dtype: str = "float64") -> tuple[Any, Any]:
    loaded = weights(config, dtype)
    ours, theirs = our_gpt.GPT(config).to(getattr(tg, dtype)), torch_gpt.GPT(config).to(getattr(torch, dtype))
    ours.load_state_dict({name: tg.from_numpy(w) for name, w in loaded.items()})
    theirs.load_state_dict({name: torch.from_numpy(w) for name, w in loaded.items()})
    return ours, theirs


def _batch(config: GPTConfig, seed: int, batch: int = 2) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, config.context + 1))
    ids = rng.integers(0, config.vocab_size, (batch, length))
    targets = np.where(rng.random((batch, length)) < 0.8, rng.integers(0, config.vocab_size, (batch, length)), -100)
    return ids, targets


def _compare_gradients(ours: Any, theirs: Any, kind: str) -> None:
    for (name, a), (other, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        assert_close(a.grad, b.grad, kind, f"gradient of {name}")


@given(config=configs(), seed=st.integers(0, 1000))
def test_logits_loss_and_gradients_equal_torch(config: GPTConfig, seed: int) -> None:
    """float64 的 logits、损失或某个参数的梯度与 torch 不同。"""
    ours, theirs = _models(config)
    ids, targets = _batch(config, seed)
    assert_close(ours(tg.tensor(ids)), theirs(torch.tensor(ids)), "gpt float64", "logits")
    a, b = ours.loss(tg.tensor(ids), tg.tensor(targets)), theirs.loss(torch.tensor(ids), torch.tensor(targets))
    assert_close(a, b, "gpt float64", "loss")
    a.backward()
    b.backward()
    _compare_gradients(ours, theirs, "float64")


@given(config=configs(), seed=st.integers(0, 1000))
def test_float32_logits_equal_torch(config: GPTConfig, seed: int) -> None:
    """float32 的 logits 与 torch 相差太远，或不再是 float32。"""
    ours, theirs = _models(config, "float32")
    ids, _ = _batch(config, seed)
    assert_close(ours(tg.tensor(ids)), theirs(torch.tensor(ids)), "gpt float32", "logits")


@FEWER
@given(config=configs())
def test_ten_steps_of_training_equal_torch(config: GPTConfig) -> None:
    """裁剪加 AdamW 训练十步之后，损失或某个参数与 torch 不同。"""
    ours, theirs = _models(config)
    losses = [_steps(tg, ours, config), _steps(torch, theirs, config)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert_close(a, b, "gpt training float64", name)


def _steps(m: Any, model: Any, config: GPTConfig) -> list[float]:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = m.optim.AdamW([g for g in groups if g["params"]], lr=3e-3, betas=(0.9, 0.95))
    losses = []
    for step in range(10):
        ids, targets = _batch(config, step)
        targets[0, 0] = 0
        optimizer.zero_grad()
        loss = model.loss(m.tensor(ids), m.tensor(targets)) / int((targets != -100).sum())
        loss.backward()
        m.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@given(config=configs())
def test_parameter_names_shapes_and_order_are_the_configs(config: GPTConfig) -> None:
    """模型的参数与 ``parameter_shapes`` 的名字、次序或形状不同：存档就装不回来。"""
    expected = [(name, tuple(shape)) for name, shape in parameter_shapes(config).items()]
    for model in (our_gpt.GPT(config), torch_gpt.GPT(config)):
        assert [(name, tuple(p.shape)) for name, p in model.state_dict().items()] == expected
        assert [name for name, _ in model.named_parameters()] == [name for name, _ in expected]
        assert sum(p.numel() for p in model.parameters()) == parameter_count(config)


COUNTS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "smollm2-135m": 134_515_008,
}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_presets_have_the_published_number_of_parameters(name: str) -> None:
    """预设的参数总数与公布的不同：形状写错了。"""
    assert parameter_count(PRESETS[name]) == COUNTS[name]


def _chunks(rng: Any, length: int) -> list[int]:
    cuts = sorted({0, length, *rng.integers(1, length + 1, rng.integers(0, length + 1)).tolist()})
    return [b - a for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("m", [tg, torch], ids=["tinygrad_llm", "torch"])
@given(config=configs(), seed=st.integers(0, 1000))
def test_cache_in_any_chunks_equals_the_whole_forward(m: Any, config: GPTConfig, seed: int) -> None:
    """分块喂进 KV 缓存，某个位置的 logits 与整段前向不同。"""
    model = _models(config)[0 if m is tg else 1]
    rng = np.random.default_rng(seed)
    ids = m.tensor(rng.integers(0, config.vocab_size, (2, config.context)))
    with m.no_grad():
        whole = model(ids)
        cache, start, parts = CACHES[m](model, 2, config.context), 0, []
        for length in _chunks(rng, config.context):
            parts.append(model(ids[:, start : start + length], cache))
            start += length
            assert cache.length == start
    assert_close(m.cat(parts, 1), whole, "float64", "logits from the cache")


@given(config=configs(), seed=st.integers(0, 1000))
def test_the_future_changes_nothing_before_it(config: GPTConfig, seed: int) -> None:
    """换掉后面的 token，前面的 logits 变了一位；或后面的梯度漏到了前面的输入。"""
    model = _models(config)[0]
    rng = np.random.default_rng(seed)
    length = config.context
    cut = int(rng.integers(1, length))
    ids = rng.integers(0, config.vocab_size, (2, length))
    other = np.array(ids)
    other[:, cut:] = (other[:, cut:] + 1 + rng.integers(0, max(config.vocab_size - 1, 1))) % config.vocab_size
    with tg.no_grad():
        a, b = model(tg.tensor(ids)), model(tg.tensor(other))
    assert_close(a[:, :cut], b[:, :cut], "exact", f"logits before {cut}")


@pytest.mark.parametrize("m", [tg, torch], ids=["tinygrad_llm", "torch"])
def test_too_long_a_sequence_is_refused(m: Any) -> None:
    """超出上下文长度的序列静默得到错误的位置。"""
    config = GPTConfig(vocab_size=5, context=4, n_layer=1, n_head=1, n_embd=4)
    model = _models(config)[0 if m is tg else 1]
    with pytest.raises(ValueError, match=r"5 tokens.*context of 4"):
        model(m.zeros(1, 5, dtype=m.int64))
    cache = CACHES[m](model, 1, 4)
    model(m.zeros(1, 4, dtype=m.int64), cache)
    with pytest.raises(ValueError, match=r"5 tokens.*context of 4"):
        model(m.zeros(1, 1, dtype=m.int64), cache)
    with pytest.raises(IndexError):
        model(m.full((1, 1), 5, dtype=m.int64))


def test_dropout_acts_in_training_only() -> None:
    """评估时还有 dropout，或训练时没有。"""
    config = GPTConfig(vocab_size=5, context=4, n_layer=2, n_head=2, n_embd=8, dropout=0.5)
    model = our_gpt.GPT(config)
    model.load_state_dict({name: tg.from_numpy(w) for name, w in initial_weights(config, 0).items()})
    ids = tg.zeros(1, 4, dtype=tg.int64)
    tg.manual_seed(0)
    assert not tg.equal(model(ids), model(ids))
    model.eval()
    assert_close(model(ids), model(ids), "exact")


def test_loss_is_a_sum_over_valid_positions() -> None:
    """损失混进了不计的位置，或是均值而不是和。"""
    config = GPTConfig(vocab_size=5, context=4, n_layer=1, n_head=1, n_embd=4)
    model = _models(config)[0]
    ids, targets = np.zeros((2, 3), np.int64), np.array([[1, -100, 2], [-100, -100, -100]])
    parts = [model.loss(tg.tensor(ids[:1, : i + 1]), tg.tensor(np.where(np.arange(i + 1) == i, t, -100)[None]))
             for i, t in enumerate(targets[0])]  # fmt: skip
    whole = model.loss(tg.tensor(ids), tg.tensor(targets))
    assert whole.item() == pytest.approx(sum(p.item() for p in parts), rel=1e-12)
    assert model.loss(tg.tensor(ids[1:]), tg.tensor(targets[1:])).item() == 0.0


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@given(config=configs(), seed=st.integers(0, 1000))
def test_packed_documents_see_each_other(engine: str, config: GPTConfig, seed: int) -> None:
    """一行里装两篇文档，与各占一行的 logits 不同：注意力或位置越过了文档的开头；逐个喂进缓存也要如此。"""
    start = config.vocab_size - 1
    config = replace(config, document_start=start)
    model = _models(config)[engine == "torch"]
    library: Any = tg if engine == "numpy" else torch
    rng = np.random.default_rng(seed)
    cut = int(rng.integers(1, config.context))
    ids = rng.integers(0, max(start, 1), (2, config.context))
    ids[:, [0, cut]] = start
    with library.no_grad():
        packed = as_array(model(library.tensor(ids)))
        apart = np.concatenate([as_array(model(library.tensor(part))) for part in np.split(ids, [cut], axis=1)], 1)
        cache = CACHES[library](model, 2, config.context)
        pieces = np.split(ids, sorted({1, cut - 1, cut + 1} - {0, config.context}), axis=1)
        fed = np.concatenate([as_array(model(library.tensor(p), cache)) for p in pieces if p.shape[1]], 1)
    np.testing.assert_allclose(packed, apart, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(fed, apart, rtol=1e-10, atol=1e-11)
    if engine == "numpy":
        decoder = NumpyDecoder(model)
        for place in range(config.context):
            np.testing.assert_allclose(decoder.feed(ids[0, place : place + 1]), apart[0, place], rtol=1e-9, atol=1e-10)
