"""查表、下标与掩码：重复的下标要累加，下标与掩码不要差一。

流入：一格的处境；流出：犯错的人会写下的数。下一站：``heads.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake

_MASKS = {"masked_fill": 1, "where": 0}
"""带掩码的算子：掩码是第几个输入。"""


def _tables(case: Case) -> tuple[Any, Any] | None:
    """查表类算子的（表的形状，下标）；下标取在第 0 轴。"""
    if case.op == "embedding":
        return np.shape(case.inputs[0]), np.asarray(case.inputs[1])
    if case.op == "index":
        key = case.attrs["key"]
        first = key[0] if isinstance(key, tuple) and len(key) == 1 else key
        first = getattr(first, "array", first)
        if isinstance(first, np.ndarray | list | int) and np.asarray(first).dtype.kind == "i":
            return np.shape(case.inputs[0]), np.asarray(first)
    return None


def _scattered(g: Array, shape: tuple[int, ...], index: Array, adds: bool) -> Iterator[Array]:
    found = np.zeros(shape, g.dtype)
    try:
        if adds:
            np.add.at(found, index, g)
        else:
            found[index] = g
    except (IndexError, ValueError):
        return
    yield found


@mistake("scatter-overwrote", on="C")
def scatter_overwrote(case: Case) -> Iterator[Array]:
    """重复的下标后写的盖掉了先写的。"""
    found = _tables(case)
    if found is not None and case.g is not None:
        shape, index = found
        yield from _scattered(case.g, shape, index, adds=False)
        if index.ndim == 1:
            yield from _scattered(case.g[::-1], shape, index[::-1], adds=False)


@mistake("index-off-by-one", on="FC")
def index_off_by_one(case: Case) -> Iterator[Array]:
    """取了上一行或下一行；梯度放错了一行。"""
    found = _tables(case)
    if found is None:
        return
    shape, index = found
    for step in (-1, 1):
        moved = index + step
        if moved.min() < 0 or moved.max() >= shape[0]:
            continue
        if case.kind == "F":
            yield np.asarray(np.asarray(case.inputs[0])[moved])
        elif case.g is not None:
            yield from _scattered(case.g, shape, moved, adds=True)


def _shifted(mask: Array) -> Iterator[Array]:
    """掩码的边界挪一格：三角形的挪一条对角线，别的沿最后一轴挪。"""
    if mask.ndim < 2:
        return
    rows, columns = mask.shape[-2:]
    for turn in (False, True):
        base = ~mask if turn else mask
        for diagonal in range(1 - rows, columns + 1):
            if base.any() and np.array_equal(
                base, np.broadcast_to(np.triu(np.ones((rows, columns), bool), diagonal), mask.shape)
            ):
                for step in (-1, 1):
                    moved = np.triu(np.ones((rows, columns), bool), diagonal + step)
                    yield np.broadcast_to(~moved if turn else moved, mask.shape)
                return
    for step in (-1, 1):
        yield np.roll(mask, step, axis=-1)


@mistake("mask-off-by-one", on="FC")
def mask_off_by_one(case: Case) -> Iterator[Array]:
    """多遮或少遮了一条对角线。"""
    place = _MASKS.get(case.op)
    if place is None or case.call is None:
        return
    mask = np.asarray(case.inputs[place])
    for moved in _shifted(mask.astype(bool)):
        call = case.call.with_inputs((*case.inputs[:place], moved, *case.inputs[place + 1 :]))
        found = (
            call.forward() if case.kind == "F" else call.gradient(case.position, case.g) if case.g is not None else None
        )
        if found is not None:
            yield found


@mistake("forgot-mask", on="FC")
def forgot_mask(case: Case) -> Iterator[Array]:
    """没有遮。"""
    if case.op == "masked_fill":
        yield from (
            iter([case.inputs[0]]) if case.kind == "F" else case.fit(case.g) if case.g is not None else iter(())
        )
    elif case.op in ("tril", "triu"):
        yield from iter([case.inputs[0]]) if case.kind == "F" else iter([case.g]) if case.g is not None else iter(())
