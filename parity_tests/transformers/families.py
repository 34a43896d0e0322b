"""GPT-2、Llama、Qwen3：随机的小配置，与权重的名字怎样对应。

流入：hypothesis 的抽取，或一份 ``GPTConfig``；流出：``transformers`` 的模型，与两个方向的权重。
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.transformers.exact import Float64
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.ops.op import Array

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # 只造模型，不下载；要赶在 transformers 加载之前

FAMILIES = ("gpt2", "llama", "qwen3")
_SHARED: dict[str, Any] = {"norm_eps": st.sampled_from([1e-5, 1e-6]), "tie_head": st.booleans()}


class Link(NamedTuple):
    """我们的一个参数在那边是哪几个。

    Attributes:
        ours: 我们的名字。
        theirs: 那边的名字；几个则沿第 0 维依次拼成我们的。
        rows: 各占几行；只有一个时为空。
        is_turned: 那边存的是转置（GPT-2 的 ``Conv1D``）。
    """

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...] = ()
    is_turned: bool = False


@st.composite
def configs(draw: Any, family: str) -> GPTConfig:
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


def links(config: GPTConfig, family: str) -> list[Link]:
    """每个参数的对应。"""
    found = [Link(f"{ours}.weight", (f"{theirs}.weight",)) for ours, theirs in _top(config, family)]
    if family == "gpt2":
        found.append(Link("ln_f.bias", ("transformer.ln_f.bias",)))
    for i in range(config.n_layer):
        found += _gpt2_layer(i) if family == "gpt2" else _llama_layer(config, i)
    return found


def _top(config: GPTConfig, family: str) -> Iterator[tuple[str, str]]:
    if family == "gpt2":
        yield from (("wte", "transformer.wte"), ("wpe", "transformer.wpe"), ("ln_f", "transformer.ln_f"))
    else:
        yield from (("wte", "model.embed_tokens"), ("ln_f", "model.norm"))
    if not config.tie_head:
        yield "lm_head", "lm_head"


def _gpt2_layer(i: int) -> Iterator[Link]:
    for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
        for kind in ("weight", "bias"):
            name = f"h.{i}.{part}.{kind}"
            yield Link(name, (f"transformer.{name}",), is_turned=kind == "weight" and ".c_" in name)


def _llama_layer(config: GPTConfig, i: int) -> Iterator[Link]:
    there, q, kv = f"model.layers.{i}", config.n_head * config.head_size, config.kv_heads * config.head_size
    yield Link(f"h.{i}.ln_1.weight", (f"{there}.input_layernorm.weight",))
    yield Link(f"h.{i}.ln_2.weight", (f"{there}.post_attention_layernorm.weight",))
    for kind in ("weight", "bias")[: 1 + config.bias]:
        projections = tuple(f"{there}.self_attn.{x}_proj.{kind}" for x in "qkv")
        yield Link(f"h.{i}.attn.c_attn.{kind}", projections, (q, kv, kv))
        yield Link(f"h.{i}.attn.c_proj.{kind}", (f"{there}.self_attn.o_proj.{kind}",))
        for ours, theirs in (("c_gate", "gate"), ("c_fc", "up"), ("c_proj", "down")):
            yield Link(f"h.{i}.mlp.{ours}.{kind}", (f"{there}.mlp.{theirs}_proj.{kind}",))
    for x in "qk"[: 2 * config.qk_norm]:
        yield Link(f"h.{i}.attn.{x}_norm.weight", (f"{there}.self_attn.{x}_norm.weight",))


def from_theirs(state: Mapping[str, Array], config: GPTConfig, family: str) -> dict[str, Array]:
    """那边的权重（或梯度）→ 我们的。"""
    found = {}
    for link in links(config, family):
        whole = np.concatenate([state[name] for name in link.theirs])
        found[link.ours] = np.ascontiguousarray(whole.T) if link.is_turned else whole
    return found


def to_theirs(state: Mapping[str, Array], config: GPTConfig, family: str) -> dict[str, Array]:
    """我们的权重 → 那边的；共用的输出层也写出来。"""
    found: dict[str, Array] = {}
    for link in links(config, family):
        whole = state[link.ours].T if link.is_turned else state[link.ours]
        pieces = np.split(whole, np.cumsum(link.rows)[:-1]) if link.rows else [whole]
        found.update(zip(link.theirs, map(np.ascontiguousarray, pieces), strict=True))
    if config.tie_head:
        found["lm_head.weight"] = state["wte.weight"]
    return found


def their_model(config: GPTConfig, family: str, attention: str = "eager") -> Any:
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
