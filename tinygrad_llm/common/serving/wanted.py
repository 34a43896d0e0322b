"""请求变成要做的事：查过的 JSON 变成 ``Request`` 与几项写法。

流入：``schemas.py`` 查过的请求与模型；流出：``Wanted``。下一个文件：``engine.py``。
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

from tinygrad_llm.common.decoding.request import MAX_SEED, Constraint, Request, Sampling
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.errors import ApiError, as_api_error
from tinygrad_llm.common.serving.messages import conversation_of
from tinygrad_llm.common.serving.served import Served
from tinygrad_llm.common.tokenizers.interface import well_formed

__all__ = ["Wanted", "chat_wanted", "completion_wanted", "prompt_ids"]

_COMPLETION_TOKENS = 16
"""``/v1/completions`` 缺省写几个，与 OpenAI 的相同。"""


@dataclass(frozen=True)
class Wanted:
    """一次请求要做的事。

    Attributes:
        requests: 各个开头的要求；对话只有一个。
        copies: 每个开头写几份。
        is_stream: 逐段地给。
        has_usage: 逐段地给时，末尾报 token 数。
        has_logprobs: 报对数概率。
        echoed: 放在各个回答之前的开头；没有要则为空。
        has_tools: 回答可以是工具的调用。
    """

    requests: tuple[Request, ...]
    copies: int
    is_stream: bool = False
    has_usage: bool = False
    has_logprobs: bool = False
    echoed: tuple[str, ...] = ()
    has_tools: bool = False

    @property
    def prompt_tokens(self) -> int:
        """各个开头共有几个 token；写几份也只读一遍。"""
        return sum(len(one.prompt) for one in self.requests)


def chat_wanted(body: dict[str, Any], served: Served, budget: int) -> Wanted:
    """``/v1/chat/completions``。

    Args:
        body: 查过的请求。
        served: 模型。
        budget: 一份回答至多几个 token。

    Raises:
        ApiError: 几项互相矛盾，对话的次序不对，或装不进上下文。
    """
    tools, choice = _tools_of(body)
    constraint: Constraint | None = None
    if tools:
        constraint = served.grammars.for_tools(tools, may_be_text=choice == "auto")
    elif "response_format" in body:
        constraint = served.grammars.for_format(body["response_format"])
    if tools and body.get("response_format", {"type": "text"})["type"] != "text":
        raise ApiError(400, "response_format goes without tools", param="response_format", code="invalid_value")
    if "top_logprobs" in body and not body.get("logprobs"):
        raise ApiError(400, "top_logprobs needs logprobs", param="top_logprobs", code="invalid_value")
    prompt = served.prompt(conversation_of(body["messages"], tools))
    asked = body.get("max_completion_tokens", body.get("max_tokens", budget))
    logprobs = body.get("top_logprobs", 0) if body.get("logprobs") else None
    request = _request(body, served, prompt, min(asked, budget), logprobs, constraint)
    return Wanted(
        (request,), body.get("n", 1), *_stream_of(body), logprobs is not None, has_tools=bool(tools)
    )  # fmt: skip


def completion_wanted(body: dict[str, Any], served: Served, budget: int) -> Wanted:
    """``/v1/completions``；参数与错误同 ``chat_wanted``。"""
    prompts = prompt_ids(body["prompt"], served, "prompt")
    logprobs = body.get("logprobs")
    is_echoed = body.get("echo", False)
    if is_echoed and logprobs is not None:
        raise ApiError(400, "echo goes without logprobs", param="echo", code="invalid_value")
    asked = min(body.get("max_tokens", _COMPLETION_TOKENS), budget)
    requests = tuple(_request(body, served, ids, asked, logprobs, None) for ids in prompts)
    echoed = tuple(served.tokenizer.decode(ids) for ids in prompts) if is_echoed else ()
    return Wanted(requests, body.get("n", 1), *_stream_of(body), logprobs is not None, echoed)


def prompt_ids(given: Any, served: Served, param: str) -> list[tuple[int, ...]]:
    """一段或几段文字，或现成的 id，各成一串 id。"""
    if isinstance(given, str):
        return [served.text(well_formed(given), param)]
    if isinstance(given[0], int | float):
        return [served.fitting(tuple(map(int, given)), param)]
    return [prompt_ids(one, served, param)[0] for one in given]


def _request(
    body: dict[str, Any], served: Served, prompt: tuple[int, ...], max_tokens: int, logprobs: int | None,
    constraint: Constraint | None,
) -> Request:  # fmt: skip
    stop = body.get("stop", ())
    try:
        return Request(
            prompt,
            int(max_tokens),
            _sampling(body, served.tokenizer.vocab_size),
            (stop,) if isinstance(stop, str) else tuple(dict.fromkeys(stop)),
            served.stop_ids,
            None if logprobs is None else int(logprobs),
            constraint,
        )
    except UserError as error:
        raise as_api_error(error) from error


def _sampling(body: dict[str, Any], vocab_size: int) -> Sampling:
    top_k = int(body.get("top_k", 0))
    seed = int(body["seed"]) % (MAX_SEED + 1) if "seed" in body else secrets.randbits(63)
    return Sampling(
        body.get("temperature", 1.0),
        min(top_k, vocab_size) or None,
        body.get("top_p"),
        body.get("min_p"),
        body.get("repetition_penalty", 1.0),
        body.get("presence_penalty", 0.0),
        body.get("frequency_penalty", 0.0),
        seed,
        _bias(body.get("logit_bias", {}), vocab_size),
    )


def _bias(given: dict[str, float], vocab_size: int) -> dict[int, float]:
    """−100 是禁用，与 OpenAI 的用法相同。"""
    if len(given) > 1024:
        raise ApiError(400, "logit_bias: at most 1024 tokens", param="logit_bias", code="invalid_value")
    found = {}
    for name, value in given.items():
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < vocab_size):
            raise ApiError(
                400, f"logit_bias: {name[:40]!r} is not a token id of this model", param="logit_bias",
                code="invalid_value",
            )  # fmt: skip
        found[int(name)] = -math.inf if value == -100 else float(value)
    return found


def _stream_of(body: dict[str, Any]) -> tuple[bool, bool]:
    is_stream = body.get("stream", False)
    if "stream_options" in body and not is_stream:
        raise ApiError(400, "stream_options needs stream", param="stream_options", code="invalid_value")
    return is_stream, bool((body.get("stream_options") or {}).get("include_usage"))


def _tools_of(body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """可以用的工具，与 ``"auto"`` 或 ``"required"``；指名了一个，就只剩它。"""
    tools: list[dict[str, Any]] = body.get("tools") or []
    choice = body.get("tool_choice", "auto" if tools else "none")
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        raise ApiError(400, "two tools have the same name", param="tools", code="invalid_value")
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        if wanted not in names:
            raise ApiError(400, f"there is no tool {wanted[:64]!r}", param="tool_choice", code="invalid_value")
        return [tool for tool in tools if tool["function"]["name"] == wanted], "required"
    if choice == "required" and not tools:
        raise ApiError(400, "tool_choice needs tools", param="tool_choice", code="invalid_value")
    return ([], "none") if choice == "none" else (tools, choice)
