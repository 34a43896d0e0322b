"""LoRA：开始时什么也不变，只有支路在学，并入与还原逐位可逆；两个引擎相同。

流入：小模型；流出：输出、梯度与权重的差。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
import tinygrad_llm.lora as ours
import tinygrad_llm.train as numpy_train
import torch_llm.loop as torch_train
import torch_llm.lora as theirs
from tinygrad_llm.common.adapter import LoRAConfig
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import initial_weights

CONFIG = GPTConfig(vocab_size=11, context=6, n_layer=2, n_head=2, n_embd=8, hidden=12)
LLAMA = GPTConfig(
    vocab_size=11, context=6, n_layer=2, n_head=2, n_kv_head=1, n_embd=8, hidden=12, norm="rmsnorm", position="rope",
    mlp="swiglu", bias=False,
)  # fmt: skip
IDS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
ENGINES: dict[str, tuple[Any, Any, Any]] = {"numpy": (tg, ours, numpy_train), "torch": (torch, theirs, torch_train)}


def build(engine: str, config: GPTConfig = CONFIG, dtype: str = "float64") -> Any:
    """一个模型。"""
    return ENGINES[engine][2].build_model(config, initial_weights(config, 3, dtype))


def logits(engine: str, model: Any) -> Any:
    """模型在 ``IDS`` 上的输出。"""
    return np.array(model.eval()(ENGINES[engine][0].tensor(IDS.tolist())).tolist())


def trained(engine: str, adapter: Any, scale: float = 0.3) -> None:
    """把支路换成非零的一套，好像练过一样。"""
    draw = np.random.default_rng(5)
    adapter.load({name: draw.standard_normal(tuple(value.shape)) * scale for name, value in adapter.state().items()})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["gpt2", "llama"])
def test_a_new_adapter_changes_nothing_and_only_b_has_a_gradient(engine: str, config: GPTConfig) -> None:
    """刚添上的支路改变了输出，或 A 已有梯度、B 没有，或原来的权重也在求导。"""
    module = ENGINES[engine][0]
    model = build(engine, config)
    before = logits(engine, model)
    adapter = ENGINES[engine][1].LoRA(model, LoRAConfig(rank=3))
    assert (logits(engine, model) == before).all()
    model.loss(module.tensor(IDS.tolist()), module.tensor(IDS.tolist())).backward()
    for name, p in model.named_parameters():
        if ".lora_" in name:
            assert (np.abs(np.array(p.grad.tolist())).max() > 0) == name.endswith("lora_B"), name
        else:
            assert p.grad is None, name
            assert not p.requires_grad, name
    assert len(adapter.layers) == 4 * config.n_layer


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-6)])
def test_merged_equals_unmerged(engine: str, dtype: str, bound: float) -> None:
    """并入之后输出变了，或还原之后权重不是逐位原样。"""
    model = build(engine, dtype=dtype)
    weights = {name: np.array(p.tolist()) for name, p in model.named_parameters()}
    adapter = ENGINES[engine][1].LoRA(model, LoRAConfig(rank=3, alpha=6))
    trained(engine, adapter)
    apart = logits(engine, model)
    adapter.merge()
    merged = logits(engine, model)
    np.testing.assert_allclose(merged, apart, rtol=bound, atol=bound)
    assert not np.allclose(merged, logits(engine, build(engine, dtype=dtype)), atol=1e-3)
    adapter.unmerge()
    adapter.remove(keep=False)
    assert {name: np.array(p.tolist()).tobytes() for name, p in model.named_parameters()} == {
        name: array.tobytes() for name, array in weights.items()
    }
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_switched_off_adapter_is_the_reference_model(engine: str) -> None:
    """断开支路之后不是原来的模型，接回来又不是练过的模型。"""
    model = build(engine)
    before = logits(engine, model)
    adapter = ENGINES[engine][1].LoRA(model, LoRAConfig())
    trained(engine, adapter)
    after = logits(engine, model)
    adapter.switch(is_on=False)
    np.testing.assert_allclose(logits(engine, model), before, rtol=1e-13, atol=1e-15)  # 记不记图，舍入可差末位
    adapter.switch(is_on=True)
    assert (logits(engine, model) == after).all()
    adapter.remove(keep=True)
    np.testing.assert_allclose(logits(engine, model), after, rtol=1e-12, atol=1e-12)


def test_both_engines_learn_the_same_adapter() -> None:
    """两个引擎的支路初值、输出或梯度不同。"""
    grads, outputs = [], []
    for engine, (module, lora, _) in ENGINES.items():
        model = build(engine, LLAMA)
        adapter = lora.LoRA(model, LoRAConfig(rank=2, targets=("c_attn", "c_gate")), seed=9)
        first = {name: np.array(value.tolist()) for name, value in adapter.state().items()}
        trained(engine, adapter)
        model.loss(module.tensor(IDS.tolist()), module.tensor(IDS.tolist())).backward()
        outputs.append((first, logits(engine, model)))
        grads.append({n: np.array(p.grad.tolist()) for n, p in model.named_parameters() if ".lora_" in n})
    assert {n: a.tobytes() for n, a in outputs[0][0].items()} == {n: a.tobytes() for n, a in outputs[1][0].items()}
    np.testing.assert_allclose(outputs[0][1], outputs[1][1], rtol=1e-11, atol=1e-12)
    assert grads[0].keys() == grads[1].keys()
    for name, one in grads[0].items():
        np.testing.assert_allclose(one, grads[1][name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_reading_the_weight_past_the_branch_is_an_error() -> None:
    """绕过支路直接读权重的代码没有报错，会悄悄算出没有支路的结果。"""
    for engine in ENGINES:
        model = build(engine)
        ENGINES[engine][1].LoRA(model, LoRAConfig())
        with pytest.raises(AttributeError):
            _ = model.h[0].attn.c_attn.weight


def test_an_adapter_that_does_not_fit_is_refused() -> None:
    """秩、层或取值不合的支路没有报错。"""
    adapter = ours.LoRA(build("numpy"), LoRAConfig(rank=2))
    with pytest.raises(UserError, match="does not fit"):
        adapter.load(dict.fromkeys(adapter.state(), np.zeros((3, 3))))
    with pytest.raises(UserError, match="no layers named c_gate"):
        ours.LoRA(build("numpy"), LoRAConfig(targets=("c_gate",)))
    with pytest.raises(UserError, match=r"rank .*; alpha .*; dropout .*; targets"):
        LoRAConfig(rank=0, alpha=float("nan"), dropout=1.0, targets=())
