"""HF 的 ``config.json`` 与我们的 ``GPTConfig`` 互译：GPT-2、Llama（SmolLM2 也是）、Qwen3。

流入：解析过的 JSON；流出：``GPTConfig`` 与家族，或反过来。每个键先核对类型；我们的模型没有的结构（旋转角的缩放、
滑动窗口、专家混合、只有一部分线性层有偏置……）一律拒绝：忽略一个键，模型就会悄悄算错。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinygrad_llm.common.config import MLP, GPTConfig
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.weights.names import FAMILIES, Family

__all__ = ["checked_layers", "config_from_hf", "config_to_hf", "family_of"]

_GELU: dict[str, MLP] = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
_CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_MUST_BE: dict[str, tuple[Any, ...]] = {
    "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,), "add_cross_attention": (False,),
    "use_sliding_window": (False,), "partial_rotary_factor": (1, 1.0), "quantization_config": (None,),
    "num_experts": (None, 0), "num_local_experts": (None, 0), "is_encoder_decoder": (False,),
}  # fmt: skip
"""这些键若在，必须是这些值。"""


class _Keys:
    """``config.json`` 的键，逐个核对。"""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.data, self.where = data, where

    def refuse(self, problem: str) -> CheckpointError:
        """一个指明文件的错误。"""
        return CheckpointError(f"config.json {problem}", where=self.where, fix="use a GPT-2, Llama or Qwen3 model")

    def whole(self, name: str, default: int | None = None) -> int:
        """一个正整数；缺了又没有缺省值就是错。"""
        value = self.data.get(name)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value < 1 << 31:
            raise self.refuse(f"gives {name} as {str(value)[:40]!r}, not a positive integer")
        return value

    def real(self, name: str, default: float) -> float:
        """一个有限的正数。"""
        return self.positive(name, self.data.get(name, default))

    def positive(self, name: str, value: object) -> float:
        """核对一个值。"""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.refuse(f"gives {name} as {str(value)[:40]!r}, not a positive number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """真或假。"""
        value = self.data.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(f"gives {name} as {str(value)[:40]!r}, not true or false")
        return value


def config_from_hf(data: Mapping[str, Any], where: str) -> tuple[GPTConfig, Family]:
    """``config.json`` → 模型配置与家族。

    Args:
        data: 解析过的 JSON 对象。
        where: 文件，用于报错。

    Raises:
        CheckpointError: 不是这三家，缺了键，值不合法，或有我们的模型没有的结构。
    """
    keys = _Keys(data, where)
    family = next((name for name in FAMILIES if name == data.get("model_type")), None)
    if family is None:
        shown = str(data.get("model_type"))[:40]
        raise keys.refuse(f"names the architecture {shown!r}; known are {', '.join(FAMILIES)}")
    for name, allowed in _MUST_BE.items():
        if name in data and not any(type(data[name]) is type(one) and data[name] == one for one in allowed):
            raise keys.refuse(f"sets {name} to {str(data[name])[:40]!r}, which is not supported")
    layers = data.get("layer_types")
    if isinstance(layers, list) and any(kind != "full_attention" for kind in layers):
        raise keys.refuse("has layers without full attention, which is not supported")
    try:
        return (_gpt2(keys) if family == "gpt2" else _llama(keys, family)), family
    except CheckpointError:
        raise
    except UserError as error:  # GPTConfig 自己查出的矛盾
        raise keys.refuse(f"contradicts itself: {error.problem[:200]}") from error


def _gpt2(keys: _Keys) -> GPTConfig:
    activation = keys.data.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in _GELU:
        raise keys.refuse(f"names the activation {str(activation)[:40]!r}; known are {', '.join(_GELU)}")
    width = keys.whole("n_embd", 768)
    hidden = keys.whole("n_inner", 4 * width)
    return GPTConfig(
        vocab_size=keys.whole("vocab_size", 50257),
        context=keys.whole("n_positions", keys.data.get("n_ctx", 1024)),
        n_layer=keys.whole("n_layer", 12),
        n_head=keys.whole("n_head", 12),
        n_embd=width,
        hidden=None if hidden == 4 * width else hidden,
        norm_eps=keys.real("layer_norm_epsilon", 1e-5),
        mlp=_GELU[activation],
        tie_head=keys.flag("tie_word_embeddings", True),
    )


def _llama(keys: _Keys, family: Family) -> GPTConfig:
    if keys.data.get("hidden_act", "silu") != "silu":
        raise keys.refuse(f"names the activation {str(keys.data['hidden_act'])[:40]!r}; known is silu")
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    size = keys.whole("head_dim", max(width // heads, 1) if family == "llama" else 128)
    hidden = keys.whole("intermediate_size")
    bias = keys.flag("attention_bias", False)
    if bias != keys.flag("mlp_bias", False):
        raise keys.refuse("gives biases to only some of the linear layers, which is not supported")
    return GPTConfig(
        vocab_size=keys.whole("vocab_size"),
        context=keys.whole("max_position_embeddings"),
        n_layer=keys.whole("num_hidden_layers"),
        n_head=heads,
        n_kv_head=keys.whole("num_key_value_heads", heads),
        n_embd=width,
        head_dim=None if size * heads == width else size,
        hidden=None if hidden == 4 * width else hidden,
        norm="rmsnorm",
        norm_eps=keys.real("rms_norm_eps", 1e-6),
        position="rope",
        rope_theta=_rope_theta(keys),
        mlp="swiglu",
        bias=bias,
        qk_norm=family == "qwen3",
        tie_head=keys.flag("tie_word_embeddings", False),
    )


def _rope_theta(keys: _Keys) -> float:
    """旋转的底数：旧的写法直接给，新的写法在 ``rope_parameters`` 里；缩放过的一律拒绝。"""
    theta = keys.data.get("rope_theta", 10000.0)
    for name in ("rope_scaling", "rope_parameters"):
        table = keys.data.get(name)
        if table is None:
            continue
        kind = table.get("rope_type", table.get("type", "default")) if isinstance(table, dict) else table
        if kind != "default" or table.get("partial_rotary_factor", 1.0) != 1.0:
            raise keys.refuse(f"scales its rotary positions ({str(kind)[:40]!r}), which is not supported")
        theta = table.get("rope_theta", theta)
    return keys.positive("rope_theta", theta)


# ---- 写 ----


def family_of(config: GPTConfig) -> Family:
    """哪一家的结构装得下这个模型。

    Raises:
        UserError: 哪一家都装不下；说明是哪一处。
    """
    llama = {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu"}
    gpt2 = {"norm": "layernorm", "position": "learned", "qk_norm": False}
    if config.window is not None:
        problem = "its sliding window"
    elif all(getattr(config, name) == value for name, value in llama.items()):
        if not config.qk_norm:
            return "llama"
        if not config.bias:
            return "qwen3"
        problem = "biases beside qk_norm"
    elif all(getattr(config, name) == value for name, value in gpt2.items()) and config.mlp != "swiglu":
        if config.kv_heads == config.n_head and config.head_size * config.n_head == config.n_embd:
            return "gpt2"
        problem = "grouped heads or a head size of its own beside learned positions"
    else:
        problem = f"the combination of {config.norm}, {config.position} positions and {config.mlp}"
    raise UserError(f"GPT-2, Llama and Qwen3 have no place for {problem}", where="model configuration")


def config_to_hf(config: GPTConfig, family: Family, dtype: str, tokens: Mapping[str, int | None]) -> dict[str, Any]:
    """模型配置 → ``config.json`` 的内容。

    Args:
        config: 模型配置。
        family: 家族，见 ``family_of``。
        dtype: 权重的类型，如 ``float32``。
        tokens: ``bos_token_id``、``eos_token_id``、``pad_token_id``。
    """
    shared: dict[str, Any] = {
        "architectures": [_CLASSES[family]], "model_type": family, "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_head, "torch_dtype": dtype, **tokens,
    }  # fmt: skip
    if family == "gpt2":
        activation = "gelu_new" if config.mlp == "gelu_tanh" else "gelu"
        return shared | {
            "n_positions": config.context, "n_ctx": config.context, "n_embd": config.n_embd,
            "n_layer": config.n_layer, "n_head": config.n_head, "n_inner": config.hidden_size,
            "activation_function": activation, "layer_norm_epsilon": config.norm_eps,
            "resid_pdrop": config.dropout, "embd_pdrop": config.dropout, "attn_pdrop": config.dropout,
        }  # fmt: skip
    more = {"mlp_bias": config.bias} if family == "llama" else {"use_sliding_window": False}
    return shared | more | {
        "max_position_embeddings": config.context, "hidden_size": config.n_embd,
        "num_hidden_layers": config.n_layer, "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads, "head_dim": config.head_size,
        "intermediate_size": config.hidden_size, "hidden_act": "silu", "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta, "rope_scaling": None, "attention_bias": config.bias,
        "attention_dropout": config.dropout,
    }  # fmt: skip


def checked_layers(config: GPTConfig, tensors: Mapping[str, object], where: str) -> None:
    """声明的层数不超过张量数：列出每层的名字之前先核对，免得一个假的数耗尽内存。

    Raises:
        CheckpointError: 层数比张量还多。
    """
    if config.n_layer > len(tensors):
        raise CheckpointError(
            f"the configuration names {config.n_layer} layers, but there are {len(tensors)} tensors",
            where=where,
            fix="use another copy of the model",
        )
