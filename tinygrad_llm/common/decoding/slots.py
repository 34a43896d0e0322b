"""几个序列共用一个模型：每个序列占一个槽，槽里是它的 KV 缓存。

流入：各槽的新 token，几个都行；流出：各槽下一个的 logits。两个引擎各有一份实现，记账与「谁看得见谁」在这里算好，共用。
下一个文件：``scheduler.py``（谁进哪个槽）、``torch_llm/decoding/slots.py`` 与 ``tinygrad_llm/decoding.py``（算）。

参差的几行不必补齐：新 token 首尾相接排成一列，线性层一次算完；只有注意力要分行，由 ``Group`` 说明怎样分。
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError

__all__ = ["BatchDecoder", "ContextError", "Group", "Ledger", "OneSlot", "Plan", "Rows", "untouched"]

Ids = NDArray[np.int64]
Rows = Sequence[tuple[int, Ids]]
"""槽与它的新 token，一行一个。"""
_WASTE = 2.0
"""几行并在一起算注意力，读的位置不超过各自所需之和的这么多倍才值得并。"""
_FREE = 512
"""再多读这么多个位置也不值得分开：分开一次的开销比读它们大。"""


class ContextError(UserError, ValueError):
    """序列超出了模型的上下文。"""


class BatchDecoder(Protocol):
    """带 KV 缓存的模型，同时写几个序列。一个线程独用。

    Attributes:
        slots: 有几个槽。
        context: 每个槽最多装几个 token。
    """

    slots: int
    context: int

    def feed(self, rows: Rows) -> NDArray[Any]:
        """各槽接着喂进新 token；返回各行最后一个位置的 logits ``(n, V)``，次序与 ``rows`` 相同。

        Raises:
            ContextError: 有一行超出了上下文；这时什么也没有喂进去。
        """

    def feed_all(self, rows: Rows) -> list[NDArray[Any]]:
        """与 ``feed`` 相同，但返回每行全部新位置的 logits ``(T, V)``。"""

    def length(self, slot: int) -> int:
        """槽里有几个 token。"""

    def truncate(self, slot: int, length: int) -> None:
        """只留槽里的前 ``length`` 个 token；0 清空。"""

    def share(self, source: int, target: int, length: int) -> None:
        """把 ``source`` 的前 ``length`` 个 token 的缓存复制给 ``target``，``target`` 原来的不要了。"""


class OneSlot:
    """一个槽当作单独的解码器用。

    Args:
        decoder: 成批的解码器。
        slot: 用它的哪个槽。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, decoder: BatchDecoder, slot: int = 0) -> None:
        self.decoder, self.slot, self.context = decoder, slot, decoder.context

    def reset(self) -> None:
        """清空缓存。"""
        self.decoder.truncate(self.slot, 0)

    def feed(self, ids: Ids) -> NDArray[Any]:
        """接在缓存之后喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""
        logits: NDArray[Any] = self.decoder.feed([(self.slot, ids)])[0]
        return logits

    @property
    def length(self) -> int:
        """缓存里有几个 token。"""
        return self.decoder.length(self.slot)

    def truncate(self, length: int) -> None:
        """只留前 ``length`` 个 token。"""
        self.decoder.truncate(self.slot, length)


@dataclass(frozen=True)
class Group:
    """注意力一次算的一组：``rows`` 个相邻的槽，各有 ``width`` 个新 token，看各自缓存的 ``lo`` 到 ``hi``。

    Attributes:
        tokens: 这一组的新 token 在那一列里的位置，共 ``len(members) · width`` 个。
        first: 第一个槽。
        rows: 有几个槽；中间可能有空着的。
        members: 哪几个槽真有新 token，从 0 数起。
        width: 每个槽有几个新 token。
        lo: 看得见的第一个位置。
        hi: 看得见的最后一个位置之后。
        visible: ``(rows, width, hi - lo)``，``True`` 看得见；``None`` 表示全都看得见，或是从头开始的因果注意力。
        is_causal: 从头开始的因果注意力：``lo`` 为 0，``width`` 等于 ``hi``。
    """

    tokens: slice
    first: int
    rows: int
    members: NDArray[np.int64]
    width: int
    lo: int
    hi: int
    visible: NDArray[np.bool_] | None
    is_causal: bool

    @property
    def is_full(self) -> bool:
        """中间没有空着的槽。"""
        return len(self.members) == self.rows


@dataclass(frozen=True)
class Plan:
    """喂进一批 token 要做的事；N 是新 token 的总数。

    Attributes:
        ids: ``(N,)``。
        slots: 每个 token 属于哪个槽 ``(N,)``。
        positions: 每个 token 在自己序列里的位置 ``(N,)``。
        begins: 每个 token 所在的文档从哪个位置开始 ``(N,)``。
        last: 各行最后一个 token 在那一列里的位置，次序与 ``rows`` 相同。
        spans: 各行占那一列的哪一段，次序与 ``rows`` 相同。
        groups: 注意力怎样分组；每个 token 恰在一组里。
    """

    ids: Ids
    slots: Ids
    positions: Ids
    begins: Ids
    last: Ids
    spans: list[slice]
    groups: list[Group]


def untouched(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """全 0 的数组：整个上下文都预先分配，也只为写过的位置付账。

    不用 ``np.zeros``：NumPy 给大数组要大页，一个位置写下去就占掉两兆；每个槽、每层、每个头各有一处要写，
    几个槽就是几个 GB。
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    found: NDArray[Any] = np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8, size).view(dtype)
    return found.reshape(shape)


