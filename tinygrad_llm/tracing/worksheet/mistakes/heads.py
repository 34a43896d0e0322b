"""融合的注意力：缩放、掩码、softmax，错在哪一环就在哪一环算错，其余照算。

``P = softmax(s · QKᵀ)``，``Y = PV``。流入：一格的处境；流出：犯错的人会写下的数。下一站：``sums.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake


def _weights(case: Case, scale: float | None = None, diagonal: int = 1) -> Array:
    """注意力的权重 ``(..., T, S)``；``diagonal`` 之上的被遮住。"""
    q, k = case.inputs[0], case.inputs[1]
    scores = q @ np.swapaxes(k, -1, -2) * (case.attrs["scale"] if scale is None else scale)
    if case.attrs["is_causal"]:
        rows, columns = scores.shape[-2:]
        scores = np.where(np.triu(np.ones((rows, columns), bool), diagonal + columns - rows), -np.inf, scores)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _result(
    case: Case, p: Array, scale: float | None = None, jacobian: Callable[[Array, Array], Array] | None = None
) -> Iterator[Array]:
    """由权重往后算：前向是输出，反向是对 q、k、v 的梯度。"""
    q, k, v = case.inputs[:3]
    if case.kind == "F":
        yield p @ v
        return
    g = case.g
    if g is None:
        return
    if case.position == 2:
        yield np.swapaxes(p, -1, -2) @ g
        return
    dp = g @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) if jacobian is None else jacobian(p, dp)
    ds = ds * (case.attrs["scale"] if scale is None else scale)
    yield ds @ k if case.position == 0 else np.swapaxes(ds, -1, -2) @ q


def _is_attention(case: Case) -> bool:
    shapes: list[Any] = [np.shape(one) for one in case.inputs[:3]]
    return case.op == "attention" and shapes[0][:-2] == shapes[1][:-2] and case.attrs.get("window") is None


@mistake("missing-scale", on="FC")
def missing_scale(case: Case) -> Iterator[Array]:
    """打分没有缩放；或者前向缩放了，反向忘了。"""
    if _is_attention(case):
        yield from _result(case, _weights(case, 1.0), 1.0)
        if case.kind != "F" and case.position < 2:
            yield from _result(case, _weights(case), 1.0)


@mistake("mask-off-by-one", on="FC")
def attention_mask_off_by_one(case: Case) -> Iterator[Array]:
    """因果掩码多遮或少遮了一条对角线。"""
    if _is_attention(case) and case.attrs["is_causal"]:
        for diagonal in (0, 2):
            yield from _result(case, _weights(case, diagonal=diagonal))


@mistake("forgot-mask", on="FC")
def attention_forgot_mask(case: Case) -> Iterator[Array]:
    """没有遮未来。"""
    if _is_attention(case) and case.attrs["is_causal"]:
        yield from _result(case, _weights(case, diagonal=np.shape(case.inputs[1])[-2]))


@mistake("softmax-elementwise", on="C")
def attention_softmax_elementwise(case: Case) -> Iterator[Array]:
    """反向经过 softmax 时只算了对角线。"""
    if _is_attention(case) and case.position < 2:
        yield from _result(case, _weights(case), jacobian=lambda p, dp: dp * p * (1 - p))


@mistake("missing-scale", on="F")
def missing_constant(case: Case) -> Iterator[Array]:
    """乘或除以一个常数的那一步，原样抄了过去。"""
    if case.op in ("mul", "div") and np.ndim(case.inputs[1]) == 0 and np.ndim(case.inputs[0]):
        yield case.inputs[0]
