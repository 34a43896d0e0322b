"""注意力与旋转位置编码。

流入与流出都是数组（或 Tensor），形状 ``(B, H, T, D)``。下一站：``loss.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.activation import softmax
from tinygrad_llm.ops.blocks import row_blocks
from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import reshape


def _attention_vjp(
    g: Any, q: Any, k: Any, v: Any, y: Any, p: Any, scale: float, needs: tuple[bool, bool, bool]
) -> tuple[Any, Any, Any]:
    """``P = softmax(s · QKᵀ)``，``Y = PV``。

    ``∂L/∂V = Pᵀ G``；``∂L/∂P = G Vᵀ``；softmax 的反向给出 ``∂L/∂S = P ⊙ (∂L/∂P - D)``，
    其中 ``D = rowsum(P ⊙ ∂L/∂P) = rowsum(G ⊙ Y)``；最后 ``∂L/∂Q = s · ∂L/∂S K``，``∂L/∂K = s · ∂L/∂Sᵀ Q``。
    """
    qs, gs, ys = (_heads(_grouped(x, k)) for x in (q, g, y))
    ks, vs, ps = _heads(k), _heads(v), _heads(p)
    dq, dk, dv = (np.empty(x.shape, x.dtype) for x in (qs, ks, vs))
    for heads in row_blocks(len(ps), ps[0].size if len(ps) else 1):
        grad, weights = gs[heads], ps[heads]
        np.matmul(weights.mT, grad, out=dv[heads])
        ds = np.matmul(grad, np.ascontiguousarray(vs[heads].mT))
        ds -= np.vecdot(grad, ys[heads])[..., None]
        ds *= weights
        ds *= scale
        np.matmul(ds, ks[heads], out=dq[heads])
        np.matmul(ds.mT, qs[heads], out=dk[heads])
    grads = (dq.reshape(q.shape), dk.reshape(k.shape), dv.reshape(v.shape))
    return tuple(found if need else None for found, need in zip(grads, needs, strict=True))  # type: ignore[return-value]


def _heads(x: Array) -> Array:
    """批与头并成一根轴：``(B, H, T, D) → (B·H, T, D)``，内存连续。"""
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-2:])


def _grouped(x: Array, k: Array) -> Array:
    """GQA：共用同一个 K/V 头的几个查询头沿时间轴接起来，``(B, H, T, D) → (B, Hkv, H/Hkv·T, D)``。"""
    return x.reshape(*k.shape[:-2], -1, x.shape[-1])


def _hidden_future(t_query: int, t_key: int) -> Array:
    """``True`` 处是看不见的未来（左上角对齐，与 torch 的 ``is_causal`` 相同）。"""
    return np.triu(np.ones((t_query, t_key), bool), 1)


def _attention_composed(q: Any, k: Any, v: Any, *, is_causal: bool, scale: float) -> Any:
    group = q.shape[-3] // k.shape[-3]
    rows = reshape(q, shape=(*k.shape[:-2], group * q.shape[-2], q.shape[-1]))
    scores = reshape(rows @ k.mT, shape=(*k.shape[:-2], group, q.shape[-2], k.shape[-2])) * scale
    if is_causal:
        scores = where(_hidden_future(q.shape[-2], k.shape[-2]), float("-inf"), scores)
    p = softmax(scores, dim=len(scores.shape) - 1)
    p = reshape(p, shape=(*k.shape[:-2], group * q.shape[-2], k.shape[-2]))
    return reshape(p @ v, shape=(*q.shape[:-1], v.shape[-1]))


@op(
    "y = softmax(s · q kᵀ + 因果掩码) v",
    keeps="p",
    joint=_attention_vjp,
    wrt="q k v",
    composed=_attention_composed,
)
def attention(q: Array, k: Array, v: Array, *, is_causal: bool, scale: float) -> Any:
    """缩放点积注意力；K、V 的头数可以是 Q 的约数（GQA）。

    Args:
        q: ``(B, H, T, D)``。
        k: ``(B, Hkv, S, D)``。
        v: ``(B, Hkv, S, V)``。
        is_causal: 是否遮住未来（左上角对齐）。
        scale: 乘在分数上的因子，通常为 ``1/√D``。

    Returns:
        ``y`` ``(B, H, T, V)`` 与注意力权重 ``p`` ``(B, Hkv, H/Hkv·T, S)``。
    """
    qs, ks, vs = _heads(_grouped(q * scale, k)), _heads(k), _heads(v)
    p = np.empty((*qs.shape[:-1], ks.shape[-2]), q.dtype)
    y = np.empty((*qs.shape[:-1], vs.shape[-1]), q.dtype)
    hidden = np.where(_hidden_future(q.shape[-2], k.shape[-2]), -np.inf, 0).astype(q.dtype) if is_causal else None
    for heads in row_blocks(len(p), p[0].size if len(p) else 1):
        s = p[heads]
        np.matmul(qs[heads], np.ascontiguousarray(ks[heads].mT), out=s)
        if hidden is not None:
            by_query = s.reshape(len(s), -1, *hidden.shape)
            by_query += hidden
        s -= np.maximum.reduce(s, axis=-1, keepdims=True)
        np.exp(s, out=s)
        s /= np.add.reduce(s, axis=-1, keepdims=True)
        np.matmul(s, vs[heads], out=y[heads])
    return y.reshape(*q.shape[:-1], v.shape[-1]), p.reshape(*k.shape[:-2], *p.shape[1:])


@op("y = R(θ) x", x=lambda g, cos, sin: rotary(g, cos, -sin))
def rotary(x: Array, cos: Array, sin: Array) -> Any:
    """旋转位置编码：把 ``(xᵢ, xᵢ₊ᴅ/₂)`` 当作平面上的点旋转 ``θ``。

    旋转是正交变换，逆就是转置，所以反向是「往回转同样的角度」。

    Args:
        x: ``(..., T, D)``。
        cos: ``(T, D/2)`` 或可与之广播。
        sin: 同 ``cos``。

    Returns:
        与 ``x`` 同形状。
    """
    half = x.shape[-1] // 2
    y = np.empty(x.shape, x.dtype)
    first, second = x[..., :half], x[..., half:]
    np.multiply(first, cos, out=y[..., :half])
    y[..., :half] -= second * sin
    np.multiply(second, cos, out=y[..., half:])
    y[..., half:] += first * sin
    return y
