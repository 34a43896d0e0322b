"""GPT-2、Llama、Qwen3：随机的小配置，与 ``transformers`` 的模型。

流入：hypothesis 的抽取，或一份 ``GPTConfig``；流出：那边的模型，与两个方向的权重。
名字的对应在 ``common/weights/names.py``。
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.transformers.exact import Float64
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.weights import names
from tinygrad_llm.common.weights.names import FAMILIES, Family
from tinygrad_llm.ops.op import Array

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # 只造模型，不下载；要赶在 transformers 加载之前

__all__ = ["FAMILIES", "configs", "from_theirs", "state_of", "their_model", "to_theirs"]

_SHARED: dict[str, Any] = {"norm_eps": st.sampled_from([1e-5, 1e-6]), "tie_head": st.booleans()}


@st.composite
def configs(draw: Any, family: Family) -> GPTConfig:
    """一家的随机小配置。"""
    shared = {
        "vocab_size": draw(st.integers(3, 23)),
        "context": draw(st.integers(2, 9)),
        "n_layer": draw(st.integers(1, 3)),
        "hidden": draw(st.sampled_from([None, 5, 12])),
        **{name: draw(strategy) for name, strategy in _SHARED.items()},
    }
    kv = draw(st.integers(1, 2))
    heads = kv * draw(st.integers(1, 3))
    if family == "gpt2":
        mlp = draw(st.sampled_from(["gelu_tanh", "gelu"]))
        return GPTConfig(n_head=heads, n_embd=heads * draw(st.integers(1, 4)), mlp=mlp, **shared)
    return GPTConfig(
        n_head=heads,
        n_kv_head=kv,
        n_embd=heads * draw(st.sampled_from([2, 4])),
        head_dim=draw(st.sampled_from([None, 2, 6])),
        norm="rmsnorm",
        position="rope",
        rope_theta=draw(st.sampled_from([10000.0, 500.0])),
        mlp="swiglu",
        bias=family == "llama" and draw(st.booleans()),
        qk_norm=family == "qwen3",
        **shared,
    )


def from_theirs(state: Mapping[str, Array], config: GPTConfig, family: Family) -> dict[str, Array]:
    """那边的权重（或梯度）→ 我们的。"""
    return names.from_theirs(state, names.hf_links(config, family))


def to_theirs(state: Mapping[str, Array], config: GPTConfig, family: Family) -> dict[str, Array]:
    """我们的权重 → 那边的；共用的输出层也写出来。"""
    found = {k: np.ascontiguousarray(v) for k, v in names.to_theirs(state, names.hf_links(config, family)).items()}
    return found | ({"lm_head.weight": state["wte.weight"]} if config.tie_head else {})


def their_model(config: GPTConfig, family: Family, attention: str = "eager") -> Any:
    """``transformers`` 的模型，float64，参数打散：初值太小，看不出注意力的错。"""
    transformers: Any = importlib.import_module("transformers")
    shared: dict[str, Any] = {
        "vocab_size": config.vocab_size, "tie_word_embeddings": config.tie_head, "attn_implementation": attention,
        "bos_token_id": 0, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    made: Any
    if family == "gpt2":
        made = transformers.GPT2Config(
            n_positions=config.context, n_layer=config.n_layer, n_head=config.n_head, n_embd=config.n_embd,
            n_inner=config.hidden, layer_norm_epsilon=config.norm_eps, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            activation_function="gelu_new" if config.mlp == "gelu_tanh" else "gelu", **shared,
        )  # fmt: skip
    else:
        more = {"mlp_bias": config.bias} if family == "llama" else {}
        kind = transformers.LlamaConfig if family == "llama" else transformers.Qwen3Config
        made = kind(
            max_position_embeddings=config.context, num_hidden_layers=config.n_layer, hidden_size=config.n_embd,
            num_attention_heads=config.n_head, num_key_value_heads=config.kv_heads, head_dim=config.head_size,
            intermediate_size=config.hidden_size, rms_norm_eps=config.norm_eps, attention_bias=config.bias,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta}, **more, **shared,
        )  # fmt: skip
    names = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    with Float64():
        model = getattr(transformers, names[family])(made).double().eval()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            center = float("norm" in name or "ln_" in name) * name.endswith("weight")
            p.copy_(torch.tensor(center + 0.3 * rng.standard_normal(tuple(p.shape))))
    return model


def state_of(model: Any) -> dict[str, Array]:
    """``state_dict``，NumPy 数组。"""
    return {name: np.array(p.detach().numpy()) for name, p in model.state_dict().items()}
