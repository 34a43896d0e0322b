"""链式法则本身的错：漏乘、多乘、乘错了对象、广播的轴没有求和。

流入：反向的一格（局部导数或贡献）的处境；流出：犯错的人会写下的数。下一站：``elementwise.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import CONTRIBUTION, Array, Case, mistake

PRODUCTS = ("matmul", "mm", "mv", "vm", "linear", "dot")
"""矩阵乘一类的算子。"""


@mistake("chain-cut", on="C")
def chain_cut(case: Case) -> Iterator[Array]:
    """只写了局部导数，g 当作 1。"""
    if case.g is not None and not np.all(case.g == 1):
        yield from case.edge(g=np.ones_like(case.g))


@mistake("forgot-local", on="C")
def forgot_local(case: Case) -> Iterator[Array]:
    """把 g 原样交给了输入；ReLU、掩码、转置与平均的另有名字。"""
    if case.g is not None and case.op not in ("relu", "masked_fill", "tril", "triu", "permute", "mean"):
        yield from case.fit(case.g)


@mistake("incoming-in-local", on="D")
def incoming_in_local(case: Case) -> Iterator[Array]:
    """局部导数那一格写的是贡献。"""
    if case.incoming is not None:
        yield case.correct * case.incoming


@mistake("wrong-operand", on="DC")
def wrong_operand(case: Case) -> Iterator[Array]:
    """求导表里两个输入换了位置，或者整个算成了对另一个输入的导数。"""
    if len(case.inputs) < 2 or case.call is None or case.op in (*PRODUCTS, "add", "sub"):
        return
    first, second, *rest = case.inputs
    if case.position > 1 or first is None or second is None:
        return
    yield from case.edge(inputs=(second, first, *rest))
    other = case.call.vjp(1 - case.position, case.g, case.y) if case.g is not None else None
    if other is not None and case.y is not None and other.shape == case.y.shape:
        yield from case.fit(other)


@mistake("input-for-output", on="DC")
def input_for_output(case: Case) -> Iterator[Array]:
    """求导表里的 ``y`` 换成各个输入。"""
    if case.op in PRODUCTS:
        return
    for one in case.inputs:
        if _like(one, case.y):
            yield from case.edge(y=one)


@mistake("output-for-input", on="DC")
def output_for_input(case: Case) -> Iterator[Array]:
    """求导表里的各个输入换成 ``y``；幂函数的归 ``power-not-lowered``。"""
    if case.op in (*PRODUCTS, "pow_scalar"):
        return
    for place, one in enumerate(case.inputs):
        if _like(one, case.y):
            yield from case.edge(inputs=(*case.inputs[:place], case.y, *case.inputs[place + 1 :]))


def _like(one: Any, y: Array | None) -> bool:
    return isinstance(one, np.ndarray) and y is not None and one.shape == y.shape and one.dtype == y.dtype


@mistake("forgot-broadcast-sum", on="C")
def forgot_broadcast_sum(case: Case) -> Iterator[Array]:
    """写下了广播之后的形状；或者只取了其中一份、取了平均。"""
    if case.call is None or case.g is None:
        return
    raw = case.call.vjp(case.position, case.g, case.y)
    shape = case.correct.shape
    if raw is None or raw.size <= case.correct.size:
        return
    yield raw
    added = raw.ndim - len(shape)
    axes = [*range(added), *(added + i for i, n in enumerate(shape) if n == 1 and raw.shape[added + i] > 1)]
    yield np.mean(raw, axis=tuple(axes), keepdims=True).reshape(shape)
    for place in (0, -1):
        index = tuple(slice(place, None if place else 1) if axis in axes else slice(None) for axis in range(raw.ndim))
        yield raw[index].reshape(shape)
    for axis in axes if len(axes) > 1 else ():  # 几根轴只求了一根
        yield raw.sum(axis=axis)


@mistake("forgot-broadcast-sum", on="C")
def forgot_bias_sum(case: Case) -> Iterator[Array]:
    """线性层的偏置对每一行都用了一次，梯度却没有对各行求和。"""
    if case.op in ("linear", "layer_norm") and case.position == 2 and case.kind == CONTRIBUTION and case.g is not None:
        rows = case.g.reshape(-1, case.g.shape[-1])
        if len(rows) > 1:
            yield from (case.g, rows[0], rows[-1], rows.mean(axis=0))
