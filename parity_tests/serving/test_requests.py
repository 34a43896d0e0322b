"""请求的每一项都查过：数有上下限，没见过的字段不收；乱来的请求只得到 2xx 或 4xx，下一个好的照常回答。

流入：按 schema 变出来的好请求与坏请求；流出：收错了的，或答 5xx 的。
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest

from parity_tests.serving.echo import TOKENIZER, EchoSlots, opened
from parity_tests.serving.running import Running
from parity_tests.serving.test_gate import is_error
from tinygrad_llm.common.chat.templates import TEMPLATES
from tinygrad_llm.common.serving.app import all_routes
from tinygrad_llm.common.serving.errors import ApiError
from tinygrad_llm.common.serving.messages import conversation_of
from tinygrad_llm.common.serving.openapi import openapi
from tinygrad_llm.common.serving.routes import ROUTES
from tinygrad_llm.common.serving.schemas import CHAT, COMPLETION, EMBEDDING, checked, parsed
from tinygrad_llm.common.serving.served import Served

GOOD = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
NUMBERS = [
    (name, one) for name, one in {**CHAT["properties"], **COMPLETION["properties"]}.items()
    if isinstance(one, dict) and {"number", "integer"} & set(one.get("type", ()))
]  # fmt: skip
SPLICED = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "full" else 200
FUZZED = 3000 if os.environ.get("HYPOTHESIS_PROFILE") == "full" else 200


@pytest.mark.parametrize(("name", "schema"), NUMBERS, ids=[name for name, _ in NUMBERS])
def test_a_number_is_taken_out_of_its_range(name: str, schema: dict[str, Any]) -> None:
    """一个数没有上下限，或收下了界外的、布尔值、NaN、无穷、字符串、天文数字。"""
    low = schema["minimum" if "minimum" in schema else "exclusiveMinimum"]
    wrong = [low - 1, schema["maximum"] + 1, True, False, "1", [1], {}, 10**400]
    wrong += [low] if "exclusiveMinimum" in schema else []
    wrong += [0.5] if "integer" in schema["type"] and name != "seed" else []
    whole = {**CHAT, "properties": {**CHAT["properties"], **COMPLETION["properties"]}}
    for value in wrong:
        with pytest.raises(ApiError) as caught:
            checked({**GOOD, name: value}, whole)
        assert (caught.value.status, caught.value.param) == (400, name)
    assert checked({**GOOD, name: schema["maximum"]}, whole)[name] == schema["maximum"]
    assert name not in checked({**GOOD, name: None}, whole)


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "[" * 100_000, "{", "", "\x00", '"\udc80']
)
def test_a_body_that_is_not_json_is_taken(text: str) -> None:
    """不是 JSON、有 NaN 或无穷、套得太深的请求体，没有以 400 拒绝。"""
    with pytest.raises(ApiError) as caught:
        parsed(text.encode("utf-8", "surrogateescape"))
    assert caught.value.status == 400


def test_the_description_differs_from_the_routes(server: Running) -> None:
    """``/openapi.json`` 里的路由与真的不同，或 schema 不是查请求的那一份。"""
    document = server.request("GET", "/openapi.json")[1]
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert described == {(one.path, one.method) for one in ROUTES}
    real = {(one.path, one.method) for one in all_routes(server.api)}
    assert described <= real
    assert all(path == "/" or path == "/openapi.json" or path.startswith("/page/") for path, _ in real - described)
    assert document == json.loads(json.dumps(openapi(ROUTES, server.api.version)))
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert chat == json.loads(json.dumps(CHAT))


def nested(depth: int) -> dict[str, Any]:
    """套了许多层的 schema。"""
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"items": found}
    return found


@pytest.mark.parametrize("depth", [200, 460, 900])
def test_a_deep_or_broken_name_breaks_the_server(server: Running, depth: int) -> None:
    """套得很深的 schema、写不成 UTF-8 的名字，答了 5xx。"""
    tool = {"type": "function", "function": {"name": "f", "parameters": nested(depth)}}
    wanted = {"type": "json_schema", "json_schema": {"schema": nested(depth)}}
    for more in (
        {"tools": [tool]},
        {"response_format": wanted},
        {"\ud800": 1},
        {"model": "\ud800"},
        {"stop": "\ud800"},
    ):
        status, body, _ = server.request("POST", "/v1/chat/completions", {**GOOD, **more})
        assert status in ((200,) if "stop" in more else (400, 404)), body
        assert status == 200 or is_error(body)


PIECES = [
    *TOKENIZER.specials,
    *TEMPLATES["chatml"].specials,
    "<|",
    "|>",
    "<",
    "user",
    "\n",
    "中",
    "\ud800",
    "\x00",
    " a",
]


def test_text_becomes_a_special_token() -> None:
    """话里写着特殊 token 的名字，变成了特殊 token：换一个角色，或提前结束。"""
    served = Served("echo", opened(EchoSlots(1, 4096)), None)  # type: ignore[arg-type]
    rng = random.Random(16)
    for _ in range(SPLICED):
        texts = ["".join(rng.choices(PIECES, k=rng.randrange(1, 9))) for _ in range(5)]
        _assert_no_special(served, texts)


def _assert_no_special(served: Served, texts: list[str]) -> None:
    history: list[dict[str, Any]] = []
    for role, text in zip(("system", "user", "assistant", "tool"), texts, strict=False):
        history.append({"role": role, "content": text + "."})
    history[2]["tool_calls"] = [{"function": {"name": "f", "arguments": texts[4]}}]
    special = {TOKENIZER.special(name) for name in TOKENIZER.specials}
    ids = served.prompt(conversation_of(history, [{"function": {"name": "f", "description": texts[4]}}]))
    expected = ["<|system|>", "<|end|>", "<|user|>", "<|end|>", "<|assistant|>", "<|end|>", "<|user|>", "<|end|>"]
    assert [id for id in ids if id in special] == [TOKENIZER.special(name) for name in [*expected, "<|assistant|>"]]
    assert not special & set(served.text(texts[0], "prompt"))


def mutated(rng: random.Random, value: Any) -> Any:
    """换掉一处。"""
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        1e308,
        2**70,
        "",
        "x" * 300,
        [],
        {},
        [[]],
        {"type": "function"},
        "\ud800",
        "auto",
        [1, "a"],
    ]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        return {**value, name: mutated(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        i = rng.randrange(len(value))
        return [*value[:i], mutated(rng, value[i]), *value[i + 1 :]]
    return rng.choice(odd)


def fuzzed(rng: random.Random) -> tuple[str, str, bytes]:
    """一个乱来的请求。"""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [1, "a"]}}}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {
            **GOOD, "max_tokens": 3, "temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 3, "n": 2,
            "stop": ["a"], "logprobs": True, "top_logprobs": 2, "stream": False, "logit_bias": {"5": 1},
            **rng.choice([{"response_format": schema}, {"tools": [tool], "tool_choice": "auto"}, {}]),
        },
        "/v1/completions": {"model": "echo", "prompt": ["ab", "c"], "max_tokens": 2, "logprobs": 1},
        "/v1/embeddings": {"model": "echo", "input": ["a", "b"], "encoding_format": "float"},
        "/v1/tokenize": {"model": "echo", "text": "a"},
    }  # fmt: skip
    path = rng.choice(list(bodies))
    body = bodies[path]
    for _ in range(rng.randrange(1, 4)):
        body = mutated(rng, body)
    raw = json.dumps(body).encode()
    if rng.random() < 0.15:
        at = rng.randrange(len(raw) + 1)
        raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + rng.randrange(3) :]
    return rng.choice(["POST"] * 9 + ["PUT"]), path, raw


def test_a_wild_request_breaks_the_server(server: Running) -> None:
    """乱来的请求得到了 5xx、不成样子的错误，或此后好的请求得不到回答。"""
    rng = random.Random(7)
    statuses = set()
    for number in range(FUZZED):
        method, path, raw = fuzzed(rng)
        status, body, _ = server.request(method, path, raw)
        statuses.add(status)
        assert 200 <= status < 500, (raw, body)
        assert status < 300 or is_error(body), (raw, body)
        if number % 25 == 0:
            assert server.chat("still here")[1]["choices"][0]["message"]["content"] == "still here"
    assert {200, 400, 404, 405} <= statuses
    assert EMBEDDING["additionalProperties"] is False
    assert server.api.active == 0
