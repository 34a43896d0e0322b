"""NumPy 引擎的生成：KV 缓存在内存里就地增长，每步只算一个新位置。

开头的一串 token 走模型自己的前向；此后一次一个，走 ``next_logits``：同样的算式写在数组上，省去每个算子的记账——
一个 token 只有几十次矩阵乘向量，记账要占去一成多的时间。

流入：训练好的模型与开头的 token；流出：文字。选 token 的规则在 ``common/decoding/``，两个引擎共用。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common.decoding.single import print_generation
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.train_config import GenerateConfig
from tinygrad_llm.gpt import GPT, KVCache, LayerCache, rope_table
from tinygrad_llm.ops import cores
from tinygrad_llm.ops.gelu import gelu, gelu_tanh, silu
from tinygrad_llm.ops.norm import rms_norm
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.rotary import rotary


class NumpyDecoder:
    """把模型包成「喂进 token、得到下一个的 logits」。

    Args:
        model: 模型。
        threads: BLAS 用几个线程；缺省不动它。逐个生成时，每步都要把全部权重读一遍，快慢取决于内存，用满各核才够。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, model: GPT, threads: int | None = None) -> None:
        self.model, self.context, self.threads = model, model.config.context, threads or cores.threads()
        self.reset()

    def reset(self) -> None:
        """换一个空缓存。"""
        self.cache = KVCache(self.model, 1, self.context)

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""
        self.model.eval()
        with tg.no_grad(), cores.blas_threads(self.threads):
            if len(ids) == 1 and self.cache.length < self.context:
                return next_logits(self.model, self.cache, int(ids[0]))
            return self.model(tg.from_numpy(ids[None]), self.cache).array[0, -1]  # type: ignore[no-any-return]


def next_logits(model: GPT, cache: KVCache, token: int) -> NDArray[Any]:
    """再喂一个 token，返回它之后的 logits ``(V,)``；与 ``model`` 的前向同义。

    Args:
        model: 模型，处于 ``eval`` 状态。
        cache: 它的 KV 缓存，批大小为 1，还没有满；就地写入。
        token: 下标。

    Returns:
        logits。
    """
    config, position = model.config, cache.length
    if token == config.document_start:
        cache.begins.array[:] = position
    begin = int(cache.begins.array[0])
    x, rope = model.wte.weight.array[token], None
    if config.position == "learned":
        x = x + model.wpe.weight.array[position - begin]
    else:
        rope = [t.array for t in rope_table(config, position, position + 1, model.wte.weight)]
    for block, layer in zip(model.h, cache.layers, strict=True):
        x = x + _attend(block.attn, layer, _norm(block.ln_1, x), rope, begin)
        x = x + _feed_forward(block.mlp, _norm(block.ln_2, x))
    cache.length += 1
    return model.head_weight().array.dot(_norm(model.ln_f, x))  # type: ignore[no-any-return]


def _linear(layer: Any, x: Array) -> Array:
    y: Array = layer.weight.array.dot(x)
    if layer.bias is not None:
        y += layer.bias.array
    return y


def _norm(norm: Any, x: Array) -> Array:
    width = x.dtype.type(len(x))
    if hasattr(norm, "bias"):
        x = x - np.add.reduce(x) / width
    y: Array = x * (1 / np.sqrt(x.dot(x) / width + x.dtype.type(norm.eps)))
    y *= norm.weight.array
    if getattr(norm, "bias", None) is not None:
        y += norm.bias.array
    return y


def _attend(attn: Any, layer: LayerCache, x: Array, rope: list[Array] | None, begin: int) -> Array:
    """一个位置的注意力：新的 k、v 写进缓存，q 与缓存里从 ``begin`` 起的每个位置相比。"""
    heads, width = attn.n_head, attn.head_dim
    qkv = _linear(attn.c_attn, x).reshape(-1, 1, width)
    q, k, v = qkv[:heads], qkv[heads : heads + attn.n_kv_head], qkv[heads + attn.n_kv_head :]
    if attn.qk_norm:
        q, k = (rms_norm(a, norm.weight.array, eps=norm.eps) for a, norm in ((q, attn.q_norm), (k, attn.k_norm)))
    if rope is not None:
        q, k = rotary(q, *rope), rotary(k, *rope)
    stop = layer.length + 1
    first = begin if attn.window is None else max(begin, stop - attn.window)
    keys, values = layer.k.array[0, :, first:stop], layer.v.array[0, :, first:stop]
    keys[:, -1:], values[:, -1:], layer.length = k, v, stop
    rows = q.reshape(len(keys), -1, width) * q.dtype.type(1 / math.sqrt(width))  # 共用 K/V 头的查询并在一起（GQA）
    scores = rows @ keys.swapaxes(1, 2)
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    return _linear(attn.c_proj, (scores @ values).reshape(-1))


def _feed_forward(mlp: Any, x: Array) -> Array:
    if mlp.kind == "swiglu":
        return _linear(mlp.c_proj, silu(_linear(mlp.c_gate, x)) * _linear(mlp.c_fc, x))
    activation = gelu_tanh if mlp.kind == "gelu_tanh" else gelu
    return _linear(mlp.c_proj, activation(_linear(mlp.c_fc, x)))


def main(config: GenerateConfig) -> None:
    """``python -m tinygrad_llm generate``：从训练好的运行生成一段文字。"""
    from tinygrad_llm.train import build_model

    model_config, tokenizer, checkpoint = load_trained(config.folder)
    print_generation(config, tokenizer, NumpyDecoder(build_model(model_config, checkpoint.model)))