class Ledger:
    """各槽的长度与眼下这篇文档的开头；只记账，不碰张量。

    Args:
        config: 模型配置。
        slots: 几个槽。
        context: 每个槽的上限；缺省是模型的上下文。

    Attributes:
        slots: 几个槽。
        context: 每个槽的上限。
        lengths: 各槽的长度。
    """

    def __init__(self, config: GPTConfig, slots: int, context: int | None = None) -> None:
        if slots < 1:
            raise UserError(f"slots must be at least 1, got {slots}", fix="use one slot per concurrent sequence")
        self.config, self.slots, self.context = config, slots, min(context or config.context, config.context)
        self.lengths = [0] * slots
        self._documents: list[list[int]] = [[] for _ in range(slots)]  # 各槽里文档开头的位置，升序

    def truncate(self, slot: int, length: int) -> None:
        """只留前 ``length`` 个。"""
        self._check(slot, length)
        self.lengths[slot] = length
        self._documents[slot] = [at for at in self._documents[slot] if at < length]

    def share(self, source: int, target: int, length: int) -> None:
        """``target`` 变成 ``source`` 的前 ``length`` 个。"""
        self._check(source, length)
        self.lengths[target] = length
        self._documents[target] = [at for at in self._documents[source] if at < length]

    def _check(self, slot: int, length: int) -> None:
        if not 0 <= length <= self.lengths[slot]:
            raise ValueError(f"slot {slot} holds {self.lengths[slot]} tokens, cannot keep {length}")

    def plan(self, rows: Rows) -> Plan:
        """查一遍，排好次序：只有一个新 token 的在前，按槽的次序；其余在后。

        Raises:
            ContextError: 有一行超出上下文。
        """
        self._check_rows(rows)
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i][1]) > 1, rows[i][0]))
        sizes = [len(rows[i][1]) for i in order]
        ends = np.cumsum(sizes)
        spans = [slice(0, 0)] * len(rows)
        for i, end, size in zip(order, ends.tolist(), sizes, strict=True):
            spans[i] = slice(end - size, end)
        slots = np.repeat([rows[i][0] for i in order], sizes)
        positions = np.concatenate(
            [np.arange(size) + self.lengths[rows[i][0]] for i, size in zip(order, sizes, strict=True)]
        )
        ids = np.concatenate([rows[i][1] for i in order])
        begins = self._begins(ids, slots, positions, spans)
        single = sum(size == 1 for size in sizes)
        groups = self._single_groups(slots[:single], positions[:single], begins[:single])
        groups += [self._long_group(span, slots, positions, begins) for span in sorted(spans, key=lambda s: s.start)
                   if span.stop - span.start > 1]  # fmt: skip
        return Plan(ids, slots, positions, begins, np.array([span.stop - 1 for span in spans]), spans, groups)

    def commit(self, plan: Plan) -> None:
        """算完了：长度往前走，记下新的文档开头。"""
        for span in plan.spans:
            slot = int(plan.slots[span.start])
            self.lengths[slot] += span.stop - span.start
        if self.config.document_start is not None:
            for at in np.flatnonzero(plan.ids == self.config.document_start):
                self._documents[int(plan.slots[at])].append(int(plan.positions[at]))

    def _check_rows(self, rows: Rows) -> None:
        slots = [slot for slot, _ in rows]
        if not rows or len(set(slots)) < len(slots) or not all(0 <= slot < self.slots for slot in slots):
            raise ValueError(f"rows must name different slots from 0 to {self.slots - 1}, got {slots}")
        for slot, ids in rows:
            stop = self.lengths[slot] + len(ids)
            if not len(ids):
                raise ValueError(f"slot {slot} gets no token")
            if stop > self.context:
                raise ContextError(
                    f"sequence of {stop} tokens is longer than the model's context of {self.context}",
                    fix="shorten the prompt, or ask for fewer tokens",
                )

    def _begins(self, ids: Ids, slots: Ids, positions: Ids, spans: list[slice]) -> Ids:
        begins = np.zeros(len(ids), np.int64)
        if self.config.document_start is None:
            return begins
        begins[:] = np.where(ids == self.config.document_start, positions, 0)
        for span in spans:
            held = self._documents[int(slots[span.start])]
            begins[span.start] = max(int(begins[span.start]), held[-1] if held else 0)
            begins[span] = np.maximum.accumulate(begins[span])
        return begins

    def _first_seen(self, positions: Ids, begins: Ids) -> Ids:
        """每个 token 看得见的第一个位置。"""
        window = self.config.window
        return begins if window is None else np.maximum(begins, positions - window + 1)

    def _single_groups(self, slots: Ids, positions: Ids, begins: Ids) -> list[Group]:
        """只有一个新 token 的各行：长短相近就并成一组，否则一行一组。"""
        if not len(slots):
            return []
        first, stops = self._first_seen(positions, begins), positions + 1
        span = int(slots[-1] - slots[0]) + 1
        needed, read = int((stops - first).sum()), span * int(stops.max() - first.min())
        if read > _WASTE * needed + _FREE:
            return [self._group(slice(i, i + 1), slots, first, stops) for i in range(len(slots))]
        return [self._group(slice(0, len(slots)), slots, first, stops)]

    def _group(self, tokens: slice, slots: Ids, first: Ids, stops: Ids) -> Group:
        mine, lows, highs = slots[tokens], first[tokens], stops[tokens]
        base, rows, lo, hi = int(mine[0]), int(mine[-1] - mine[0]) + 1, int(lows.min()), int(highs.max())
        members, visible = mine - base, None
        if rows > 1:
            key = np.arange(lo, hi)
            seen = (key >= lows[:, None]) & (key < highs[:, None])
            if len(members) < rows or not seen.all():
                visible = np.zeros((rows, 1, hi - lo), np.bool_)
                visible[..., 0] = True  # 空着的槽也看一个位置，否则归一化要除以 0
                visible[members, 0] = seen
        return Group(tokens, base, rows, members, 1, lo, hi, visible, is_causal=False)

    def _long_group(self, span: slice, slots: Ids, positions: Ids, begins: Ids) -> Group:
        place, first = positions[span], self._first_seen(positions[span], begins[span])
        slot, width, lo, hi = int(slots[span.start]), len(place), int(first.min()), int(place[-1]) + 1
        causal = width == hi and not first.any()
        visible = None
        if not causal:
            key = np.arange(lo, hi)
            visible = ((key <= place[:, None]) & (key >= first[:, None]))[None]
        return Group(span, slot, 1, np.zeros(1, np.int64), width, lo, hi, visible, is_causal=causal)
