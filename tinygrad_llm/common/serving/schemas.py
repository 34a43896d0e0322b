"""请求长什么样：一张 JSON schema 的表，既用来查请求，也写进 ``/openapi.json``。

流入：没有；流出：各条路由的 schema，与按它查过的请求。每个数都有上下限，没有列出的字段一律不收。
下一个文件：``wanted.py``。
"""

from __future__ import annotations

import json
import math
from typing import Any

from tinygrad_llm.common.decoding.grammar.validate import first_problem
from tinygrad_llm.common.decoding.request import MAX_LOGPROBS, MAX_SEED
from tinygrad_llm.common.serving.errors import ApiError

__all__ = ["CHAT", "COMPLETION", "EMBEDDING", "MAX_COPIES", "MAX_INPUTS", "TOKENIZE", "Schema", "checked", "parsed"]

Schema = dict[str, Any]
MAX_COPIES = 16
"""一个请求至多写几份。"""
MAX_INPUTS = 256
"""一个请求至多几段文字要向量、几个开头要续写。"""
_MAX_TOKENS = 1_000_000
_MAX_MESSAGES = 2000


def _number(about: str, low: float, high: float, default: float | None = None, *, above: bool = False) -> Schema:
    bounds = {"exclusiveMinimum" if above else "minimum": low, "maximum": high}
    return {"type": ["number", "null"], **bounds, "default": default, "description": about}


def _integer(about: str, low: int, high: int, default: int | None = None) -> Schema:
    return {**_number(about, low, high, default), "type": ["integer", "null"]}


def _boolean(about: str, *, default: bool = False) -> Schema:
    return {"type": ["boolean", "null"], "default": default, "description": about}


def _text(about: str, most: int | None = None) -> Schema:
    return {"type": "string", "description": about} | ({} if most is None else {"maxLength": most})


