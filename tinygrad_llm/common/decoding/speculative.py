r"""抢先猜测：先由便宜的办法猜出后面几个 token，再让模型一次核对；写出的与不猜时逐个相同，只是快。

流入：``BatchDecoder`` 的一个槽、一个 ``Generation`` 与一个猜测者；流出：一步步的 ``Step``。

**为什么分布不变。** 第 t 个位置上，不猜时写出的是 ``y = choose(p_t, u_t)``：``p_t`` 是模型的分布，``u_t`` 是
（种子，位置）定出的随机数。猜测者给出 ``x``；模型一次前向算出每个猜测之后的 ``p_t``，我们照样取 ``y``，写下 ``y``，
``x = y`` 就接着看下一个，否则后面的猜测都作废。写下的从来是 ``y``，与 ``x`` 无关：不只分布相同，每个 token 都相同。
猜中的概率是 ``P(x = y)``：``x`` 是定数时为 ``p_t(x)``，与「以 ``min(1, p/q)`` 的概率接受、否则从 ``(p - q)⁺`` 重取」
（Leviathan 等，2023）相同；猜测者自己也抽样时，让它用同一个 ``u_t``，两边的抽样便连在一起，分布相近就多半抽中同一个。

核对 k 个猜测，矩阵乘法从 1 行变成 k + 1 行；一个 token 的时间几乎全花在读权重上，多几行不多读一遍。
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.prefixes import common_prefix
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.sampling import choose, finite_scores, uniform_at
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.errors import UserError

__all__ = ["Draft", "ModelDraft", "NgramDraft", "Tally", "speculate"]


class Draft(Protocol):
    """猜测者。"""

    def propose(self, history: Sequence[int], count: int) -> list[int]:
        """``history`` 之后至多 ``count`` 个 token；猜不出就少给或不给。"""


@dataclass(frozen=True)
class NgramDraft:
    """在已有的文字里找：末尾几个 token 上次出现时，后面跟着什么。抄写、改写、代码里常猜中，不花模型的时间。

    Attributes:
        longest: 先找末尾这么多个 token，找不到再少一个。
        shortest: 少到这么多个为止。
    """

    longest: int = 4
    shortest: int = 2

    def propose(self, history: Sequence[int], count: int) -> list[int]:
        """见 ``Draft``；取最近的一次出现。"""
        ids = np.asarray(history, np.int64)
        for size in range(min(self.longest, len(ids) - 1), self.shortest - 1, -1):
            windows = np.lib.stride_tricks.sliding_window_view(ids[:-1], size)
            found = np.flatnonzero((windows == ids[-size:]).all(1))
            if len(found):
                start = int(found[-1]) + size
                return ids[start : start + count].tolist()  # type: ignore[no-any-return]
        return []


class ModelDraft:
    """一个小模型来猜；词表须与大模型的相同。它也留着 KV 缓存，只补喂新的。

    Args:
        decoder: 小模型的解码器，用它的第 0 个槽。
        sampling: 与请求的相同：温度为 0 就取最大，否则用同一个随机数抽。
        size: 词表有几个 token；小模型比词表多出的行从不猜。
    """

    def __init__(self, decoder: BatchDecoder, sampling: Sampling, size: int | None = None) -> None:
        self._decoder, self._sampling, self._size, self._fed = decoder, sampling, size, np.empty(0, np.int64)

    def propose(self, history: Sequence[int], count: int) -> list[int]:
        """见 ``Draft``。"""
        ids = np.asarray(history, np.int64)
        kept = min(common_prefix(self._fed[: self._decoder.length(0)], ids), len(ids) - 1)
        self._decoder.truncate(0, kept)
        rest, guesses = ids[kept:], list[int]()
        while len(guesses) < min(count, self._decoder.context - len(ids)):
            scores = finite_scores(self._decoder.feed([(0, rest)])[0])[: self._size]
            position = len(ids) + len(guesses)
            guesses.append(choose(scores, self._sampling, uniform_at(self._sampling.seed, position)))
            rest = np.array(guesses[-1:], np.int64)
        self._fed = np.concatenate([ids, np.array(guesses, np.int64)])
        return guesses


@dataclass
class Tally:
    """猜得怎样。

    Attributes:
        passes: 模型前向过几次。
        proposed: 猜过几个。
        accepted: 猜中几个。
        written: 写出几个。
    """

    passes: int = 0
    proposed: int = 0
    accepted: int = 0
    written: int = 0


def speculate(
    decoder: BatchDecoder,
    generation: Generation,
    draft: Draft,
    count: int = 4,
    tally: Tally | None = None,
    slot: int = 0,
) -> Iterator[Step]:
    """让一个序列走到停下为止，一次前向核对至多 ``count`` 个猜测。

    Args:
        decoder: 解码器，槽里恰是 ``generation.pending`` 之前的一切（新的序列：空的）。
        generation: 序列；构造时给了 ``context``，就不会越过模型的上下文。
        draft: 猜测者。
        count: 一次至多猜几个。
        tally: 给了就记下猜得怎样。
        slot: 用哪个槽。

    Yields:
        每一步的结果，与不猜时逐个相同。

    Raises:
        UserError: ``count`` 小于 1。
    """
    if count < 1:
        raise UserError(f"the number of guesses must be at least 1, got {count}", fix="try 4")
    tally, history = tally or Tally(), list(generation.request.prompt) + generation.tokens
    if not generation.finish and len(generation.pending) > 1:  # 开头：只要最后一个位置的 logits
        step = generation.advance(decoder.feed([(slot, np.array(generation.pending, np.int64))])[0])
        history.append(step.token)
        yield step
    while not generation.finish:
        pending, start = list(generation.pending), decoder.length(slot)
        room = decoder.context - start - len(pending)
        guesses = draft.propose(history, min(count, room)) if room > 0 else []
        logits = decoder.feed_all([(slot, np.array(pending + guesses, np.int64))])[0][len(pending) - 1 :]
        tally.passes, tally.proposed = tally.passes + 1, tally.proposed + len(guesses)
        steps = list[Step]()
        for i, row in enumerate(logits):
            steps.append(generation.advance(row))
            history.append(steps[-1].token)
            if generation.finish or i >= len(guesses) or guesses[i] != steps[-1].token:
                break
        decoder.truncate(slot, start + len(pending) + len(steps) - 1)
        tally.accepted, tally.written = tally.accepted + len(steps) - 1, tally.written + len(steps)
        yield from steps
