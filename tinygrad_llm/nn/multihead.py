"""多头注意力的函数形式：投影、分头、遮住、加权、合并。

流入：查询 ``(T, N, E)``、键与值 ``(S, N, …)`` 与各投影的权重；流出：``(T, N, E)`` 与注意力权重。
没有批次轴时是 ``(T, E)``。层在 ``multihead_layers.py``。
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.joining import cat
from tinygrad_llm.nn.attention import scaled_dot_product_attention
from tinygrad_llm.nn.basics import linear
from tinygrad_llm.nn.dropouts import dropout
from tinygrad_llm.nn.padding import pad
from tinygrad_llm.tensor import Tensor


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """多头注意力。

    Args:
        query: ``(T, N, E)``；没有批次轴时 ``(T, E)``，下同。
        key: ``(S, N, Ek)``。
        value: ``(S, N, Ev)``。
        embed_dim_to_check: 宽度 E。
        num_heads: 头数 H。
        in_proj_weight: ``(3E, E)``，三个投影叠在一起。
        in_proj_bias: ``(3E,)``。
        bias_k: ``(1, 1, E)``，接在键后面的一个位置。
        bias_v: ``(1, 1, E)``，接在值后面的一个位置。
        add_zero_attn: 键与值后面再接一个全 0 的位置。
        dropout_p: 注意力权重的 dropout 概率。
        out_proj_weight: ``(E, E)``。
        out_proj_bias: ``(E,)``。
        training: 是否执行 dropout。
        key_padding_mask: ``(N, S)``，布尔（``True`` 为遮住）或要加到分数上的浮点。
        need_weights: 是否返回注意力权重。
        attn_mask: ``(T, S)`` 或 ``(N·H, T, S)``，布尔（``True`` 为遮住）或要加到分数上的浮点。
        use_separate_proj_weight: 三个投影各用各的权重。
        q_proj_weight: ``(E, E)``。
        k_proj_weight: ``(E, Ek)``。
        v_proj_weight: ``(E, Ev)``。
        static_k: ``(N·H, S, D)``，代替投影后的键。
        static_v: ``(N·H, S, D)``，代替投影后的值。
        average_attn_weights: 权重对各头取平均。
        is_causal: 声明 ``attn_mask`` 就是因果掩码，可以走更快的路。

    Returns:
        ``(T, N, E)`` 与 ``(N, T, S)``（不平均时 ``(N, H, T, S)``）；不要权重时后者为 ``None``。

    Raises:
        AssertionError: 形状或掩码的类型不合。
        RuntimeError: 掩码的形状不合，或声明了 ``is_causal`` 却没有给 ``attn_mask``。
    """
    batched = _is_batched(query, key, value, key_padding_mask, attn_mask, num_heads)
    packed = query is key and key is value and not use_separate_proj_weight
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    _check_widths(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    if is_causal and attn_mask is None:
        raise RuntimeError("multi_head_attention_forward: is_causal is a hint about attn_mask, which must be given too")
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected((query, key, value), in_proj_weight, weights, in_proj_bias, packed)
    if (bias_k is None) != (bias_v is None) or (bias_k is not None and (static_k is not None or static_v is not None)):
        raise AssertionError("bias_k and bias_v go together, and cannot be added to static keys or values")
    mask = _merged_mask(attn_mask, key_padding_mask, query, key, num_heads)
    k, v = (
        _keys(x, bias, static, num_heads, add_zero_attn)
        for x, bias, static in ((k, bias_k, static_k), (v, bias_v, static_v))
    )
    if mask is not None and k.array.shape[1] != mask.array.shape[-1]:
        mask = pad(mask, (0, k.array.shape[1] - mask.array.shape[-1]))  # 接上的位置谁都看得见
    shortcut = is_causal and key_padding_mask is None and not need_weights
    attend = _attend_and_show if need_weights else _attend
    p = dropout_p if training else 0.0
    y, shares = attend(_heads(q, num_heads), k, v, None if shortcut else mask, p, shortcut, num_heads)
    y = linear(y, out_proj_weight, out_proj_bias)
    if shares is not None and average_attn_weights:
        shares = shares.mean(1)
    if not batched:
        y, shares = y.squeeze(1), None if shares is None else shares.squeeze(0)
    return y, shares


def _is_batched(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, num_heads: int
) -> bool:
    rank = query.array.ndim
    if rank not in (2, 3) or key.array.ndim != rank or value.array.ndim != rank:
        shapes = [x.array.shape for x in (query, key, value)]
        raise AssertionError(f"query, key and value should all be 2-D (unbatched) or 3-D, got {shapes}")
    if padding is not None and padding.array.ndim != rank - 1:
        raise AssertionError(f"key_padding_mask should be {rank - 1}-D, got {padding.array.shape}")
    if mask is not None and mask.array.ndim not in (2, 3):
        raise AssertionError(f"attn_mask should be 2-D or 3-D, got {mask.array.shape}")
    expected = (num_heads, query.array.shape[0], key.array.shape[0])
    if rank == 2 and mask is not None and mask.array.ndim == 3 and mask.array.shape != expected:
        raise AssertionError(f"attn_mask should have shape {expected}, got {mask.array.shape}")
    return rank == 3


def _check_widths(query: Tensor, key: Tensor, value: Tensor, width: int, num_heads: int, separate: bool) -> None:
    q, k, v = (x.array.shape for x in (query, key, value))
    if q[2] != width or width % num_heads:
        raise AssertionError(f"embedding dimension {q[2]} must be {width}, divisible by {num_heads} heads")
    if k[:2] != v[:2] or (not separate and k != v):
        raise AssertionError(f"key shape {k} does not match value shape {v}")


def _projected(
    inputs: tuple[Tensor, Tensor, Tensor], stacked: Tensor | None, weights: Any, bias: Tensor | None, packed: bool
) -> tuple[Tensor, ...]:
    """三个投影；自注意力时三者的输入是同一个，一次矩阵乘法算完。"""
    if weights is None and stacked is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if packed:
        return linear(inputs[0], stacked, bias).chunk(3, -1)  # type: ignore[arg-type]  # 上面判过非空
    if weights is None:
        weights = stacked.chunk(3)  # type: ignore[union-attr]  # 同上
    if any(weight is None for weight in weights):
        raise AssertionError("use_separate_proj_weight is True but one of the three weights is None")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """``(T, N, E) → (N·H, T, D)``。"""
    length, batch, width = x.array.shape
    return x.reshape(length, batch * num_heads, width // num_heads).transpose(0, 1)  # type: ignore[no-any-return]


def _keys(x: Tensor, bias: Tensor | None, static: Tensor | None, num_heads: int, add_zero: bool) -> Tensor:
    """键或值分头，并接上附加的位置。"""
    _, batch, width = x.array.shape
    if bias is not None:
        x = cat([x, bias.repeat(1, batch, 1)])
    if static is not None and (static.array.shape[0], static.array.shape[2]) != (batch * num_heads, width // num_heads):
        raise AssertionError(
            f"static keys or values {static.array.shape} do not fit {batch * num_heads} heads of {x.array.shape}"
        )
    x = _heads(x, num_heads) if static is None else static
    return pad(x, (0, 0, 0, 1)) if add_zero else x


def _merged_mask(
    mask: Tensor | None, padding: Tensor | None, query: Tensor, key: Tensor, num_heads: int
) -> Tensor | None:
    """两种掩码合成一个，``(1 或 N·H, T 或 1, S)``。"""
    target, batch, source = *query.array.shape[:2], key.array.shape[0]
    padding = canonical_mask(padding, "key_padding_mask", query.dtype, mask)
    mask = canonical_mask(mask, "attn_mask", query.dtype)
    if mask is not None:
        expected = (target, source) if mask.array.ndim == 2 else (batch * num_heads, target, source)
        if mask.array.shape != expected:
            raise RuntimeError(f"The shape of the attn_mask is {mask.array.shape}, but should be {expected}.")
        mask = mask.unsqueeze(0) if mask.array.ndim == 2 else mask
    if padding is None:
        return mask
    if padding.array.shape != (batch, source):
        raise AssertionError(f"Expected key_padding_mask of shape {(batch, source)}, got {padding.array.shape}")
    padding = padding.reshape(batch, 1, 1, source).expand(-1, num_heads, -1, -1).reshape(batch * num_heads, 1, source)
    return padding if mask is None else mask + padding


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool, num_heads: int
) -> tuple[Tensor, None]:
    """``(N·H, T, D) → (T, N, E)``，走融合的注意力。"""
    if mask is not None:
        split = (1, 1) if len(mask) == 1 else (len(mask) // num_heads, num_heads)
        mask = mask.reshape(*split, *mask.array.shape[1:])
    q, k, v = (x.reshape(len(x) // num_heads, num_heads, *x.array.shape[1:]) for x in (q, k, v))
    found = scaled_dot_product_attention(q, k, v, mask, p, causal)
    batch, _, length, width = found.array.shape
    return found.permute(2, 0, 1, 3).reshape(length, batch, num_heads * width), None


def _attend_and_show(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool, num_heads: int
) -> tuple[Tensor, Tensor]:
    """同 ``_attend``，并给出注意力权重 ``(N, H, T, S)``。"""
    length, width = q.array.shape[1:]
    scores = (q * math.sqrt(1 / width)) @ k.transpose(-2, -1)
    shares = dropout((scores if mask is None else mask + scores).softmax(-1), p, p > 0)
    y = (shares @ v).transpose(0, 1).reshape(length, len(q) // num_heads, num_heads * width)
    return y, shares.reshape(len(q) // num_heads, num_heads, *shares.array.shape[1:])


def canonical_mask(mask: Tensor | None, name: str, dtype: Any, other: Tensor | None = None) -> Tensor | None:
    """布尔掩码换成要加到分数上的浮点：``True`` 处为 -inf。

    Raises:
        AssertionError: 既不是布尔也不是浮点。
    """
    if mask is None:
        return None
    if mask.array.dtype.kind not in "bf":
        raise AssertionError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
    if other is not None and other.dtype is not mask.dtype:
        warnings.warn(
            f"Support for mismatched {name} and attn_mask is deprecated. Use same type for both.", stacklevel=3
        )
    if mask.array.dtype.kind == "f":
        return mask
    return Tensor.wrap(np.where(mask.array, -np.inf, 0).astype(dtypes.as_numpy(dtype)))
