"""注意力：分块计算，未来的块从不计算。

流入与流出都是数组（或 Tensor），形状 ``(B, H, T, D)``。下一站：``loss.py``。

查询每 64 行一块：块内的分数、指数与加权和都留在缓存里；因果掩码遮住的右上角整块跳过，算术省一半。
指数不先归一化，``1/Σ`` 乘在窄得多的输出上。反向按同样的块走，块里的权重或者留着，或者（``recompute``）重算：
重算时没有任何 ``T × T`` 的数组，内存随 T 线性增长（Dao 等，2022，FlashAttention 的道理）。
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm.ops.activation import softmax
from tinygrad_llm.ops.cores import split, threads
from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import reshape

_ROWS = 64
"""一块的查询行数。"""
_FEW = 8
"""至多这么多个查询时不分块。"""
_TILE = 1 << 17
"""同时处理的几个头，一块的分数合起来约有这么多元素：装得进 L2 缓存。"""

Tile = tuple[slice, slice]


class _Job:
    """一次注意力的形状：怎样切块，每块看得见哪些键。

    Attributes:
        tiles: （批的一段，K/V 头的一段），逐个处理。
        blocks: （查询起点，终点，键起点，终点）。
        cost: 一共有多少个分数。
    """

    def __init__(self, q: Array, k: Array, is_causal: bool, window: int | None) -> None:
        batch, kv_heads, group, length = q.shape[:4]
        keys = k.shape[2]
        self.is_causal, self.window = is_causal, window
        more = 2 if threads() > 1 else 1  # 几个线程轮流拿全局锁：每次调用做得久一点，等得就少
        rows = more * _ROWS if length >= 8 * _ROWS else _ROWS
        per = max(1, more * _TILE // (group * min(length, rows) * keys))
        heads, batches = min(per, kv_heads), max(1, min(batch, per // kv_heads))
        self.tiles = [(b, h) for b in _steps(batch, batches) for h in _steps(kv_heads, heads)]
        self.blocks = list(self._blocks(length, keys, rows))
        self.cost = batch * kv_heads * group * sum((j - i) * (last - first) for i, j, first, last in self.blocks)

    def _blocks(self, length: int, keys: int, rows: int) -> Iterator[tuple[int, int, int, int]]:
        for i in range(0, length, rows):
            j = min(i + rows, length)
            first = 0 if self.window is None else max(0, i - self.window + 1)
            yield i, j, first, min(j, keys) if self.is_causal else keys

    def hide(self, scores: Array, i: int, j: int, first: int, last: int) -> None:
        """把一块分数里看不见的位置变成 -inf；``scores`` 形如 ``(n, g·(j-i), last-first)``。"""
        rows = scores.reshape(len(scores), -1, j - i, last - first)
        if self.is_causal and last > i:  # 对角线上的那一小块
            rows[..., i - first :] += _upper(j - i, last - i, 1, scores.dtype)
        if self.window is not None and j - self.window > first:  # 太久以前的
            stop = min(last, j - self.window)
            rows[..., : stop - first] += _upper(stop - first, j - i, first - i + self.window, scores.dtype).T


def _steps(total: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, total)) for start in range(0, total, step)]


@functools.lru_cache(64)
def _upper(rows: int, columns: int, diagonal: int, dtype: Any) -> Array:
    """右上角（第 ``diagonal`` 条对角线起）是 -inf，其余是 0。"""
    return np.triu(np.full((rows, columns), -np.inf, dtype), diagonal)


def _by_group(x: Array, heads: int) -> Array:
    """``(..., H, T, D)`` → ``(B, Hkv, H/Hkv, T, D)``：共用一个 K/V 头的几个查询头（GQA）排在一起。"""
    return x.reshape(-1, heads, x.shape[-3] // heads, *x.shape[-2:])


def _packed(x: Array) -> Array:
    """几个头并成一根轴，内存连续：``(b, h, ..., D) → (b·h, rows, D)``。"""
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], -1, x.shape[-1])


def _scaled(x: Array, factor: Array) -> Array:
    """``x`` 乘以 ``factor``，内存连续：NumPy 缺省会照着 ``x`` 的次序排，还得再抄一遍。"""
    return np.multiply(x, factor, order="C")


def _transposed(x: Array) -> Array:
    """``(n, S, D) → (n, D, S)``，内存连续；一小块一小块地转置，快一倍。OpenBLAS 算 ``A Bᵀ`` 的小矩阵慢得多。"""
    y = np.empty((x.shape[0], x.shape[2], x.shape[1]), x.dtype)
    for start in range(0, x.shape[1], 64):
        y[:, :, start : start + 64] = x[:, start : start + 64].swapaxes(1, 2)
    return y


def _time_major(shape: tuple[int, ...], dtype: Any) -> Array:
    """形状 ``(B, H, T, D)``、内存按 ``(B, T, H, D)`` 排的空数组：合并各头时不必复制。"""
    batch, heads, length, width = shape
    return np.empty((batch, length, heads, width), dtype).swapaxes(1, 2)


def _attend(
    q: Array, k: Array, v: Array, is_causal: bool, scale: float, window: int | None, keep: bool
) -> tuple[Array, list[Array], Array, Array]:
    """前向。

    Returns:
        ``y``；各块的指数（``keep`` 为假时是空的）；各行的最大值与 ``1/Σ``，形状 ``(B, Hkv, g, T, 1)``。
    """
    keys, values = (x.reshape(-1, *x.shape[-3:]) for x in (k, v))
    queries = _by_group(q, keys.shape[1])
    y = _time_major((len(keys), q.shape[-3], q.shape[-2], v.shape[-1]), q.dtype)
    outputs = _by_group(y, keys.shape[1])
    top, inverse = (np.empty((*queries.shape[:-1], 1), q.dtype) for _ in range(2))
    job, factor = _Job(queries, keys, is_causal, window), q.dtype.type(scale)
    ones = np.ones((keys.shape[2], 1), q.dtype)

    def part(start: int, stop: int) -> list[Array]:
        kept = []
        for tile in job.tiles[start:stop]:
            turned, weighed = _transposed(_packed(keys[tile])), _packed(values[tile])
            for i, j, first, last in job.blocks:
                rows = (*tile, slice(None), slice(i, j))
                e = np.matmul(_packed(_scaled(queries[rows], factor)), turned[:, :, first:last])
                job.hide(e, i, j, first, last)
                m = np.maximum.reduce(e, axis=-1, keepdims=True)
                e -= m
                np.exp(e, out=e)
                r = 1 / np.matmul(e, ones[: last - first])
                shape = top[rows].shape
                top[rows], inverse[rows] = m.reshape(shape), r.reshape(shape)
                o = np.matmul(e, weighed[:, first:last])
                np.multiply(o.reshape(*shape[:-1], -1), inverse[rows], out=outputs[rows])
                if keep:
                    kept.append(e)
        return kept

    with np.errstate(over="ignore", invalid="ignore"):
        kept = itertools.chain.from_iterable(split(part, len(job.tiles), job.cost))
    return y.reshape(*q.shape[:-1], v.shape[-1]), list(kept), top, inverse


def _attention_vjp(
    g: Any, q: Any, k: Any, v: Any, y: Any, kept: Any, top: Any, inverse: Any,
    is_causal: bool, scale: float, window: int | None, needs: tuple[bool, bool, bool],
) -> tuple[Any, Any, Any]:  # fmt: skip
    """``P = softmax(s · QKᵀ)``，``Y = PV``。

    ``∂L/∂V = Pᵀ G``；``∂L/∂P = G Vᵀ``；softmax 的反向给出 ``∂L/∂S = P ⊙ (∂L/∂P - D)``，
    其中 ``D = rowsum(P ⊙ ∂L/∂P) = rowsum(G ⊙ Y)``；最后 ``∂L/∂Q = s · ∂L/∂S K``，``∂L/∂K = s · ∂L/∂Sᵀ Q``。
    手里的是没有归一化的 ``E = P ⊙ Σ``，所以先把 ``G`` 除以 ``Σ``：``P ⊙ (GVᵀ - D) = E ⊙ (G/Σ Vᵀ - D/Σ)``。
    """
    keys, values = (x.reshape(-1, *x.shape[-3:]) for x in (k, v))
    heads = keys.shape[1]
    queries, grads, outputs = (_by_group(x, heads) for x in (q, g, y))
    dq = _time_major((len(keys), *q.shape[-3:]), q.dtype)
    dk, dv = (_time_major(x.shape, x.dtype) for x in (keys, values))
    by_group, factor = _by_group(dq, heads), q.dtype.type(scale)
    job = _Job(queries, keys, is_causal, window)

    def part(start: int, stop: int) -> None:
        blocks = iter(kept[start * len(job.blocks) :])
        for tile in job.tiles[start:stop]:
            key, value = _packed(keys[tile]), _packed(values[tile])
            turned = _transposed(value)
            key_grad, value_grad = np.zeros_like(key), np.zeros_like(value)
            for i, j, first, last in job.blocks:
                rows, span = (*tile, slice(None), slice(i, j)), slice(first, last)
                query, grad = _packed(_scaled(queries[rows], factor)), _scaled(grads[rows], inverse[rows])
                inner = np.vecdot(grad, outputs[rows])
                grad = _packed(grad)
                if kept:
                    e = next(blocks)
                else:
                    e = np.matmul(query, key[:, span].swapaxes(1, 2))
                    job.hide(e, i, j, first, last)
                    e -= top[rows].reshape(*e.shape[:2], 1)
                    np.exp(e, out=e)
                s = np.matmul(grad, turned[:, :, span])
                s -= inner.reshape(*s.shape[:2], 1)
                s *= e
                o = np.matmul(s, key[:, span])
                np.multiply(o.reshape(by_group[rows].shape), factor, out=by_group[rows])
                key_grad[:, span] += np.matmul(s.swapaxes(1, 2), query)
                value_grad[:, span] += np.matmul(e.swapaxes(1, 2), grad)
            dk[tile], dv[tile] = key_grad.reshape(dk[tile].shape), value_grad.reshape(dv[tile].shape)

    with np.errstate(over="ignore", invalid="ignore"):
        split(part, len(job.tiles), job.cost)
    found = (dq.reshape(q.shape), dk.reshape(k.shape), dv.reshape(v.shape))
    return tuple(d if need else None for d, need in zip(found, needs, strict=True))  # type: ignore[return-value]


def _hidden(t_query: int, t_key: int, window: int | None) -> Array:
    """``True`` 处看不见：未来（左上角对齐，与 torch 的 ``is_causal`` 相同），或 ``window`` 步之前。"""
    hidden = np.triu(np.ones((t_query, t_key), bool), 1)
    return hidden if window is None else hidden | np.tril(np.ones((t_query, t_key), bool), -window)


def _attention_composed(
    q: Any, k: Any, v: Any, *, is_causal: bool, scale: float, window: int | None, recompute: bool
) -> Any:
    group = q.shape[-3] // k.shape[-3]
    rows = reshape(q, shape=(*k.shape[:-2], group * q.shape[-2], q.shape[-1]))
    scores = reshape(rows @ k.mT, shape=(*k.shape[:-2], group, q.shape[-2], k.shape[-2])) * scale
    if is_causal:
        scores = where(_hidden(q.shape[-2], k.shape[-2], window), float("-inf"), scores)
    p = softmax(scores, dim=len(scores.shape) - 1)
    p = reshape(p, shape=(*k.shape[:-2], group * q.shape[-2], k.shape[-2]))
    return reshape(p @ v, shape=(*q.shape[:-1], v.shape[-1]))


def _attention_plain(
    q: Array, k: Array, v: Array, *, is_causal: bool, scale: float, window: int | None, recompute: bool
) -> Any:
    if q.shape[-2] <= _FEW:
        return _few_queries(q, k, v, is_causal, scale, window)
    return _attend(q, k, v, is_causal, scale, window, keep=False)[0]


def _few_queries(q: Array, k: Array, v: Array, is_causal: bool, scale: float, window: int | None) -> Array:
    """逐个生成 token 时的注意力：只有几个查询，直接读 KV 缓存的视图，不抄一份随 S 增长的 K 与 V。"""
    rows = (q * q.dtype.type(scale)).reshape(*k.shape[:-2], -1, q.shape[-1])  # 共用 K/V 头的查询并在一起
    scores = rows @ k.swapaxes(-1, -2)
    if is_causal:
        hidden = np.where(_hidden(q.shape[-2], k.shape[-2], window), -np.inf, 0).astype(q.dtype)
        by_query = scores.reshape(*k.shape[:-2], -1, *hidden.shape)
        by_query += hidden
    with np.errstate(over="ignore", invalid="ignore"):
        scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores, axis=-1, keepdims=True)
        y: Array = scores @ v
    return y.reshape(*q.shape[:-1], v.shape[-1])


@op(
    "y = softmax(s · q kᵀ + 因果掩码) v",
    keeps="kept top inverse",
    joint=_attention_vjp,
    wrt="q k v",
    composed=_attention_composed,
    plain=_attention_plain,
)
def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    is_causal: bool,
    scale: float,
    window: int | None = None,
    recompute: bool = False,
) -> Any:
    """缩放点积注意力；K、V 的头数可以是 Q 的约数（GQA）。

    Args:
        q: ``(..., H, T, D)``。
        k: ``(..., Hkv, S, D)``。
        v: ``(..., Hkv, S, V)``。
        is_causal: 是否遮住未来（左上角对齐）。
        scale: 乘在分数上的因子，通常为 ``1/√D``。
        window: 每个位置只看最近这么多个位置（滑动窗口，含自己）；只与 ``is_causal``、``T = S`` 同用。
        recompute: 不留各块的权重，反向重算：慢一点，内存随 T 线性增长。

    Returns:
        ``y`` ``(..., H, T, V)``；各块的指数；各行的最大值与 ``1/Σ``。
    """
    return _attend(q, k, v, is_causal, scale, window, keep=not recompute)
