"""打包：把长短不一的文档装进等长的行，每段都从文档的开头（BOS）开始。

流入：各篇文档的长度；流出：每一行由哪几段组成，以及利用率与裁剪的报告。
算法是最佳适配（best fit）：总是放进装得下的最长的一篇；都装不下时，裁短剩下的里面最短的一篇，或以填充补齐。
整个语料一次排好：相同的组合成批排出，所以时间取决于有多少种长度，而不是有多少篇。下一个文件：``packed.py``。
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.errors import UserError

__all__ = ["FILLS", "LONGS", "Plan", "plan_rows"]

FILLS, LONGS = ("crop", "pad"), ("crop", "split")


@dataclass(frozen=True)
class Plan:
    """打包的结果：行由段组成，段是原序列里的一截。

    Attributes:
        context: 行长 T。
        starts: 每一段在原序列里的起点，形状 (P,)。
        lengths: 每一段的长度，形状 (P,)。
        row_ends: 前 i + 1 行一共有几段，形状 (R,)。
        documents: 文档数。
        tokens: 全部文档的 token 数。
        cropped_documents: 丢了尾巴的文档数。
        split_documents: 长过一行、被切成几段的文档数；第二段起不从 BOS 开始。
    """

    context: int
    starts: Numbers
    lengths: npt.NDArray[np.int32]
    row_ends: Numbers
    documents: int
    tokens: int
    cropped_documents: int
    split_documents: int

    @property
    def rows(self) -> int:
        """行数。"""
        return int(self.row_ends.size)

    @property
    def used_tokens(self) -> int:
        """装进去了的 token 数。"""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def utilisation(self) -> float:
        """行里有多大一部分是真的 token，其余是填充。"""
        return self.used_tokens / (self.rows * self.context)

    @property
    def cropped(self) -> float:
        """有多大一部分 token 被裁掉。"""
        return 1 - self.used_tokens / self.tokens


def plan_rows(starts: Numbers, lengths: Numbers, context: int, *, fill: str = "crop", long: str = "crop") -> Plan:
    """排好全部的行。

    Args:
        starts: 每篇文档在原序列里的起点，形状 (N,)。
        lengths: 每篇文档的 token 数，都是正数，形状 (N,)。
        context: 行长 T。
        fill: 行尾装不下任何一篇时：``"crop"`` 裁短一篇填满，``"pad"`` 留给填充。最后一行总是可能有填充。
        long: 长过一行的文档：``"crop"`` 只留开头一行，``"split"`` 切成几段，不丢 token。

    Returns:
        计划；同样的参数总得到同样的计划。

    Raises:
        UserError: 选项不认识，行长不是正数，或没有文档。
    """
    if fill not in FILLS or long not in LONGS:
        raise UserError(f"unknown packing fill {fill!r} or long {long!r}", fix=f"use {FILLS} and {LONGS}")
    if context < 1 or not starts.size:
        raise UserError(
            f"packing needs a context of at least 1 and a document, got {context} and {starts.size} documents"
        )
    too_long = lengths > context
    pieces, sizes = (_split if long == "split" else _crop)(starts, lengths, context)
    order = np.argsort(sizes, kind="stable")
    picks, taken, row_ends = _best_fit(np.bincount(sizes, minlength=context + 1), context, fill)
    mixed = _mixed(pieces[order[picks]], row_ends)
    chosen, taken = order[picks][mixed], taken[mixed]
    cropped_to_fit = int((taken < sizes[chosen]).sum())
    return Plan(
        context=context,
        starts=pieces[chosen],
        lengths=taken.astype(np.int32),
        row_ends=row_ends,
        documents=int(starts.size),
        tokens=int(lengths.sum()),
        cropped_documents=cropped_to_fit + (int(too_long.sum()) if long == "crop" else 0),
        split_documents=int(too_long.sum()) if long == "split" else 0,
    )


def _mixed(starts: Numbers, row_ends: Numbers) -> Numbers:
    """各行之内给段换个次序：否则每行都是长的在前、短的在后。

    按起点的散列排序，不依赖随机数状态。
    """
    rows = np.repeat(np.arange(row_ends.size), np.diff(row_ends, prepend=0))
    hashed = starts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.lexsort((hashed, rows))


def _crop(starts: Numbers, lengths: Numbers, context: int) -> tuple[Numbers, Numbers]:
    return starts, np.minimum(lengths, context)


def _split(starts: Numbers, lengths: Numbers, context: int) -> tuple[Numbers, Numbers]:
    """长过一行的文档切成整行，加上一段零头。"""
    parts = -(-lengths // context)  # 上取整
    firsts = np.repeat(np.cumsum(parts) - parts, parts)
    within = (np.arange(firsts.size) - firsts) * context
    return np.repeat(starts, parts) + within, np.minimum(np.repeat(lengths, parts) - within, context)


def _best_fit(counts: Numbers, context: int, fill: str) -> tuple[Numbers, Numbers, Numbers]:
    """按长度分好桶之后的最佳适配。

    同样的组合可以一直用到某个桶空为止，所以一次排出许多行；与一行一行地排得到的结果相同。

    Args:
        counts: 每种长度的段数，形状 (T + 1,)。
        context: 行长 T。
        fill: 见 ``plan_rows``。

    Returns:
        依次用到的段（在按长度排好的次序里的下标）、各取多长、前 i + 1 行共有几段。
    """
    left = counts.tolist()
    cursor = (np.cumsum(counts) - counts).tolist()
    available = sum(1 << length for length, count in enumerate(left) if count)
    picks, taken, ends, pieces = [], [], [], 0
    while available:
        row = _one_row(left, available, context, fill)
        uses: dict[int, int] = {}
        columns = []
        for length, _ in row:
            columns.append((length, uses.setdefault(length, 0)))
            uses[length] += 1
        repeats = min(left[length] // used for length, used in uses.items())
        grid = np.arange(repeats)[:, None]
        strides = np.array([uses[length] for length, _ in columns])
        offsets = np.array([cursor[length] + nth for length, nth in columns])
        picks.append((offsets + grid * strides).ravel())
        taken.append(np.tile(np.array([used for _, used in row]), repeats))
        ends.append(pieces + (np.arange(repeats) + 1) * len(row))
        pieces += repeats * len(row)
        for length, used in uses.items():
            left[length] -= repeats * used
            cursor[length] += repeats * used
            if not left[length]:
                available &= ~(1 << length)
    return np.concatenate(picks), np.concatenate(taken), np.concatenate(ends)


def _one_row(left: list[int], available: int, context: int, fill: str) -> list[tuple[int, int]]:
    """一行的组合：每段的长度，与实际取用的长度。``available`` 是非空的桶的位图。"""
    room, row = context, []
    uses: dict[int, int] = {}
    while room and available:
        fitting = available & ((1 << (room + 1)) - 1)
        if fitting:
            length = fitting.bit_length() - 1  # 装得下的最长的
        elif fill == "crop":
            length = (available & -available).bit_length() - 1  # 都装不下：最短的丢得最少
        else:
            break
        row.append((length, min(length, room)))
        room -= min(length, room)
        uses[length] = uses.get(length, 0) + 1
        if uses[length] == left[length]:
            available &= ~(1 << length)
    return row