_MODEL = _text("name of a served model, see GET /v1/models", 200)
_STOP_TEXT = {"type": "string", "minLength": 1, "maxLength": 500}
_SHARED: Schema = {
    "model": _MODEL,
    "temperature": _number("0 is greedy", 0, 2, 1.0),
    "top_p": _number("sample from the smallest set with this much probability", 0, 1, 1.0, above=True),
    "top_k": _integer("sample from the k most probable tokens; 0 is off", 0, 10_000_000),
    "min_p": _number("leave out tokens below this share of the most probable one", 0, 1),
    "repetition_penalty": _number("scores of tokens seen before are divided by it; 1 is off", 0, 10, 1.0, above=True),
    "presence_penalty": _number("taken off the scores of tokens written before", -2, 2, 0.0),
    "frequency_penalty": _number("taken off once for every time a token was written", -2, 2, 0.0),
    "seed": _integer("the same seed gives the same tokens; random if absent", -(2**63), MAX_SEED),
    "max_tokens": _integer("write at most this many tokens", 1, _MAX_TOKENS),
    "n": _integer("how many answers to write", 1, MAX_COPIES, 1),
    "stop": {
        "anyOf": [_STOP_TEXT, {"type": "array", "maxItems": 16, "items": _STOP_TEXT}, {"type": "null"}],
        "description": "stop before writing one of these",
    },
    "stream": _boolean("send the answer piece by piece, as server-sent events"),
    "stream_options": {
        "type": ["object", "null"],
        "properties": {"include_usage": _boolean("end with a chunk that counts tokens")},
        "additionalProperties": False,
        "description": "only together with stream",
    },
    "logit_bias": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        "description": "token id to a number added to its score",
    },
    "user": {"type": ["string", "null"], "maxLength": 512, "description": "not used"},
    "metadata": {"type": ["object", "null"], "description": "not used"},
    "store": {"enum": [False, None], "description": "nothing is stored"},
}
_PART = {
    "type": "object",
    "properties": {"type": {"enum": ["text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_CALL = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "maxLength": 200},
        "type": {"enum": ["function"]},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 64}, "arguments": {"type": "string"}},
            "required": ["name", "arguments"],
        },
    },
    "required": ["function"],
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "maxItems": 1000, "items": _PART}]},
        "tool_calls": {
            "anyOf": [{"type": "null"}, {"type": "array", "maxItems": 64, "items": _CALL}],
        },
        "tool_call_id": {"type": ["string", "null"], "maxLength": 200},
    },
    "required": ["role"],
}
_MESSAGES = {
    "type": "array", "minItems": 1, "maxItems": _MAX_MESSAGES, "items": _MESSAGE, "description": "the conversation",
}  # fmt: skip
_TOOL = {
    "type": "object",
    "properties": {
        "type": {"enum": ["function"]},
        "function": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
                "description": {"type": ["string", "null"], "maxLength": 4096},
                "parameters": {"type": ["object", "null"]},
                "strict": {"type": ["boolean", "null"]},
            },
            "required": ["name"],
            "additionalProperties": False,
        },
    },
    "required": ["type", "function"],
}
_TOOL_CHOICE = {
    "anyOf": [
        {"enum": ["none", "auto", "required", None]},
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["function"]},
                "function": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            },
            "required": ["type", "function"],
        },
    ],
    "description": "auto: text or a call; required: a call",
}
_FORMAT = {
    "type": ["object", "null"],
    "properties": {
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "json_schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 64},
                "schema": {"type": ["object", "boolean"]},
                "description": {"type": ["string", "null"]},
                "strict": {"type": ["boolean", "null"]},
            },
            "required": ["schema"],
        },
    },
    "required": ["type"],
    "description": "text, any JSON object, or JSON that fits a schema",
}
CHAT: Schema = {
    "type": "object",
    "properties": {
        **_SHARED,
        "messages": _MESSAGES,
        "max_completion_tokens": _SHARED["max_tokens"],
        "logprobs": _boolean("report the log probability of every token"),
        "top_logprobs": _integer("and of the most probable ones; needs logprobs", 0, MAX_LOGPROBS),
        "response_format": _FORMAT,
        "tools": {"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 64, "items": _TOOL}]},
        "tool_choice": _TOOL_CHOICE,
        "parallel_tool_calls": _boolean("an answer holds one call at most", default=True),
    },
    "required": ["model", "messages"],
    "additionalProperties": False,
}
_IDS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": 2**31}}
_TEXTS = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": {"type": "string"}},
        _IDS,
        {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": _IDS},
    ]
}
COMPLETION: Schema = {
    "type": "object",
    "properties": {
        **_SHARED,
        "prompt": _TEXTS,
        "echo": _boolean("put the prompt in front of the answer"),
        "logprobs": _integer("report so many of the most probable tokens", 0, MAX_LOGPROBS),
        "best_of": {"enum": [1, None]},
        "suffix": {"enum": [None, ""]},
    },
    "required": ["model", "prompt"],
    "additionalProperties": False,
}
EMBEDDING: Schema = {
    "type": "object",
    "properties": {
        "model": _MODEL,
        "input": _TEXTS,
        "encoding_format": {"enum": ["float", "base64", None]},
        "dimensions": _integer("must be the width of the model", 1, 1_000_000),
        "user": _SHARED["user"],
    },
    "required": ["model", "input"],
    "additionalProperties": False,
}
TOKENIZE: Schema = {
    "type": "object",
    "properties": {"model": _MODEL, "text": _text("what to count"), "messages": _MESSAGES},
    "required": ["model"],
    "additionalProperties": False,
}


def parsed(data: bytes) -> Any:
    """请求的 JSON。

    Raises:
        ApiError: 不是 UTF-8 的 JSON，套得太深，或有 NaN、无穷。
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        why = "it nests too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise ApiError(400, f"the body is not JSON: {why}", code="invalid_json") from error


def checked(value: Any, schema: Schema) -> dict[str, Any]:
    """合 ``schema`` 的请求；值为 null 的字段等于没有给。

    Raises:
        ApiError: 第一处不合。
    """
    if isinstance(value, dict):
        unknown = sorted(name for name in value if name not in schema["properties"])
        if unknown:
            name = unknown[0][:80]
            raise ApiError(400, f"unknown field {name!r}", param=name, code="unknown_parameter")
    try:
        problem = first_problem(value, schema)
    except RecursionError as error:
        raise ApiError(400, "the request nests too deeply", code="invalid_value") from error
    if problem:
        path, _, what = problem.partition(": ")
        param = path.removeprefix("$").removeprefix(".")[:200] or None
        raise ApiError(400, f"{param or 'the body'}: {what[:300]}", param=param, code="invalid_value")
    return {name: one for name, one in value.items() if one is not None}


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large")
    return value


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
