r"""Beam search：不抽样，找概率最大的文字。

流入：``BatchDecoder`` 与一份 ``Request``；流出：按得分由高到低的几条 ``Hypothesis``。

逐个取最大（贪心）会错过「先走一步险棋、后面都很顺」的文字。beam search 每一步留下 b 条最好的半截，各接上所有的 token，
再留最好的 b 条；b 大到装得下全部可能时，它就是穷举。写完的按 ``log p / 长度^α`` 排名：log p 总是随长度变小，
α = 0 时偏爱短的，α = 1 是每个 token 的平均。

一条半截占一个槽。它的第一个后代就地接着写，其余的先从它的槽复制一份缓存。
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.generation import Finish
from tinygrad_llm.common.decoding.request import Request
from tinygrad_llm.common.decoding.sampling import finite_scores, log_softmax
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.decoding.text import TextStream
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Hypothesis", "beam_search"]


@dataclass(frozen=True)
class Hypothesis:
    """一条写完的文字。

    Attributes:
        tokens: 写出的 token，含停止 token。
        text: 显示的文字。
        logprob: 全部 token 的对数概率之和。
        score: 排名用的得分。
        finish: 怎样停的。
    """

    tokens: tuple[int, ...]
    text: str
    logprob: float
    score: float
    finish: Finish


@dataclass(frozen=True)
class _Live:
    """一条半截：写出的 token、对数概率之和、缓存在哪个槽、语法走到哪里。"""

    tokens: tuple[int, ...]
    logprob: float
    slot: int
    state: Hashable


def beam_search(
    decoder: BatchDecoder, request: Request, tokenizer: TextTokenizer, *, beams: int, length_penalty: float = 1.0
) -> list[Hypothesis]:
    """找得分最高的几条。

    Args:
        decoder: 至少有 ``beams`` 个槽；各槽原来的缓存不要了。
        request: 用到开头、长短、停止串、停止 token 与约束；抽样的设置不用。
        tokenizer: 分词器。
        beams: 每一步留几条。
        length_penalty: 上面的 α。

    Returns:
        至多 ``beams`` 条，得分由高到低。

    Raises:
        UserError: 开头装不进上下文，或槽不够。
    """
    search = _Search(decoder, request, tokenizer, beams, length_penalty)
    while search.live and not search.is_decided():
        search.step()
    return search.ranked()


class _Search:
    """一次搜索的进行中状态。"""

    def __init__(
        self, decoder: BatchDecoder, request: Request, tokenizer: TextTokenizer, beams: int, length_penalty: float
    ) -> None:
        if beams > decoder.slots:
            raise UserError(f"{beams} beams need {beams} slots, the decoder has {decoder.slots}", fix="use fewer beams")
        if len(request.prompt) >= decoder.context:
            raise UserError(
                f"the prompt has {len(request.prompt)} tokens, the model was trained on contexts of {decoder.context}",
                fix=f"shorten the prompt to at most {decoder.context - 1} tokens",
            )
        self.decoder, self.request, self.tokenizer = decoder, request, tokenizer
        self.beams, self.length_penalty = beams, length_penalty
        self.room = min(request.max_tokens, decoder.context - len(request.prompt))
        self.done: list[Hypothesis] = []
        start = None if request.constraint is None else request.constraint.start()
        for slot in range(decoder.slots):
            decoder.truncate(slot, 0)
        self.live = [_Live((), 0.0, 0, start)]
        self.logits = decoder.feed([(0, np.asarray(request.prompt, dtype=np.int64))])

    def is_decided(self) -> bool:
        """写完的已经够了，而且没有一条半截还能胜过其中最差的。"""
        if len(self.done) < self.beams:
            return False
        worst = self.ranked()[-1].score
        lengths = (len(self.live[0].tokens) + 1, self.room)
        return all(one.logprob / length**self.length_penalty <= worst for one in self.live for length in lengths)

    def ranked(self) -> list[Hypothesis]:
        """写完的里最好的几条；得分相同时先写完的在前。"""
        return sorted(self.done, key=lambda one: -one.score)[: self.beams]

    def step(self) -> None:
        """每条半截接上一个 token，留下最好的。"""
        totals = np.stack([self._totals(one, row) for one, row in zip(self.live, self.logits, strict=True)])
        kept: list[tuple[int, _Live]] = []
        for index in _best(totals, self.beams * (1 + len(self.request.stop_ids))):
            parent, token = divmod(int(index), totals.shape[1])
            grown = self._grown(self.live[parent], token, float(totals[parent, token]))
            if grown is not None:
                kept.append((parent, grown))
            if len(kept) == self.beams:
                break
        self.live = self._placed(kept)
        if self.live:
            self.logits = self.decoder.feed([(one.slot, np.array(one.tokens[-1:])) for one in self.live])

    def _totals(self, one: _Live, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """接上各个 token 之后的对数概率之和；不许接的是 ``-inf``。"""
        totals = log_softmax(finite_scores(logits)) + one.logprob
        totals[self.tokenizer.vocab_size :] = -np.inf
        constraint = self.request.constraint
        if constraint is not None:
            allowed = np.zeros(len(totals), dtype=np.bool_)
            mask = constraint.mask(one.state)[: len(totals)]
            allowed[: len(mask)] = mask
            allowed[list(self.request.stop_ids)] = constraint.is_final(one.state)
            totals[~allowed] = -np.inf
        return totals

    def _grown(self, parent: _Live, token: int, logprob: float) -> _Live | None:
        """接上一个 token；就此写完的记进 ``done``，返回 ``None``。"""
        tokens, state, constraint = (*parent.tokens, token), parent.state, self.request.constraint
        stream = TextStream(self.tokenizer, self.request.stop)
        text = "".join(map(stream.push, tokens))
        finish: Finish = "stop" if token in self.request.stop_ids or stream.is_stopped else ""
        if constraint is not None and not finish:
            state = constraint.advance(state, token)
            if constraint.is_final(state) and not constraint.mask(state).any():
                finish = "stop"
        if not finish and len(tokens) >= self.room:
            finish = "length"
        if not finish:
            return _Live(tokens, logprob, parent.slot, state)
        score = logprob / len(tokens) ** self.length_penalty
        self.done.append(Hypothesis(tokens, text + stream.finish(), logprob, score, finish))
        return None

    def _placed(self, kept: list[tuple[int, _Live]]) -> list[_Live]:
        """给每条安排槽：头一个后代就地接着写，其余的复制到空着的槽。"""
        free = sorted(set(range(self.decoder.slots)) - {one.slot for _, one in kept})
        placed, taken = list[_Live](), set[int]()
        for _, one in kept:
            slot = one.slot
            if slot in taken:
                slot = free.pop()
                self.decoder.share(one.slot, slot, self.decoder.length(one.slot))
            taken.add(slot)
            placed.append(_Live(one.tokens, one.logprob, slot, one.state))
        return placed


def _best(totals: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """最大的 ``count`` 个的下标，由大到小；并列时下标小的在前；``-inf`` 的不要。"""
    flat = totals.ravel()
    if count < flat.size:
        threshold = np.partition(flat, -count)[-count]
        found = np.flatnonzero((flat >= threshold) & (flat > -np.inf))
    else:
        found = np.flatnonzero(flat > -np.inf)
    return found[np.argsort(-flat[found], kind="stable")][:count]
