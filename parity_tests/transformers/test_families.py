"""我们的 GPT（两个引擎）与 ``transformers`` 的 GPT-2、Llama、Qwen3：logits、损失、每个参数的梯度，float64。

流入：随机的小配置与打散的权重；流出：第一处不同。权重两个方向都走：那边的装进我们的，我们的装进那边的。
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from parity_tests.tolerances import as_array, assert_close
from parity_tests.transformers.exact import Float64
from parity_tests.transformers.families import (
    FAMILIES,
    configs,
    from_theirs,
    state_of,
    their_model,
    to_theirs,
)
from parity_tests.transformers.sides import MODELS, batch, our_model, pairs
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.safetensors import read_safetensors, write_safetensors
from tinygrad_llm.common.weights.names import Family

SOME = settings(max_examples=min(100, settings().max_examples))
"""整个模型前后各走三遍：full 档一百个配置也要几十秒。"""
FEWER = settings(max_examples=max(4, settings().max_examples // 5))


def _compare(config: GPTConfig, family: Family, theirs: Any, weights: dict[str, Any], seed: int) -> None:
    """logits、损失与每个参数的梯度。

    一个梯度是许多项之和，正负相消之后可以比各项小几千倍，所以误差与整个数组里最大的数相比，而不是逐个元素。
    """
    for what, m, ours, expected in pairs(config, family, theirs, weights, seed):
        scale = max(1.0, float(np.abs(as_array(expected)).max(initial=0.0)))
        a, b = as_array(ours) / scale, as_array(expected) / scale
        assert_close(a, b, "transformers float64", f"{family} {what} in {m.__name__}, divided by {scale:.3g}")


@pytest.mark.full
@SOME
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), seed=st.integers(0, 1000), attention=st.sampled_from(["eager", "sdpa"]))
def test_their_weights_in_our_model_give_other_numbers(family: Family, data: Any, seed: int, attention: str) -> None:
    """那边的权重装进我们的模型，logits、损失或某个梯度不同。"""
    config = data.draw(configs(family))
    theirs = their_model(config, family, attention)
    _compare(config, family, theirs, from_theirs(state_of(theirs), config, family), seed)


@pytest.mark.full
@SOME
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_our_weights_in_their_model_give_other_numbers(family: Family, data: Any, seed: int) -> None:
    """我们的初值装进那边的模型，logits、损失或某个梯度不同；或装进去再取回来，少了一位。"""
    config = data.draw(configs(family))
    weights = {k: 5 * v + 0.01 * v.ndim for k, v in initial_weights(config, seed, "float64").items()}
    theirs = their_model(config, family)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in to_theirs(weights, config, family).items()})
    back = from_theirs(state_of(theirs), config, family)
    assert back.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)
    _compare(config, family, theirs, weights, seed)


@pytest.mark.full
@FEWER
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_greedy_tokens_differ(family: Family, data: Any, seed: int) -> None:
    """从同一段开头，两边（那边带着自己的 KV cache）逐个取最大的，接出不同的 token。"""
    config = data.draw(configs(family))
    theirs = their_model(config, family)
    ids = np.random.default_rng(seed).integers(0, config.vocab_size, (2, 1))
    with Float64(), torch.no_grad():
        expected = theirs.generate(torch.tensor(ids), do_sample=False, max_length=config.context, use_cache=True)
    for m in MODELS:
        ours = our_model(m, config, from_theirs(state_of(theirs), config, family))
        found = m.tensor(ids)
        with m.no_grad():
            while found.shape[1] < config.context:
                found = m.cat([found, ours(found)[:, -1:].argmax(-1)], 1)
        assert found.tolist() == expected.tolist(), m.__name__


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_weights_does_not_cross_over(family: Family, tmp_path: Path) -> None:
    """那边存的文件我们读不成，我们写的文件那边读不成，或读出的数不同。"""
    config = find(configs(family), lambda c: c.n_layer == 2 and not c.tie_head)
    theirs = their_model(config, family)
    theirs.save_pretrained(tmp_path / "theirs", safe_serialization=True)
    arrays, _ = read_safetensors(tmp_path / "theirs" / "model.safetensors")
    weights = from_theirs(arrays, config, family)
    for name, value in from_theirs(state_of(theirs), config, family).items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "config.json").write_text((tmp_path / "theirs" / "config.json").read_text())
    doubled = {name: 2 * value for name, value in weights.items()}
    write_safetensors(ours / "model.safetensors", to_theirs(doubled, config, family), {"format": "pt"})
    with Float64():
        again = type(theirs).from_pretrained(ours, dtype=torch.float64)
    for name, value in from_theirs(state_of(again), config, family).items():
        np.testing.assert_array_equal(value, doubled[name], err_msg=name)


@pytest.mark.full
def test_float32_inside_their_model_goes_unnoticed() -> None:
    """``Float64`` 没有挡住那边写死的 float32：两边的差就有 1e-8，而不是 1e-15。"""
    config = find(configs("llama"), lambda c: c.context == 9 and c.n_layer == 1)
    theirs = their_model(config, "llama")
    ids, _ = batch(config, 0)
    with torch.no_grad():
        rounded = theirs(input_ids=torch.tensor(ids)).logits
        with Float64():
            exact = theirs(input_ids=torch.tensor(ids)).logits
    apart = float((rounded - exact).abs().max())
    assert 1e-12 < apart < 1e-5


def test_the_three_families_differ_at_a_glance() -> None:
    """quick 档只看每家一个配置：权重的对应、旋转的约定或 q、k 的归一化错了。"""
    for family in FAMILIES:
        config = GPTConfig(
            vocab_size=11, context=6, n_layer=2, n_head=4, n_embd=16, tie_head=family == "qwen3",
            **({} if family == "gpt2" else _LLAMA), qk_norm=family == "qwen3",
        )  # fmt: skip
        theirs = their_model(config, family)
        _compare(config, family, theirs, from_theirs(state_of(theirs), config, family), 0)


_LLAMA: dict[str, Any] = {
    "n_kv_head": 2, "head_dim": 6, "norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False, "hidden": 20,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_the_names_of_the_weights_do_not_cover_the_model(family: Family, data: Any) -> None:
    """对应表漏了一个参数，或多了一个；换过去再换回来不是原样。"""
    config = data.draw(configs(family))
    rng = np.random.default_rng(0)
    state = {name: rng.standard_normal(shape) for name, shape in parameter_shapes(config).items()}
    back = from_theirs(to_theirs(state, config, family), config, family)
    assert back.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)
