"""随机的模型、随机的开头：两个引擎取同样的 token；float32 的 KV 缓存在每个位置上都与整段前向相同。

流入：随机的 ``GPTConfig``（分组的头、滑动窗口、旋转或学得的位置）；流出：第一处不同的 token 或 logits。
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import find, given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.contract.cases import configs, weights
from parity_tests.tolerances import as_array
from parity_tests.whole_runs.commands import ENGINES
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.single import Decoder, decode
from tinygrad_llm.decoding import NumpyDecoder
from tinygrad_llm.train import build_model
from torch_llm.engine import TorchDecoder
from torch_llm.loop import build_model as build_torch_model

CACHE_BOUND = 1e-5
"""float32 的 KV 缓存与整段前向的差，以 ``max(1, 最大的 logit)`` 为单位。"""
SAMPLINGS = [Sampling(0.0), Sampling(1.0, seed=1), Sampling(0.7, 3, seed=2), Sampling(1.3, None, 0.8, seed=3)]


def built(config: GPTConfig, dtype: str) -> dict[str, Any]:
    """两个引擎的模型，权重相同。"""
    loaded = weights(config, dtype)
    return {"numpy": build_model(config, loaded).eval(), "torch": build_torch_model(config, loaded).eval()}


def decoders(config: GPTConfig, dtype: str) -> dict[str, Decoder]:
    """两个引擎的生成器。"""
    models = built(config, dtype)
    return {"numpy": NumpyDecoder(models["numpy"]), "torch": TorchDecoder(models["torch"])}


SHAPES: dict[str, GPTConfig] = {
    "GPT-2": GPTConfig(vocab_size=97, context=12, n_layer=2, n_head=4, n_embd=32),
    "Llama": GPTConfig(
        vocab_size=97, context=12, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, norm="rmsnorm", position="rope",
        mlp="swiglu", bias=False, tie_head=False,
    ),
    "Qwen3 with a window": GPTConfig(
        vocab_size=97, context=12, n_layer=2, n_head=4, n_kv_head=1, n_embd=32, norm="rmsnorm", position="rope",
        mlp="swiglu", bias=False, qk_norm=True, window=5,
    ),
}  # fmt: skip


def assert_same_tokens(shape: str, sampling: Sampling, prompts: int) -> None:
    """``prompts`` 个随机的开头（短于、等于、长于上下文），float32：两个引擎接出同样的六个 token。"""
    config, rng = SHAPES[shape], np.random.default_rng(sampling.seed)
    ours, theirs = decoders(config, "float32").values()
    for i in range(prompts):
        prompt = [int(token) for token in rng.integers(0, config.vocab_size, int(rng.integers(1, 2 * config.context)))]
        found = list(decode(ours, prompt, 6, sampling))
        assert found == list(decode(theirs, prompt, 6, sampling)), (i, prompt)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled", "top-k", "top-p"])
@pytest.mark.parametrize("shape", SHAPES)
def test_engines_choose_different_tokens(shape: str, sampling: Sampling) -> None:
    """两个引擎从同一个开头接出了不同的 token。"""
    assert_same_tokens(shape, sampling, 15)


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_tokens_differ_on_one_of_many_prompts(shape: str) -> None:
    """两百个开头里，有一个在两个引擎上取最大的 token 不同。"""
    assert_same_tokens(shape, SAMPLINGS[0], 200)


def test_every_prompt_has_the_same_answer() -> None:
    """模型不看开头，接出的总是同样几个 token：那样两个引擎相同也说明不了什么。"""
    config, rng = SHAPES["Llama"], np.random.default_rng(0)
    decoder = decoders(config, "float32")["numpy"]
    found = {tuple(decode(decoder, rng.integers(0, 97, 5).tolist(), 6, Sampling(0.0))) for _ in range(20)}
    assert len(found) > 15


@given(config=configs(), seed=st.integers(0, 1000), sampling=st.sampled_from(SAMPLINGS))
def test_engines_choose_different_tokens_of_a_random_model(config: GPTConfig, seed: int, sampling: Sampling) -> None:
    """随机的模型上（float64），两个引擎接出的 token 不同。"""
    rng = np.random.default_rng(seed)
    ours, theirs = decoders(config, "float64").values()
    prompt = rng.integers(0, config.vocab_size, int(rng.integers(1, config.context + 3))).tolist()
    assert list(decode(ours, prompt, 8, sampling)) == list(decode(theirs, prompt, 8, sampling))


def gap(engine: str, config: GPTConfig, seed: int) -> float:
    """float32 下随机分块喂进缓存，与整段前向相差最大的一个 logit，以 ``max(1, 最大的 logit)`` 为单位。"""
    rng = np.random.default_rng(seed)
    model, m = built(config, "float32")[engine], tg if engine == "numpy" else torch
    decoder: Any = NumpyDecoder(model) if engine == "numpy" else TorchDecoder(model)
    ids = rng.integers(0, config.vocab_size, config.context)
    with m.no_grad():
        whole = as_array(model(m.tensor(ids[None])))[0]
    cuts = sorted({0, config.context, *rng.integers(1, config.context, rng.integers(0, config.context)).tolist()})
    apart = [np.abs(decoder.feed(ids[a:b]) - whole[b - 1]).max() for a, b in itertools.pairwise(cuts)]
    return float(max(apart)) / max(1.0, float(np.abs(whole).max()))


@pytest.mark.parametrize("engine", ENGINES)
@given(config=configs(), seed=st.integers(0, 1000))
def test_float32_cache_leaves_the_whole_forward(engine: str, config: GPTConfig, seed: int) -> None:
    """float32、随机分块（含逐个）喂进缓存，某一块末尾的 logits 与整段前向相差超过 1e-5。"""
    assert gap(engine, config, seed) <= CACHE_BOUND


def test_the_bound_hides_a_shorter_window() -> None:
    """窗口短了一格，缓存仍算与整段前向相同：界太松。"""
    config = find(configs(), lambda c: c.window == 3 and c.context > 5 and c.n_layer == 2 and c.n_embd > 4)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, config.context)
    loaded = weights(config, "float32")
    whole, shorter = (
        as_array(build_model(one, loaded)(tg.tensor(ids[None])))
        for one in (config, GPTConfig(**{**config.to_dict(), "window": 2}))
    )
    assert np.abs(whole - shorter).max() > 100 * CACHE_BOUND * max(1.0, np.abs(whole).max())
