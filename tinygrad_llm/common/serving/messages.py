"""请求里的消息变成 ``Conversation``：相邻的同一个人的话并成一句，工具的调用与结果写成文字。

流入：查过的 ``messages`` 与工具；流出：``Conversation``。一切都只是文字，角色由模板的特殊 token 划开。
下一个文件：``wanted.py``。
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tinygrad_llm.common.chat.conversation import Conversation, Message, Role
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.errors import ApiError, as_api_error
from tinygrad_llm.common.tokenizers.interface import well_formed

__all__ = ["conversation_of"]

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "user",
}  # fmt: skip
_BETWEEN = "\n\n"
_TOOLS = """\
You can call these functions. To call one, answer with nothing but a JSON object of the form \
{"name": "the name", "arguments": {...}}.
"""


def conversation_of(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> Conversation:
    """检查过次序的对话；``tools`` 写进开头的 system。

    Raises:
        ApiError: 次序不对，有空的话，或最后一句不是 user 的。
    """
    found: list[Message] = []
    if tools:
        functions = [tool["function"] for tool in tools]
        found.append(Message("system", _TOOLS + json.dumps(functions, ensure_ascii=False)))
    for number, one in enumerate(messages):
        role, text = _ROLES[one["role"]], _text_of(one)
        if not text.strip():
            raise ApiError(400, f"messages[{number}] is empty", param=f"messages[{number}]", code="invalid_value")
        if found and found[-1].role == role:
            found[-1] = Message(role, found[-1].content + _BETWEEN + text)
        else:
            found.append(Message(role, text))
    try:
        conversation = Conversation(tuple(found))
    except UserError as error:
        raise as_api_error(error, "messages", "invalid_value") from error
    if found[-1].role != "user":
        raise ApiError(400, "the last message must come from user or tool", param="messages", code="invalid_value")
    return conversation


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    text = content or ""
    for call in message.get("tool_calls") or ():
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            arguments = function["arguments"]
        written = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        text = f"{text}\n{written}" if text else written
    if message["role"] == "tool":
        text = f"The function returned:\n{text}"
    return well_formed(text)
