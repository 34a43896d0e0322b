"""一份正在写的回答：一步步的 ``Step`` 变成可以给出的一截，过滤与工具的调用也在这里认出。

流入：``Step``；流出：``Piece``。下一个文件：``answers.py``。

文字有时要压住：过滤器要看完一处才放行；以 ``{`` 开头、可能是工具调用的，写完才知道是什么。对数概率与文字一同给出，
停止串里的字不给，它们的 token 也就不给。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_llm.common.decoding.generation import Step
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.filters import Filter, first_reason, holds
from tinygrad_llm.common.serving.grammars import called
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Draft", "Piece", "Scored"]


@dataclass(frozen=True)
class Scored:
    """一个 token 与它的对数概率。

    Attributes:
        token: 它的文字；不成 UTF-8 的字节显示为 U+FFFD。
        data: 它的字节。
        logprob: 对数概率。
        top: 最可能的几个。
        at: 写它之前，文字有多少个字。
    """

    token: str
    data: bytes
    logprob: float
    top: tuple[Scored, ...] = ()
    at: int = 0


@dataclass(frozen=True)
class Piece:
    """可以给出的一截。

    Attributes:
        text: 文字，可以为空。
        scored: 与之相应的 token；没有要则为空。
        finish: 到此为止的原因；还没有完则为空串。
        call: 整份回答是一次工具的调用：名字与参数。
    """

    text: str
    scored: tuple[Scored, ...] = ()
    finish: str = ""
    call: tuple[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """没有可给的。"""
        return not (self.text or self.scored or self.finish)


class Draft:
    """一份回答。

    Args:
        tokenizer: 分词器。
        stop_ids: 停止 token。
        filters: 给出之前要过的过滤器。
        has_logprobs: 报对数概率。
        has_tools: 回答可以是工具的调用。

    Attributes:
        text: 写出的文字，含压住的。
        tokens: 写出几个 token，含停止 token。
        finish: 到此为止的原因。
    """

    def __init__(
        self, tokenizer: TextTokenizer, stop_ids: frozenset[int], filters: Sequence[Filter] = (), *,
        has_logprobs: bool = False, has_tools: bool = False,
    ) -> None:  # fmt: skip
        self._tokenizer, self._stop_ids, self._filters = tokenizer, stop_ids, filters
        self._has_logprobs, self._has_tools = has_logprobs, has_tools
        self._pending: list[Scored] = []
        self._given = 0
        self.text, self.tokens, self.finish = "", 0, ""

    def take(self, step: Step) -> Piece:
        """又走了一步；返回由此可以给出的一截。"""
        self.tokens += step.token >= 0
        if self._has_logprobs and step.logprob is not None and step.token not in self._stop_ids:
            self._pending.append(self._scored(step))
        self.text += step.text
        if self._filters and first_reason(self._filters, self.text) is not None:
            self.finish = "content_filter"
            return Piece("", finish=self.finish)
        self.finish = step.finish
        is_cut = step.finish == "stop" and step.token not in self._stop_ids  # 也许是停止串：它的字与 token 都不给
        if not step.finish:
            return self._given_to(len(self.text) - holds(self._filters), is_last=False)
        if self._is_call and (call := called(self.text)) is not None:
            self.finish = "tool_calls"
            return Piece("", tuple(self._pending), self.finish, call)
        return self._given_to(len(self.text), is_last=not is_cut)

    def stopped(self, finish: str) -> Piece:
        """因为别的缘故到此为止；放出压住的。"""
        self.finish = finish
        return self._given_to(len(self.text), is_last=True)

    @property
    def _is_call(self) -> bool:
        return self._has_tools and self.text.startswith("{")

    def _given_to(self, end: int, *, is_last: bool) -> Piece:
        """给到第 ``end`` 个字。"""
        if not self.finish and (self._is_call or (self._has_tools and not self.text)):
            return Piece("")
        start, self._given = self._given, max(end, self._given)
        ready = [one for one in self._pending if is_last or one.at < self._given]
        self._pending = self._pending[len(ready) :]
        return Piece(self.text[start : self._given], tuple(ready), self.finish)

    def _scored(self, step: Step) -> Scored:
        top = tuple(self._one(id, logprob) for id, logprob in step.top)
        return self._one(step.token, step.logprob or 0.0, top)

    def _one(self, id: int, logprob: float, top: tuple[Scored, ...] = ()) -> Scored:
        try:
            data = self._tokenizer.token_bytes(id)
        except UserError:  # 模型为凑整多出的行
            data = b""
        return Scored(data.decode("utf-8", "replace"), data, logprob, top, len(self.text))


def scored_json(one: Scored) -> dict[str, Any]:
    """``logprobs.content`` 里的一项。"""
    found: dict[str, Any] = {"token": one.token, "logprob": _number(one.logprob), "bytes": list(one.data)}
    return found | {"top_logprobs": [_bare(other) for other in one.top]}


def _bare(one: Scored) -> dict[str, Any]:
    return {"token": one.token, "logprob": _number(one.logprob), "bytes": list(one.data)}


def _number(logprob: float) -> float:
    """JSON 没有无穷：概率下溢成 0 的写作 −9999，与 OpenAI 的相同。"""
    return max(logprob, -9999.0)
