"""一批长短不一的序列，逐 token 的对数概率。

流入：几行「输入与要预测的 token」；流出：每行各个要预测的 token 的对数概率。两个引擎各写一个 ``Likelihood``，
分批、补齐、还原次序在这里，共用。下一个文件：``texts.py``。

补在右边：因果注意力看不见后来的位置，补上的不影响前面的任何数；补上的位置要预测的是 ``IGNORE_INDEX``，不算。
先按长短排好再分批，一批里几乎等长，补得很少。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import END_OF_TEXT, Tokenizer

__all__ = ["Candidate", "Likelihood", "Row", "Scored", "continuation", "pack_rows", "score_rows", "start_id"]

Ids = NDArray[np.int64]
MAX_TOKENS = 1 << 14
"""一批至多这么多个 token（一行总放得下）。"""


class Likelihood(Protocol):
    """会给一批序列逐 token 打分的模型。

    Attributes:
        context: 一行最长几个 token。
    """

    context: int

    def logprobs(self, x: Ids, y: Ids, *, is_packed: bool = False) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """看了 ``x`` 的前 t 个之后，下一个是 ``y[t]`` 的对数概率。

        Args:
            x: ``(B, T)``。
            y: ``(B, T)``，``IGNORE_INDEX`` 处不算。
            is_packed: 一行里首尾相接地装着几段，每段以文本起始符开头，互相看不见。

        Returns:
            对数概率 ``(B, T)``（float64，自然对数），与「它是不是最可能的那个」``(B, T)``；不算处是 0 与 ``False``。
        """


class Row(NamedTuple):
    """一行：看 ``x``，预测 ``y``。

    Attributes:
        x: ``(T,)``。
        y: ``(T,)``，``IGNORE_INDEX`` 处不算。
    """

    x: Ids
    y: Ids

    @property
    def wanted(self) -> int:
        """要预测几个。"""
        return int((self.y != IGNORE_INDEX).sum())


class Scored(NamedTuple):
    """一行的结果，只有要预测的那些位置，次序不变。

    Attributes:
        logprobs: 对数概率 ``(n,)``。
        greedy: 是不是最可能的那个 ``(n,)``。
    """

    logprobs: NDArray[np.float64]
    greedy: NDArray[np.bool_]


@dataclass(frozen=True)
class Candidate:
    """一个受测的模型。

    Attributes:
        folder: 运行文件夹，或其中的检查点。
        likelihood: 逐 token 打分。
        open_slots: 打开有这么多个槽的解码器。
        tokenizer: 分词器。
        state: 检查点的状态。
        facts: 写进成绩的事实：``engine``、``dtype``、``parameters``、``weights_sha256``。
    """

    folder: Path
    likelihood: Likelihood
    open_slots: Callable[[int], BatchDecoder]
    tokenizer: Tokenizer
    state: dict[str, Any]
    facts: dict[str, Any]


def start_id(tokenizer: Tokenizer) -> int:
    """文本起始符：``<|endoftext|>``，没有这个名字的词表用头一个特殊 token。

    Raises:
        UserError: 一个特殊 token 也没有。
    """
    return tokenizer.special(next(iter({END_OF_TEXT} & set(tokenizer.specials) or tokenizer.specials), END_OF_TEXT))


def continuation(prompt: Sequence[int], answer: Sequence[int], context: int, start: int) -> tuple[Row, int]:
    """「读完 ``prompt``，接着写 ``answer``」成一行。

    Args:
        prompt: 开头。
        answer: 要打分的部分，至少一个 token。
        context: 一行最长几个 token。
        start: 开头为空时，放在最前面的 token：总得先有一个，才预测得了下一个。

    Returns:
        一行，与「开头太长，去掉了最前面的几个 token」。

    Raises:
        UserError: 答案为空，或它自己就超出上下文。
    """
    if not len(answer) or len(answer) > context:
        raise UserError(
            f"a continuation of {len(answer)} tokens cannot be scored in a context of {context}",
            fix="use shorter, non-empty options",
        )
    whole = np.asarray([*(prompt or [start]), *answer], np.int64)
    dropped = max(0, len(whole) - 1 - context)
    whole = whole[dropped:]
    y = whole[1:].copy()
    y[: len(y) - len(answer)] = IGNORE_INDEX
    return Row(whole[:-1], y), dropped


def score_rows(model: Likelihood, rows: Sequence[Row], batch_size: int, *, is_packed: bool = False) -> list[Scored]:
    """给许多行打分；结果与怎样分批无关。

    Args:
        model: 模型。
        rows: 各行，每行至多 ``model.context`` 个 token。
        batch_size: 一次至多算几行；很长的行一次少算几行，见 ``MAX_TOKENS``。
        is_packed: 见 ``Likelihood.logprobs``。

    Returns:
        各行的结果，次序与 ``rows`` 相同。

    Raises:
        UserError: 有一行太长，或 ``batch_size`` 小于 1。
    """
    if batch_size < 1:
        raise UserError(f"batch size must be at least 1, got {batch_size}", fix="try 16")
    longest = max((row.x.size for row in rows), default=0)
    if longest > model.context:
        raise UserError(f"a row of {longest} tokens is longer than the model's context of {model.context}")
    found: list[Scored] = [Scored(np.empty(0), np.empty(0, np.bool_))] * len(rows)
    for numbers in _batches(rows, batch_size):
        x, y = _padded([rows[i] for i in numbers])
        logprobs, greedy = model.logprobs(x, y, is_packed=is_packed)
        for line, i in enumerate(numbers):
            valid = y[line] != IGNORE_INDEX
            found[i] = Scored(logprobs[line][valid], greedy[line][valid])
    return found


def pack_rows(rows: Sequence[Row], context: int, start: int) -> tuple[list[Row], list[list[int]]]:
    """把短的几行首尾相接成一行；只有以 ``start`` 开头的才能接在别人后面，模型据此把它们隔开。

    Args:
        rows: 各行。
        context: 一行最长几个 token。
        start: 文本起始符。

    Returns:
        接好的各行，与每行由原来的哪几行组成。
    """
    order = sorted(range(len(rows)), key=lambda i: -rows[i].x.size)
    bins: list[list[int]] = []
    room: list[int] = []
    for i in order:
        size, follows = rows[i].x.size, rows[i].x.size > 0 and rows[i].x[0] == start
        place = next((k for k, left in enumerate(room) if left >= size), None) if follows else None
        if place is None:
            bins.append([i])
            room.append(context - size)
        else:
            bins[place].append(i)
            room[place] -= size
    packed = [Row(*(np.concatenate([rows[i][side] for i in one]) for side in (0, 1))) for one in bins]
    return packed, bins


def _batches(rows: Sequence[Row], batch_size: int) -> Iterator[list[int]]:
    """长的在前：内存不够的话，一开头就知道；行很长时，一批少放几行。"""
    order, first = sorted(range(len(rows)), key=lambda i: (-rows[i].x.size, i)), 0
    while first < len(order):
        count = min(batch_size, max(1, MAX_TOKENS // max(1, rows[order[first]].x.size)))
        yield order[first : first + count]
        first += count


def _padded(rows: Sequence[Row]) -> tuple[Ids, Ids]:
    width = max(row.x.size for row in rows)
    x, y = np.zeros((len(rows), width), np.int64), np.full((len(rows), width), IGNORE_INDEX, np.int64)
    for line, row in enumerate(rows):
        x[line, : row.x.size], y[line, : row.x.size] = row
    return x, y
