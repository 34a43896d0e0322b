"""一个序列的进行中状态：喂给模型什么，从它的 logits 里选出什么，显示什么，何时停。

流入：``Request`` 与一行行 logits；流出：``Step``。这里不认识模型；怎样喂给模型，见 ``single.py``。

一步的次序：logits → 罚重复、加偏置 → 语法掩码 → 温度 → top-k → top-p → min-p → 按（种子，位置）的随机数取一个。
``logprob``、``top`` 与 ``entropy`` 说的是模型自己的分布 ``softmax(logits)``，在以上各步之前；词表没有的 id 不算在内。
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.penalties import Repetitions
from tinygrad_llm.common.decoding.request import Request
from tinygrad_llm.common.decoding.sampling import choose, finite_scores, largest, log_softmax, uniform_at
from tinygrad_llm.common.decoding.text import TextStream
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Finish", "Generation", "Step"]

Finish = Literal["", "stop", "length", "cancelled"]
"""为什么停：还没停；停止串、停止 token 或语法到头；写满了；被取消。"""


@dataclass(frozen=True)
class Step:
    """一步的结果。

    Attributes:
        token: 选出的 token；被取消时为 -1。
        text: 新显示的文字；停下的那一步含压住的全部。
        logprob: 选中的 token 的对数概率；没有要就是 ``None``。
        entropy: 模型分布的熵（纳特）；没有要就是 ``None``。
        top: 概率最大的几个候选与各自的对数概率，由大到小。
        finish: 这一步之后停不停。
    """

    token: int
    text: str
    logprob: float | None = None
    entropy: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    finish: Finish = ""


class Generation:
    """一个序列。

    Args:
        request: 要求。
        tokenizer: 分词器。
        context: 模型的上下文长度；给了就不越过它：开头太长当场报错，写满时以 ``"length"`` 停下。

    Attributes:
        request: 要求。
        tokens: 写出的 token，含停止 token。
        text: 显示过的全部文字。
        pending: 接着要喂进模型的 id：起初是整个开头，此后是刚写出的一个；停下之后为空。
        finish: 停下的原因；空串表示还在写。

    Raises:
        UserError: 开头装不进上下文，或约束一步也走不了。
    """

    def __init__(self, request: Request, tokenizer: TextTokenizer, context: int | None = None) -> None:
        if context is not None and len(request.prompt) >= context:
            raise UserError(
                f"the prompt has {len(request.prompt)} tokens, the model was trained on contexts of {context}",
                fix=f"shorten the prompt to at most {context - 1} tokens",
            )
        self.request, self._size = request, tokenizer.vocab_size
        self._room = request.max_tokens if context is None else min(request.max_tokens, context - len(request.prompt))
        self.tokens: list[int] = []
        self.text = ""
        self.pending: tuple[int, ...] = request.prompt
        self.finish: Finish = ""
        self._stream = TextStream(tokenizer, request.stop)
        self._repetitions = Repetitions(request.prompt)
        self._state: Hashable = None if request.constraint is None else request.constraint.start()

    def advance(self, logits: NDArray[Any]) -> Step:
        """走一步。

        Args:
            logits: ``pending`` 的最后一个 id 之后的 ``(V,)``；不会被改动。

        Returns:
            选出的 token 与由它而来的一切。

        Raises:
            DivergedError: logits 含 NaN 或无穷。
        """
        request, scores = self.request, finite_scores(logits)[: self._size]  # 模型比词表多出的行从不可选
        model, position = scores, len(request.prompt) + len(self.tokens)
        scores = self._adjusted(scores)
        token = choose(scores, request.sampling, uniform_at(request.sampling.seed, position))
        self.tokens.append(token)
        self._repetitions.add(token)
        text = self._stream.push(token)
        self.finish = self._verdict(token)
        self.pending = () if self.finish else (token,)
        if self.finish:
            text += self._stream.finish()
        self.text += text
        return Step(token, text, *_described(model, token, request.logprobs), self.finish)

    def cancel(self) -> Step:
        """不写了；返回压住的文字。"""
        self.finish, self.pending = "cancelled", ()
        text = self._stream.finish()
        self.text += text
        return Step(-1, text, finish="cancelled")

    def _adjusted(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """罚过、加过偏置、掩过的分数；``-inf`` 的 token 不可选。"""
        request = self.request
        bias = request.sampling.logit_bias
        if not (request.sampling.is_penalised or bias or request.constraint):
            return scores
        scores = scores.copy()
        self._repetitions.penalise(scores, request.sampling)
        for id, value in bias.items():
            if id < len(scores):
                scores[id] += value
        if request.constraint is not None:
            allowed = np.zeros(len(scores), dtype=np.bool_)
            mask = request.constraint.mask(self._state)[: len(scores)]
            allowed[: len(mask)] = mask
            if request.constraint.is_final(self._state):
                allowed[[id for id in request.stop_ids if id < len(scores)]] = True
            scores[~allowed] = -np.inf
        if not np.isfinite(scores.max()):
            raise UserError("no token is left to choose from", fix="ban fewer tokens with logit_bias")
        return scores

    def _verdict(self, token: int) -> Finish:
        constraint = self.request.constraint
        if token in self.request.stop_ids or self._stream.is_stopped:
            return "stop"
        if constraint is not None:
            self._state = constraint.advance(self._state, token)
            if constraint.is_final(self._state) and not constraint.mask(self._state).any():
                return "stop"  # 语法到头了，后面什么也接不上
        return "length" if len(self.tokens) >= self._room else ""


def _described(
    scores: NDArray[np.float64], token: int, count: int | None
) -> tuple[float | None, float | None, tuple[tuple[int, float], ...]]:
    """选中的对数概率、熵与前几名；``count`` 为 ``None`` 时不算。"""
    if count is None:
        return None, None, ()
    logp = log_softmax(scores)
    best = largest(logp, count) if count else np.empty(0, dtype=np.intp)
    best = best[np.argsort(-logp[best], kind="stable")]
    entropy = -float((np.exp(logp) * logp).sum())
    return float(logp[token]), entropy, tuple((int(id), float(logp[id])) for id in best)
