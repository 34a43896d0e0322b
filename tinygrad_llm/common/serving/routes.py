"""各条路由做什么；不认识 ASGI，也不认识 starlette。

流入：查过的请求；流出：``Reply``，或要逐段给出的 ``Answering``。下一个文件：``gate.py``。
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from tinygrad_llm.common.serving.answers import Answering, Used
from tinygrad_llm.common.serving.api import Api
from tinygrad_llm.common.serving.engine import EngineFailedError
from tinygrad_llm.common.serving.errors import ApiError
from tinygrad_llm.common.serving.messages import conversation_of
from tinygrad_llm.common.serving.schemas import CHAT, COMPLETION, EMBEDDING, TOKENIZE, Schema
from tinygrad_llm.common.serving.served import Served
from tinygrad_llm.common.serving.shapes import ChatShape, CompletionShape, Shape
from tinygrad_llm.common.serving.wanted import Wanted, chat_wanted, completion_wanted, prompt_ids
from tinygrad_llm.common.tokenizers.interface import well_formed

__all__ = ["ROUTES", "Call", "Reply", "Route"]

T = TypeVar("T")
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Call:
    """一次调用。

    Attributes:
        body: 查过的请求；没有请求体的路由是空的。
        path: 路径里的参数。
        used: 用掉的 token，写进日志、计进限额。
    """

    body: dict[str, Any]
    path: dict[str, str] = field(default_factory=dict)
    used: Used = field(default_factory=Used)


@dataclass(frozen=True)
class Reply:
    """一次给完的回答：能写成 JSON 的值，或现成的字节。"""

    value: Any
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Api, Call], Awaitable["Reply | Answering"]]


@dataclass(frozen=True)
class Route:
    """一条路由。

    Attributes:
        method: HTTP 方法。
        path: 路径。
        handler: 做什么。
        about: 一句英文说明，写进 ``/openapi.json``。
        schema: 请求体的 schema；没有请求体则为 ``None``。
        is_open: 不要钥匙。
        is_work: 要动用模型：计进限额，收场时不收。
    """

    method: str
    path: str
    handler: Handler
    about: str
    schema: Schema | None = None
    is_open: bool = False
    is_work: bool = False


async def health(api: Api, call: Call) -> Reply:
    """还活着吗；收场时答 503，前面的代理因此不再派请求来。"""
    found = {
        "status": "draining" if api.is_draining else "ok",
        "version": api.version,
        "uptime_s": round(time.monotonic() - api.started_at, 3),
        "models": list(api.models),
        "active": api.active,
    }
    return Reply(found, 503 if api.is_draining else 200)


async def list_models(api: Api, call: Call) -> Reply:
    """在册的模型。"""
    return Reply({"object": "list", "data": [one.described() for one in api.models.values()]})


async def one_model(api: Api, call: Call) -> Reply:
    """其中一个。"""
    return Reply(api.model(call.path["name"]).described())


async def metrics(api: Api, call: Call) -> Reply:
    """指标。"""
    return Reply(api.metrics().encode(), media_type=PROMETHEUS)


async def chat(api: Api, call: Call) -> Reply | Answering:
    """对话。"""
    served = api.model(call.body["model"])
    wanted = await _aside(lambda: _checked_chat(api, call.body, served))
    shape = ChatShape(served.name, _fingerprint(api, served), has_logprobs=wanted.has_logprobs)
    return await _answer(api, served, wanted, shape, call.used)


async def complete(api: Api, call: Call) -> Reply | Answering:
    """续写。"""
    served = api.model(call.body["model"])
    wanted = await _aside(lambda: _checked_completion(api, call.body, served))
    shape = CompletionShape(
        served.name, _fingerprint(api, served), has_logprobs=wanted.has_logprobs, echoed=wanted.echoed,
        copies=wanted.copies,
    )  # fmt: skip
    return await _answer(api, served, wanted, shape, call.used)


async def embed(api: Api, call: Call) -> Reply:
    """向量。"""
    body, served = call.body, api.model(call.body["model"])
    if body.get("dimensions", served.opened.width) != served.opened.width:
        raise ApiError(
            400, f"dimensions must be {served.opened.width}, the width of {served.name!r}", param="dimensions",
            code="invalid_value",
        )  # fmt: skip
    inputs = await _aside(lambda: prompt_ids(body["input"], served, "input"))
    if served.engine.encoding + len(inputs) > served.most_encodings:
        raise ApiError(429, "too many requests are waiting", code="queue_full", headers={"Retry-After": "1"})
    call.used.prompt = sum(map(len, inputs))
    api.instruments.tokens.add(served.name, "prompt", amount=call.used.prompt)
    tasks = [asyncio.ensure_future(served.engine.encode(ids)) for ids in inputs]
    try:
        vectors = await asyncio.wait_for(asyncio.gather(*tasks), api.deadline_s)
    except asyncio.TimeoutError as error:
        raise ApiError(408, f"no answer within {api.deadline_s:g} s", code="deadline_exceeded") from error
    except EngineFailedError as error:
        raise ApiError(500, "the engine failed; the request can be tried again", code="engine_failed") from error
    finally:
        for task in tasks:
            task.cancel()
    written = _base64 if body.get("encoding_format") == "base64" else _floats
    data = [{"object": "embedding", "index": i, "embedding": written(one)} for i, one in enumerate(vectors)]
    used = {"prompt_tokens": call.used.prompt, "total_tokens": call.used.prompt}
    return Reply({"object": "list", "data": data, "model": served.name, "usage": used})


async def tokenize(api: Api, call: Call) -> Reply:
    """文字或对话的 id，与有几个。"""
    body, served = call.body, api.model(call.body["model"])
    if ("text" in body) == ("messages" in body):
        raise ApiError(400, "give either text or messages", param="text", code="invalid_value")

    def ids() -> list[int]:
        if "messages" in body:
            return list(served.prompt(conversation_of(body["messages"])))
        return served.tokenizer.encode(well_formed(body["text"]))

    found = await _aside(ids)
    return Reply({"count": len(found), "ids": found})


def _checked_chat(api: Api, body: dict[str, Any], served: Served) -> Wanted:
    if api.input_filters:
        conversation = conversation_of(body["messages"])
        api.check_input("\n".join(message.content for message in conversation.messages))
    return chat_wanted(body, served, api.budget)


def _checked_completion(api: Api, body: dict[str, Any], served: Served) -> Wanted:
    wanted = completion_wanted(body, served, api.budget)
    if api.input_filters:
        for request in wanted.requests:
            api.check_input(served.tokenizer.decode(request.prompt))
    return wanted


async def _answer(api: Api, served: Served, wanted: Wanted, shape: Shape, used: Used) -> Reply | Answering:
    answering = Answering(api, served, wanted, shape, used)
    return answering if wanted.is_stream else Reply(await answering.whole())


async def _aside(work: Callable[[], T]) -> T:
    """在别的线程里做：长的文字、大的语法要算一阵，事件循环不能等它。"""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    except RecursionError as error:
        raise ApiError(400, "the request nests too deeply", code="invalid_value") from error


def _fingerprint(api: Api, served: Served) -> str:
    return f"{served.opened.engine}-{api.version}"


def _floats(vector: Any) -> Any:
    return vector.astype(np.float32).tolist()


def _base64(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


ROUTES = (
    Route("GET", "/health", health, "whether the server is up", is_open=True),
    Route("GET", "/v1/models", list_models, "the served models"),
    Route("GET", "/v1/models/{name}", one_model, "one served model"),
    Route("POST", "/v1/chat/completions", chat, "answer a conversation", CHAT, is_work=True),
    Route("POST", "/v1/completions", complete, "continue a text", COMPLETION, is_work=True),
    Route("POST", "/v1/embeddings", embed, "vectors from the last hidden states", EMBEDDING, is_work=True),
    Route("POST", "/v1/tokenize", tokenize, "token ids of a text or a conversation", TOKENIZE),
    Route("GET", "/metrics", metrics, "metrics in Prometheus' text format"),
)
"""API 的各条路由；页面的文件与 ``/openapi.json`` 在 ``app.py`` 里加上。"""
