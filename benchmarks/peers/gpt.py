"""用「数组的写法」写一遍 GPT-2 的损失；各家引擎只差几个函数的名字，写在 ``Dialect`` 里。

流入：名字到参数的字典（名字同 ``common/config.py``）与一批 token；流出：平均交叉熵。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError

GELU = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class Dialect:
    """一家引擎的写法。

    Attributes:
        swap: ``(x, i, j)``，交换两根轴。
        softmax: 沿最后一轴。
        layer_norm: ``(x, 缩放, 偏移, ε)``，沿最后一轴。
        gelu: tanh 近似。
        cross_entropy: ``(logits (N, V), 目标 (N,))``，平均值。
        constant: 把 NumPy 数组变成能与张量相加的常数。
    """

    swap: Callable[[Any, int, int], Any]
    softmax: Callable[[Any], Any]
    layer_norm: Callable[[Any, Any, Any, float], Any]
    gelu: Callable[[Any], Any]
    cross_entropy: Callable[[Any, Any], Any]
    constant: Callable[[NDArray[Any]], Any] = lambda array: array


def check(config: GPTConfig) -> None:
    """这里只写了 GPT-2 的样子。

    Raises:
        UserError: 配置用到了别的位置编码、归一化或激活。
    """
    like_gpt2 = GPTConfig(bias=True)
    names = ("norm", "position", "mlp", "bias", "qk_norm")
    wrong = [name for name in names if getattr(config, name) != getattr(like_gpt2, name)]
    if wrong or config.kv_heads != config.n_head or config.dropout:
        raise UserError("the peers' model is GPT-2 only", where="benchmark", fix="choose --sizes T S M")


def loss(d: Dialect, config: GPTConfig, w: Mapping[str, Any], x: Any, y: Any) -> Any:
    """平均交叉熵。

    Args:
        d: 引擎的写法。
        config: 模型配置。
        w: 名字到参数。
        x: ``(B, T)`` 的输入 token。
        y: ``(B, T)`` 的目标 token。

    Returns:
        标量。
    """
    hidden = d.constant(np.triu(np.full((config.context, config.context), -1e9, np.float32), 1))
    h = w["wte.weight"][x] + w["wpe.weight"]
    for layer in range(config.n_layer):
        p = f"h.{layer}."
        normed = d.layer_norm(h, w[p + "ln_1.weight"], w[p + "ln_1.bias"], config.norm_eps)
        h = h + _attention(d, config, w, p + "attn.", normed, hidden)
        normed = d.layer_norm(h, w[p + "ln_2.weight"], w[p + "ln_2.bias"], config.norm_eps)
        h = h + _linear(d, w, p + "mlp.c_proj", d.gelu(_linear(d, w, p + "mlp.c_fc", normed)))
    h = d.layer_norm(h, w["ln_f.weight"], w["ln_f.bias"], config.norm_eps)
    logits = h @ d.swap(w["wte.weight" if config.tie_head else "lm_head.weight"], 0, 1)
    return d.cross_entropy(logits.reshape(-1, config.vocab_size), y.reshape(-1))


def _attention(d: Dialect, config: GPTConfig, w: Mapping[str, Any], prefix: str, x: Any, hidden: Any) -> Any:
    batch, length, width = x.shape
    qkv = _linear(d, w, prefix + "c_attn", x)
    heads = (batch, length, config.n_head, config.head_size)
    q, k, v = (d.swap(qkv[:, :, i * width : (i + 1) * width].reshape(*heads), 1, 2) for i in range(3))
    weights = d.softmax(q @ d.swap(k, 2, 3) * (1 / math.sqrt(config.head_size)) + hidden)
    return _linear(d, w, prefix + "c_proj", d.swap(weights @ v, 1, 2).reshape(batch, length, width))


def _linear(d: Dialect, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return x @ d.swap(w[name + ".weight"], 0, 1) + w[name + ".bias"]
