"""``openai`` 的客户端原样可用：对话、逐段、对数概率、几份、停止串、工具、向量，与各种错误。

流入：``openai`` 的调用；流出：与它自己的类型不符之处。
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from parity_tests.serving.echo import TOKENIZER, Opener
from parity_tests.serving.running import Running, running

openai = pytest.importorskip("openai")
CITY = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 5}},
            "required": ["city"],
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Any]:
    """指向这台服务器，别的都是缺省。"""
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as found:
        yield found


def ask(client: Any, text: str, **more: Any) -> Any:
    """问一句。"""
    return client.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}], **more)


def test_a_chat_is_not_what_the_client_expects(client: Any) -> None:
    """对话的回答、停下的原因或 token 数不对。"""
    found = ask(client, "你好 there")
    assert found.choices[0].message.content == "你好 there"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.completion_tokens == len("你好 there".encode()) + 1
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_a_stream_differs_from_the_whole_answer(client: Any) -> None:
    """逐段的各段接起来与整份的不同，有半个字，或末尾没有 token 数。"""
    text = "naïve 中文 🙂 end"
    parts = list(ask(client, text, stream=True, stream_options={"include_usage": True}))
    contents = [part.choices[0].delta.content or "" for part in parts if part.choices]
    assert "".join(contents) == text
    assert all("�" not in content for content in contents)
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == "stop"
    assert parts[-1].usage.completion_tokens == len(text.encode()) + 1


def test_logprobs_do_not_describe_the_answer(client: Any) -> None:
    """对数概率与文字对不上，候选没有由大到小，或停止 token 混在里面。"""
    content = ask(client, "abc", logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert "".join(one.token for one in content) == "abc"
    for one in content:
        assert one.logprob <= 0
        assert [top.logprob for top in one.top_logprobs] == sorted((t.logprob for t in one.top_logprobs), reverse=True)
        assert one.top_logprobs[0].token == one.token
        assert bytes(one.bytes).decode() == one.token


def test_streamed_logprobs_differ_from_the_whole(client: Any) -> None:
    """逐段的对数概率接起来，与整份的不是同一串。"""
    parts = list(ask(client, "é中x", stream=True, logprobs=True, top_logprobs=1))
    streamed = [one for part in parts if part.choices[0].logprobs for one in part.choices[0].logprobs.content]
    whole = ask(client, "é中x", logprobs=True, top_logprobs=1).choices[0].logprobs.content
    assert [one.model_dump() for one in streamed] == [one.model_dump() for one in whole]


def test_n_answers_share_or_lose_their_index(client: Any) -> None:
    """要三份，少了一份，或次序不对；逐段时混在一起。"""
    found = ask(client, "xyz", n=3)
    assert [(one.index, one.message.content) for one in found.choices] == [(i, "xyz") for i in range(3)]
    texts = dict.fromkeys(range(3), "")
    for part in ask(client, "xyz", n=3, stream=True):
        texts[part.choices[0].index] += part.choices[0].delta.content or ""
    assert set(texts.values()) == {"xyz"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_is_shown(client: Any, stream: bool) -> None:
    """停止串（或它的开头）写了出来，或它的 token 留在对数概率里。"""
    found = ask(client, "one two three", stop=["two", "never"], logprobs=True, stream=stream)
    choices = [part.choices[0] for part in found] if stream else found.choices
    said = "".join((one.delta if stream else one.message).content or "" for one in choices)
    tokens = "".join(one.token for choice in choices if choice.logprobs for one in choice.logprobs.content)
    assert said == tokens == "one "
    assert choices[-1].finish_reason == "stop"


def test_max_tokens_is_not_respected(client: Any) -> None:
    """两种写法的上限没有起作用。"""
    for name in ("max_tokens", "max_completion_tokens"):
        found = ask(client, "abcdef", **{name: 3})
        assert (found.choices[0].message.content, found.choices[0].finish_reason) == ("abc", "length")


def test_a_seed_does_not_repeat_itself(server: Running) -> None:
    """同一个种子写出不同的文字，或不同的种子写出同样的。"""
    opener = Opener()
    with running(opener, slots=2) as other:
        opener.decoders[0].sharpness = 3.0
        said = [other.chat("a" * 40, seed=seed, max_tokens=40)[1]["choices"][0]["message"] for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_json_answers_are_not_json(client: Any) -> None:
    """``response_format`` 要 JSON，写出来的不是，或不合 schema。"""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    found = json.loads(ask(client, "not json", response_format=wanted, temperature=0).choices[0].message.content)
    assert set(found) == {"ok"}
    assert isinstance(found["ok"], bool)
    said = ask(client, "{}", response_format={"type": "json_object"}).choices[0].message.content
    assert json.loads(said) == {}


def test_a_tool_call_is_not_a_call(client: Any) -> None:
    """指名要调用，得到的不是合 schema 的调用；逐段的与整份的不同。"""
    arguments = {"temperature": 0, "tools": [CITY], "tool_choice": "required"}
    found = ask(client, "zzz", **arguments)
    call = found.choices[0].message.tool_calls[0]
    assert (found.choices[0].finish_reason, call.function.name) == ("tool_calls", "weather")
    assert len(json.loads(call.function.arguments)["city"]) <= 5
    deltas = [part.choices[0].delta for part in ask(client, "zzz", stream=True, **arguments)]
    streamed = [one for delta in deltas for one in delta.tool_calls or []]
    assert [one.function.arguments for one in streamed] == [call.function.arguments]
    assert not any(delta.content for delta in deltas)


def test_auto_tools_lose_an_ordinary_answer(client: Any) -> None:
    """可以不调用时，普通的文字没有原样给出；或写成调用的没有认出。"""
    history = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}},
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
    ]  # fmt: skip
    found = client.chat.completions.create(model="echo", messages=history, tools=[CITY], temperature=0)
    assert found.choices[0].message.content == "The function returned:\nrain"
    call = '{"name": "weather", "arguments": {"city": "Bern"}}'
    said = ask(client, call, tools=[CITY], temperature=0).choices[0]
    assert (said.finish_reason, said.message.content) == ("tool_calls", None)


def test_completions_differ_from_the_prompt_asked(client: Any) -> None:
    """续写：几个开头混了，echo 没有起作用，或 id 的开头与文字的开头不同。"""
    found = client.completions.create(model="echo", prompt=["aaaa", "bbbb"], max_tokens=3, echo=True, n=2)
    assert [one.text for one in found.choices] == ["aaaaaaa"] * 2 + ["bbbbbbb"] * 2
    ids = TOKENIZER.encode("aaaa")
    same = client.completions.create(model="echo", prompt=ids, max_tokens=2, logprobs=2, temperature=0)
    assert same.choices[0].text == "aa"
    assert same.choices[0].logprobs.tokens == ["a", "a"]
    assert "".join(part.choices[0].text for part in client.completions.create(
        model="echo", prompt="cc", max_tokens=4, stream=True)) == "cccc"  # fmt: skip


def test_embeddings_are_not_unit_means(client: Any) -> None:
    """向量不是末层特征的平均、长度不是 1，或 base64 与小数的不同。"""
    found = client.embeddings.create(model="echo", input=["ab", "b"])  # 客户端自己要的是 base64
    first, second = (one.embedding for one in found.data)
    assert math.isclose(sum(x * x for x in first), 1, rel_tol=1e-6)
    assert math.isclose(sum(x * y for x, y in zip(first, second, strict=True)), math.sqrt(0.5), rel_tol=1e-6)
    plain = client.embeddings.create(model="echo", input=["ab", "b"], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(first)


def test_models_are_not_listed(client: Any) -> None:
    """模型没有列出，或取不到其中一个。"""
    assert [one.id for one in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").context_length == 512


@pytest.mark.parametrize(
    ("change", "kind", "param"),
    [
        ({"temperature": 9}, "BadRequestError", "temperature"),
        ({"n": 99}, "BadRequestError", "n"),
        ({"model": "other"}, "NotFoundError", "model"),
        ({"messages": [{"role": "user", "content": "x" * 600}]}, "BadRequestError", "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "BadRequestError", "messages"),
        ({"extra_body": {"nonsense": 1}}, "BadRequestError", "nonsense"),
        ({"tools": [CITY, CITY]}, "BadRequestError", "tools"),
        ({"top_logprobs": 3}, "BadRequestError", "top_logprobs"),
    ],
)
def test_errors_are_not_the_clients_own(client: Any, change: dict[str, Any], kind: str, param: str) -> None:
    """错误不是客户端认得的那一类，或没有指出是哪一项。"""
    call = {"model": "echo", "messages": [{"role": "user", "content": "x"}], **change}
    with pytest.raises(getattr(openai, kind)) as caught:
        client.chat.completions.create(**call)
    assert caught.value.param == param
    assert caught.value.request_id.startswith("req_")
