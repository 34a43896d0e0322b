"""缩放点积注意力与旋转位置编码。

流入：查询、键、值；流出：加权后的值。能走融合算子就走融合算子。
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.dropouts import dropout
from tinygrad_llm.ops import attention
from tinygrad_llm.ops.attention import rotary as _rotary
from tinygrad_llm.tensor import Tensor


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """旋转位置编码（前半与后半配对）。

    Args:
        x: ``(..., T, D)``。
        cos: ``(T, D/2)`` 或可广播。
        sin: 同 ``cos``。

    Returns:
        与 ``x`` 同形状。

    Raises:
        RuntimeError: 角度表需要梯度；这里把它当作常数。
    """
    if cos.requires_grad or sin.requires_grad:
        raise RuntimeError("rotary: cos and sin are constants here; detach() them")
    return apply(_rotary, (x, cos, sin), {})  # type: ignore[no-any-return]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """缩放点积注意力；没有掩码与 dropout 时走融合算子。

    Args:
        query: ``(..., H, T, D)``。
        key: ``(..., Hkv, S, D)``。
        value: ``(..., Hkv, S, V)``。
        attn_mask: 布尔（``True`` 为可见）或要加到分数上的浮点，可广播成 ``(..., H, T, S)``。
        dropout_p: 注意力权重的 dropout 概率。
        is_causal: 遮住未来（左上角对齐）；不能与 ``attn_mask`` 同用。
        scale: 缺省 ``1/√D``。
        enable_gqa: 允许 K、V 的头数是 Q 的约数。

    Returns:
        ``(..., H, T, V)``。

    Raises:
        RuntimeError: 头数不合，或掩码与 ``is_causal`` 同用。
    """
    heads, kv_heads = _head_counts(query, key)
    if heads != kv_heads and not (enable_gqa and heads % kv_heads == 0):
        raise RuntimeError(
            f"scaled_dot_product_attention: query has {heads} heads, key/value have {kv_heads}; "
            "pass enable_gqa=True and make the first a multiple of the second"
        )
    if attn_mask is not None and is_causal:
        raise RuntimeError("scaled_dot_product_attention: explicit attn_mask should not be set when is_causal=True")
    factor = 1 / math.sqrt(query.array.shape[-1]) if scale is None else scale
    aligned = query.array.shape[:-3] == key.array.shape[:-3] and key.array.shape[:-1] == value.array.shape[:-1]
    if attn_mask is None and dropout_p == 0 and query.ndim >= 3 and aligned and query.array.size and key.array.size:
        return apply(attention.attention, (query, key, value), {"is_causal": is_causal, "scale": factor})  # type: ignore[no-any-return]
    if heads != kv_heads:
        key, value = (x.repeat_interleave(heads // kv_heads, dim=-3) for x in (key, value))
    scores = (query @ key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = Tensor.wrap(np.tril(np.ones(scores.array.shape[-2:], bool)))
    if attn_mask is not None:
        visible = attn_mask.dtype is dtypes.bool
        scores = scores.masked_fill(attn_mask.logical_not(), float("-inf")) if visible else scores + attn_mask
    weights = scores.softmax(-1)
    if attn_mask is not None:  # 什么也看不见的行：softmax 是 0/0，与 torch 一样取 0
        weights = weights.masked_fill(Tensor.wrap(np.isneginf(scores.array).all(-1, keepdims=True)), 0.0)
    return dropout(weights, dropout_p, dropout_p > 0) @ value  # type: ignore[no-any-return]


def _head_counts(query: Tensor, key: Tensor) -> tuple[int, int]:
    if query.ndim < 3:
        return 1, 1
    return query.array.shape[-3], key.array.shape[-3]
