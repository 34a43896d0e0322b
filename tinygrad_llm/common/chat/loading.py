"""从文件读对话：自己的格式、ShareGPT 与 Alpaca，各行自己认。

流入：JSON lines 文件（可以压缩成 ``.gz`` 或 ``.zst``），或整个是一个数组的 JSON 文件；流出：一个个 ``Conversation``。
下一个文件：``templates.py``。

===========  ============================================================================
自己的格式    ``{"messages": [{"role": "user", "content": "…"}, …]}``
ShareGPT     ``{"conversations": [{"from": "human", "value": "…"}, …]}``
Alpaca       ``{"instruction": "…", "input": "…", "output": "…"}``，``input`` 可以没有
===========  ============================================================================
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tinygrad_llm.common.chat.conversation import Conversation, Message, Role, order_problem
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.corpora.opening import BROKEN_STREAM, explain, open_bytes
from tinygrad_llm.common.corpora.text_files import decoded, unix_newlines

__all__ = ["MAX_ARRAY_BYTES", "conversation_of", "load_conversations", "load_records"]

Record = TypeVar("Record")

MAX_ARRAY_BYTES = 1 << 30  # 数组只能整个读进内存；更大的应写成 JSON lines
SPEAKERS: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
}
_BEFORE_JSON = codecs.BOM_UTF8 + b" \t\r\n"
INPUT_HEADING = "\n\n### Input:\n"
_ONE_A_LINE = "write one conversation a line"
_FORMATS = 'use {"messages": [{"role": ..., "content": ...}]}, ShareGPT or Alpaca records'


def load_conversations(path: Path, faults: Faults | None = None) -> Iterator[Conversation]:
    """逐个读出对话。

    Args:
        path: 文件。
        faults: 坏输入的处置；不给时遇到第一处就停下。

    Yields:
        各次对话，出处是「文件:行号」；空行略去。

    Raises:
        DataError: 打不开、坏了，或某一行不是一次合法的对话，而 ``faults`` 不许略过。
    """
    return load_records(path, conversation_of, faults or Faults(offers_skip=False))


def load_records(path: Path, read: Callable[[object, str], Record], faults: Faults) -> Iterator[Record]:
    """逐条读出记录，一行一条，或整个文件是一个数组。

    Args:
        path: 文件。
        read: 由解析好的 JSON 与出处「文件:行号」得到一条记录；坏的抛出 ``BadInput``。
        faults: 坏输入的处置。

    Yields:
        各条记录；空行略去。

    Raises:
        DataError: 打不开、坏了，或某一条是坏的，而 ``faults`` 不许略过。
    """
    number = offset = 0
    try:
        with open_bytes(path) as stream:
            line = stream.readline()
            if line.lstrip(_BEFORE_JSON).startswith(b"["):
                line += stream.read(MAX_ARRAY_BYTES)
            while line:
                number += 1
                yield from _records(line, offset, path, number, read, faults)
                offset += len(line)
                line = stream.readline()
    except BROKEN_STREAM as error:
        faults.take(explain(error), path, number + 1 if number else None)


def _records(
    line: bytes, offset: int, path: Path, number: int, read: Callable[[object, str], Record], faults: Faults
) -> Iterator[Record]:
    """一行里的记录：通常一条；整个文件是一个数组时，各项的行号写作它是第几项。"""
    try:
        value = _parsed(decoded(line, offset))
    except BadInput as bad:
        return faults.take(bad, path, number)
    for item, record in enumerate(value if isinstance(value, list) else [value], start=number):
        if record is None:  # 空行
            continue
        try:
            yield read(record, f"{path}:{item}")
        except BadInput as bad:
            faults.take(bad, path, item)


def _parsed(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"malformed JSON at column {error.colno}: {error.msg}"
        raise BadInput(problem, "repair the line; write one JSON object a line", "malformed JSON") from error
    except (ValueError, RecursionError) as error:
        problem = "malformed JSON: nested too deeply, or a number too long"
        raise BadInput(problem, "repair the line", "malformed JSON") from error


def conversation_of(record: object, source: str = "") -> Conversation:
    """一条记录变成对话；格式由它有哪些字段认出。

    Args:
        record: 解析好的 JSON。
        source: 出处。

    Returns:
        对话。

    Raises:
        BadInput: 不是三种格式之一，或次序不对。
    """
    if not isinstance(record, dict):
        raise BadInput("the line does not hold a JSON object", f"{_ONE_A_LINE}; {_FORMATS}", "not an object")
    if "messages" in record:
        messages = _messages(record, "messages", "role", "content")
    elif "conversations" in record:
        messages = _messages(record, "conversations", "from", "value")
    elif "instruction" in record:
        messages = _alpaca(record)
    else:
        found = ", ".join(str(name)[:40] for name in list(record)[:8]) or "none"
        raise BadInput(f"no conversation in the record; its fields: {found}", _FORMATS, "no conversation")
    if problem := order_problem(messages):
        order = "order: optional system, then user, assistant, user, ..."
        raise BadInput(problem, order, "wrong order, or an empty message")
    return Conversation(tuple(messages), source)


def _messages(record: dict[str, Any], field: str, who: str, what: str) -> list[Message]:
    turns = record[field]
    if not isinstance(turns, list):
        raise BadInput(f'"{field}" is not a list', _FORMATS, "malformed message")
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get(who), str) or not isinstance(turn.get(what), str):
            problem = f'message {number} needs the strings "{who}" and "{what}"'
            raise BadInput(problem, "repair the record", "malformed message")
        if turn[who] not in SPEAKERS:
            problem = f"message {number} is from {turn[who][:40]!r}; known: {', '.join(SPEAKERS)}"
            raise BadInput(problem, "rename the role", "unknown role")
        messages.append(Message(SPEAKERS[turn[who]], unix_newlines(turn[what])))
    return messages


def _alpaca(record: dict[str, Any]) -> list[Message]:
    """指令与输入合成一问；``system`` 一栏可有可无。"""
    texts: dict[str, str] = {}
    for name in ("system", "instruction", "input", "output"):
        if name == "output" and name not in record:
            raise BadInput('the field "output" is missing', "repair the record", "missing field")
        value = record.get(name) or ""
        if not isinstance(value, str):
            raise BadInput(f'"{name}" is not a string', "repair the record", "malformed message")
        texts[name] = unix_newlines(value)
    question = texts["instruction"] + (INPUT_HEADING + texts["input"] if texts["input"] else "")
    head: list[Message] = [Message("system", texts["system"])] if texts["system"] else []
    return [*head, Message("user", question), Message("assistant", texts["output"])]
