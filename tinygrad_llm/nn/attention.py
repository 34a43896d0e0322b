"""缩放点积注意力与旋转位置编码。

流入：查询、键、值；流出：加权后的值。能走融合算子就走融合算子。
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.attention_backends import SDPBackend, saves_memory, sdpa_kernel
from tinygrad_llm.nn.dropouts import dropout
from tinygrad_llm.ops import attention
from tinygrad_llm.ops.ordering import like_operands
from tinygrad_llm.ops.rotary import rotary as _rotary
from tinygrad_llm.tensor import Tensor

__getattr__ = attributes(__name__)

__all__ = ["SDPBackend", "rotary", "scaled_dot_product_attention", "sdpa_kernel", "sliding_attention"]


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


def sliding_attention(query: Tensor, key: Tensor, value: Tensor, window: int, dropout_p: float = 0.0) -> Tensor:
    """滑动窗口的因果注意力：每个位置只看最近 ``window`` 个位置，含自己。

    Args:
        query: ``(..., H, T, D)``。
        key: ``(..., Hkv, T, D)``；头数是 H 的约数。
        value: ``(..., Hkv, T, D)``。
        window: 看得见几个位置。
        dropout_p: 注意力权重的 dropout 概率。

    Returns:
        ``(..., H, T, D)``。
    """
    length = query.array.shape[-2]
    if dropout_p > 0:
        band = Tensor.wrap(np.tri(length, dtype=bool) & ~np.tri(length, k=-window, dtype=bool))
        return scaled_dot_product_attention(query, key, value, band, dropout_p, enable_gqa=True)
    scale, recompute = 1 / math.sqrt(query.array.shape[-1]), saves_memory(length)
    attrs = {"is_causal": True, "scale": scale, "window": window, "recompute": recompute}
    y: Tensor = apply(attention.attention, (query, key, value), attrs)
    y.array = like_operands(y.array, query.array)
    return y


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """缩放点积注意力；没有掩码与 dropout 时走融合算子。

    反向要用的权重平时留着，快一到两成；很长（4096 起），或在 ``sdpa_kernel(SDPBackend.FLASH_ATTENTION)`` 之内，
    则不留、反向重算，内存随长度线性增长。

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
        RuntimeError: 维数、dtype 或头数不合，掩码与 ``is_causal`` 同用，或 ``dropout_p`` 大于 1。
    """
    _check(query, key, value, attn_mask, dropout_p, is_causal)
    y = _attended(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if _is_flash(query, value, dropout_p):
        y.array = like_operands(y.array, query.array)
    elif not y.array.flags.c_contiguous:
        y.array = np.ascontiguousarray(y.array)
    return y


def _is_flash(query: Tensor, value: Tensor, dropout_p: float) -> bool:
    """torch 会不会走它的快速核：那里输出的内存次序随查询，于是 ``y.transpose(1, 2).view(...)`` 不必先复制。"""
    q = query.array
    return q.ndim == 4 and dropout_p <= 0 and q.shape[-1] == value.array.shape[-1] and q.strides[-1] == q.itemsize


def _attended(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool,
    scale: float | None, enable_gqa: bool,
) -> Tensor:  # fmt: skip
    factor = 1 / math.sqrt(max(query.array.shape[-1], 1)) if scale is None else scale
    shapes = (query.array.shape, key.array.shape, value.array.shape)
    if attn_mask is None and dropout_p <= 0 and _fits_fused(*shapes, enable_gqa):
        attrs = {"is_causal": is_causal, "scale": factor, "recompute": saves_memory(query.array.shape[-2])}
        return apply(attention.attention, (query, key, value), attrs)  # type: ignore[no-any-return]
    if enable_gqa:
        key, value = (_repeated(x, query.array.shape) for x in (key, value))
    scores = (query @ key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = Tensor.wrap(np.tril(np.ones(scores.array.shape[-2:], bool)))
    weights = scores.softmax(-1) if attn_mask is None else _masked_weights(scores, attn_mask)
    return dropout(weights, max(dropout_p, 0.0)) @ value  # type: ignore[no-any-return]


def _check(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool
) -> None:
    name, given = "scaled_dot_product_attention", (query, key, value)
    if min(t.ndim for t in given) < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions, got {[tuple(t.array.shape) for t in given]}")
    if len({t.dtype for t in given}) > 1 or query.array.dtype.kind != "f":
        raise RuntimeError(f"{name}: expected one floating point dtype, got {[t.dtype for t in given]}")
    if attn_mask is not None and is_causal:
        raise RuntimeError(f"{name}: explicit attn_mask should not be set when is_causal=True")
    if attn_mask is not None and attn_mask.dtype not in (dtypes.bool, dtypes.float32, query.dtype):
        raise RuntimeError(f"{name}: attn_mask must be bool, float32 or {query.dtype}, got {attn_mask.dtype}")
    if dropout_p > 1:
        raise RuntimeError(f"{name}: dropout probability has to be between 0 and 1, but got {dropout_p}")


def _fits_fused(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], enable_gqa: bool) -> bool:
    """融合算子不广播批轴，也不认空的轴；K、V 的头数须与 Q 相等，或（GQA）是它的约数。"""
    if len(q) < 3 or q[:-3] != k[:-3] or k[:-1] != v[:-1] or q[-1] != k[-1] or 0 in (*q, *k, *v):
        return False
    return q[-3] % k[-3] == 0 if enable_gqa else q[-3] == k[-3]


def _repeated(x: Tensor, query: tuple[int, ...]) -> Tensor:
    """K 或 V 的每个头重复给一组查询头。"""
    if x.ndim < 3 or query[-3] % x.array.shape[-3]:
        raise RuntimeError(f"enable_gqa: heads of key/value {x.array.shape} must divide those of query {query}")
    return x.repeat_interleave(query[-3] // x.array.shape[-3], dim=-3)  # type: ignore[no-any-return]


def _masked_weights(scores: Tensor, mask: Tensor) -> Tensor:
    """遮住之后的注意力权重；什么也看不见的行，softmax 是 0/0，与 torch 一样取 0。"""
    if mask.dtype is dtypes.bool:
        shown: Tensor = scores.masked_fill(mask.logical_not(), float("-inf"))
    else:
        shown = scores + mask.to(scores.dtype)
    if shown.array.shape != scores.array.shape:
        raise RuntimeError(f"attn_mask {mask.array.shape} does not broadcast to the scores {scores.array.shape}")
    blind = np.asarray(np.isneginf(shown.array).all(-1, keepdims=True))
    return shown.softmax(-1).masked_fill(Tensor.wrap(blind), 0.0)  # type: ignore[no-any-return]
