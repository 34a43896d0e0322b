"""对话：谁说了什么，次序对不对。

流入：角色与文字；流出：检查过的 ``Conversation``。下一个文件：``templates.py``（每个角色的话前后放什么）。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tinygrad_llm.common.errors import UserError

__all__ = ["ROLES", "Conversation", "Message", "Role", "order_problem"]

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """一句话。

    Attributes:
        role: 谁说的：``"system"``、``"user"`` 或 ``"assistant"``。
        content: 说了什么；无论写着什么，都只是文字。
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """一次对话；构造时就查次序：可选的一句 system，然后 user 与 assistant 轮流，由 user 开头。

    Attributes:
        messages: 各句话，由早到晚。
        source: 出处，``"文件:行号"`` 一类，写进消息；可以为空。

    Raises:
        UserError: 空的对话、空的话、不认识的角色，或次序不对。
    """

    messages: tuple[Message, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if problem := order_problem(self.messages):
            raise UserError(problem, where=self.source, fix="order: optional system, then user, assistant, user, ...")

    @property
    def system(self) -> Message | None:
        """开头的 system；没有则为 None。"""
        return self.messages[0] if self.messages[0].role == "system" else None

    @property
    def turns(self) -> tuple[Message, ...]:
        """System 之外的各句话。"""
        return self.messages[1:] if self.system else self.messages


def order_problem(messages: Sequence[Message]) -> str:
    """第一处不合次序的地方，一句英文；空串表示没有。"""
    if not messages:
        return "the conversation is empty"
    previous = ""
    for number, message in enumerate(messages, start=1):
        if message.role not in ROLES:
            return f"message {number} has the unknown role {str(message.role)[:40]!r}; the roles are {', '.join(ROLES)}"
        if not message.content.strip():
            return f"message {number} ({message.role}) is empty"
        if message.role == "system" and number > 1:
            return f"message {number} is a system message; only the first message may be one"
        expected = "user" if previous in ("", "system", "assistant") else "assistant"
        if message.role not in (expected, "system"):
            after = f"after {previous}" if previous else "at the start"
            return f"message {number} is from {message.role}, expected {expected} {after}"
        previous = message.role
    return "the conversation holds only a system message" if previous == "system" else ""
