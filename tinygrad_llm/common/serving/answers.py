"""从要做的事到回答：交给引擎，收进展，写成整份的或逐段的回答；离开时一律取消没有写完的。

流入：``Wanted``；流出：字典，或一段段 server-sent events。下一个文件：``routes.py``。
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from tinygrad_llm.common.errors import DivergedError, UserError
from tinygrad_llm.common.serving.api import Api
from tinygrad_llm.common.serving.drafts import Draft, Piece
from tinygrad_llm.common.serving.engine import Arrival, Ticket
from tinygrad_llm.common.serving.errors import ApiError, as_api_error
from tinygrad_llm.common.serving.served import Served
from tinygrad_llm.common.serving.shapes import Shape, usage
from tinygrad_llm.common.serving.wanted import Wanted

__all__ = ["DONE", "Answering", "event_bytes"]

DONE = b"data: [DONE]\n\n"


@dataclass
class Used:
    """一个请求用掉的 token，写进日志、计进限额。"""

    prompt: int = 0
    written: int = 0


class Answering:
    """一次请求的回答；排队就在构造的时候，所以排不上当场就知道。

    Args:
        api: 服务的状态。
        served: 模型。
        wanted: 要做的事。
        shape: 回答的样子。
        used: 记下用掉的 token。

    Raises:
        ApiError: 排队的太多，或这个请求走不了。
    """

    def __init__(self, api: Api, served: Served, wanted: Wanted, shape: Shape, used: Used) -> None:
        self._api, self._served, self._wanted, self._shape, self._used = api, served, wanted, shape, used
        self._started = time.monotonic()
        self._arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        self._drafts = [
            Draft(
                served.tokenizer, served.stop_ids, api.output_filters, has_logprobs=wanted.has_logprobs,
                has_tools=wanted.has_tools,
            )
            for _ in range(len(wanted.requests) * wanted.copies)
        ]  # fmt: skip
        self._last: dict[int, float] = {}
        self._tickets: list[Ticket] = []
        deadline = self._started + api.deadline_s
        try:
            for i, request in enumerate(wanted.requests):
                first = i * wanted.copies
                self._tickets.append(
                    served.engine.submit(request, wanted.copies, deadline, self._arrivals, first)
                )  # fmt: skip
        except ApiError:
            self._cancel()
            raise
        used.prompt = wanted.prompt_tokens
        api.active += 1
        self._is_open = True

    async def whole(self) -> dict[str, Any]:
        """整份回答。

        Raises:
            ApiError: 一个字还没有写就到期了，或引擎出了错。
        """
        pieces: list[list[Piece]] = [[] for _ in self._drafts]
        async with aclosing(self._pieces()) as found:
            async for index, piece in found:
                pieces[index].append(piece)
        choices = [self._shape.choice(i, "".join(piece.text for piece in mine), mine) for i, mine in enumerate(pieces)]
        return self._shape.document(choices, self._usage())

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """逐段的回答；半路出的错也写成一段。"""
        try:
            opened = set[int]()
            async with aclosing(self._pieces()) as found:
                async for index, piece in found:
                    parts = [] if piece.is_empty else self._shape.piece(index, piece)
                    if index not in opened:
                        opened.add(index)
                        parts = self._shape.opening(index) + parts
                    if parts:
                        yield b"".join(map(self._event, parts))
            if self._wanted.has_usage:
                yield event_bytes(self._shape.closing(self._usage()))
            yield DONE
        except ApiError as error:
            yield event_bytes(error.body())

    async def _pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        unfinished = set(range(len(self._drafts)))
        try:
            while unfinished:
                arrival = await self._arrivals.get()
                if arrival.index not in unfinished:
                    continue
                piece = self._piece(arrival, self._drafts[arrival.index])
                if piece.finish:
                    unfinished.remove(arrival.index)
                    self._api.instruments.answers.add(self._served.name, piece.finish)
                yield arrival.index, piece
        finally:
            self.close()

    def _piece(self, arrival: Arrival, draft: Draft) -> Piece:
        event = arrival.event
        if event is None:
            raise ApiError(500, "the engine failed; the request can be tried again", code="engine_failed")
        if event.step is None:
            raise _unable(event.error or UserError("the request cannot go on"))
        if event.step.finish == "cancelled":
            return self._cut_short(draft)
        self._time(arrival)
        piece = draft.take(event.step)
        if draft.finish == "content_filter":
            self._cancel_when_alone()
        return piece

    def _cut_short(self, draft: Draft) -> Piece:
        """期限到了（或正在收场）：写过的给出，一个字也没有写就报错。"""
        if not any(ticket.is_late for ticket in self._tickets):
            raise ApiError(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "5"})
        if not any(one.tokens for one in self._drafts):
            raise ApiError(408, f"no answer within {self._api.deadline_s:g} s", code="deadline_exceeded")
        return draft.stopped("length")

    def _cancel_when_alone(self) -> None:
        """被过滤的一份不必写完；别的份还在写时，由它们去。"""
        if len(self._drafts) == 1:
            self._cancel()

    def _time(self, arrival: Arrival) -> None:
        instruments, name = self._api.instruments, self._served.name
        before = self._last.get(arrival.index)
        if before is not None:
            instruments.between.observe(arrival.at - before, name)
        elif not self._last:
            instruments.first.observe(arrival.at - self._started, name)
        self._last[arrival.index] = arrival.at

    def _usage(self) -> dict[str, Any]:
        return usage(self._used.prompt, sum(draft.tokens for draft in self._drafts))

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return event_bytes({**chunk, "usage": None} if self._wanted.has_usage else chunk)

    def _cancel(self) -> None:
        for ticket in self._tickets:
            self._served.engine.cancel(ticket)

    def close(self) -> None:
        """没有写完的不要了，记下用掉的 token；再来一次什么也不做。"""
        if not self._is_open:
            return
        self._is_open = False
        self._cancel()
        self._api.active -= 1
        self._used.written = sum(draft.tokens for draft in self._drafts)
        tokens = self._api.instruments.tokens
        tokens.add(self._served.name, "prompt", amount=self._used.prompt)
        tokens.add(self._served.name, "written", amount=self._used.written)


def _unable(error: UserError) -> ApiError:
    """一个请求走不下去：模型算出了非有限的数，是我们的事；别的是请求要得矛盾。"""
    if isinstance(error, DivergedError):
        return ApiError(500, "the model produced numbers that are not finite", code="engine_failed")
    return as_api_error(error)


def event_bytes(value: dict[str, Any]) -> bytes:
    """一段 server-sent event；JSON 里没有换行，一行就是一段。"""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
