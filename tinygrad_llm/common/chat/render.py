"""把对话变成 id 与损失掩码：哪些 id 要学，哪些只是上下文。

流入：``Conversation``、分词器与模板；流出：``Rendered``。下一个文件：``coloured.py``（看看训练的是哪些字）。

编码的单位是「段」：一个特殊 token，或一段不透明的文字。相邻的文字合成一段再编码，只有一处例外：assistant 的话
总是另起一段，因为生成时模型正是从那里接着写的。于是提示的 id 必是整个对话的 id 的前缀，也与要学哪些 id 无关。
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tinygrad_llm.common.chat.conversation import Conversation, Message
from tinygrad_llm.common.chat.templates import OURS, Part, Special, Template
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["ConversationTooLongError", "Rendered", "Segment", "TrainOn", "render", "render_prompt"]

TrainOn = Literal["assistant", "last", "all"]


class ConversationTooLongError(UserError):
    """去掉了能去掉的轮次，对话仍然太长。"""


@dataclass(frozen=True, slots=True)
class Segment:
    """一段：``ids[start:stop]`` 的来历。

    Attributes:
        text: 原文；特殊 token 则是它的名字。
        is_special: 是不是特殊 token。
        is_trained: 是否计入损失。
        start: 从第几个 id 起。
        stop: 到第几个 id 之前。
    """

    text: str
    is_special: bool
    is_trained: bool
    start: int
    stop: int


@dataclass(frozen=True)
class Rendered:
    """渲染好的对话。

    Attributes:
        ids: 全部 id。
        loss_mask: 与 ``ids`` 等长；为真的 id 要由它前面的 id 预测出来，计入损失。
        segments: 各段，首尾相接。
        dropped_turns: 为了不超长，从左边去掉了几句话。
    """

    ids: list[int]
    loss_mask: list[bool]
    segments: list[Segment]
    dropped_turns: int = 0


def render(
    conversation: Conversation,
    tokenizer: TextTokenizer,
    template: Template = OURS,
    *,
    train_on: TrainOn = "assistant",
    max_tokens: int | None = None,
) -> Rendered:
    """整个对话，供训练；每句 assistant 的话以恰好一个结束 token 收尾。

    太长时从左边去掉整轮的一问一答，system 与最后一轮总是留着；从不在一句话的中间切断。

    Args:
        conversation: 对话，至少有一句 assistant 的话。
        tokenizer: 分词器，须有模板用到的特殊 token。
        template: 模板。
        train_on: 学哪些 id：``"assistant"`` 学每句 assistant 的话与它的结束 token，``"last"`` 只学最后一句，
            ``"all"`` 学全部。
        max_tokens: 至多几个 id；None 不限。

    Returns:
        id、掩码与各段。

    Raises:
        UserError: 没有 assistant 的话，或分词器缺少特殊 token。
        ConversationTooLongError: 只剩最后一轮仍超长。
    """
    answers = [index for index, message in enumerate(conversation.messages) if message.role == "assistant"]
    if not answers:
        raise UserError(
            "the conversation has no assistant message to train on",
            where=conversation.source,
            fix="add the reply, or use render_prompt to generate one",
        )
    last_user = sum(message.role == "user" for message in conversation.messages[: answers[-1]])
    return _fitted(conversation, tokenizer, template, train_on, max_tokens, last_user - 1)


def render_prompt(
    conversation: Conversation,
    tokenizer: TextTokenizer,
    template: Template = OURS,
    *,
    max_tokens: int | None = None,
) -> Rendered:
    """对话到 assistant 该开口之处，供生成；结尾是 assistant 的开头标记，掩码全为假。

    Args:
        conversation: 对话，最后一句须是 user 的。
        tokenizer: 分词器。
        template: 模板。
        max_tokens: 至多几个 id；太长时去掉最早的几轮，同 ``render``。

    Returns:
        id、掩码与各段。

    Raises:
        UserError: 最后一句不是 user 的，或分词器缺少特殊 token。
        ConversationTooLongError: 只剩最后一句仍超长。
    """
    if conversation.messages[-1].role != "user":
        raise UserError(
            f"the conversation ends with {conversation.messages[-1].role}, a prompt must end with user",
            where=conversation.source,
            fix="drop the last message, or use render to train on it",
        )
    users = sum(message.role == "user" for message in conversation.messages)
    return _fitted(conversation, tokenizer, template, None, max_tokens, users - 1)


def _fitted(
    conversation: Conversation,
    tokenizer: TextTokenizer,
    template: Template,
    train_on: TrainOn | None,
    max_tokens: int | None,
    droppable: int,
) -> Rendered:
    """去掉最少的轮次使长度合格；去得越多越短，所以用二分。``train_on`` 为 None 时写成提示，什么都不学。"""
    _check_specials(tokenizer, template)

    def attempt(dropped: int) -> Rendered:
        head = (conversation.system,) if conversation.system else ()
        messages = [*head, *conversation.turns[2 * dropped :]]
        writer = _Writer(tokenizer)
        for text, is_trained in _segments(messages, template, train_on):
            writer.add(text, is_trained)
        return Rendered(writer.ids, writer.loss_mask, writer.segments, 2 * dropped)

    whole = attempt(0)
    if max_tokens is None or len(whole.ids) <= max_tokens:
        return whole
    dropped = 1 + bisect_left(range(1, droppable + 1), True, key=lambda count: len(attempt(count).ids) <= max_tokens)
    shortest = attempt(min(dropped, droppable))
    if len(shortest.ids) > max_tokens:
        raise ConversationTooLongError(
            f"the conversation has {len(shortest.ids)} tokens even without its older turns, the limit is {max_tokens}",
            where=conversation.source,
            fix="raise the limit, shorten the messages, or skip this conversation",
        )
    return shortest


def _segments(messages: list[Message], template: Template, train_on: TrainOn | None) -> Iterator[tuple[Part, bool]]:
    """各段与它是否要学；相邻的文字已合成一段，assistant 的话另起一段。"""
    if template.default_system and messages[0].role != "system":
        messages = [Message("system", template.default_system), *messages]
    final = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    context: list[Part] = []  # 尚未给出的、不是 assistant 所写的零件
    for i, message in enumerate(messages):
        turn = template.turns[message.role]
        if message.role == "assistant":
            is_trained = i == final if train_on == "last" else train_on is not None
            yield from _joined([*context, *turn.before], train_on == "all")
            yield from _joined([message.content, *turn.end], is_trained)
            context = [*turn.after]
        else:
            context += [*turn.before, message.content, *turn.end, *turn.after]
    if train_on is None:
        context += template.turns["assistant"].before
    yield from _joined(context, train_on == "all")


def _joined(parts: list[Part], is_trained: bool) -> Iterator[tuple[Part, bool]]:
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text, is_trained
        yield part, is_trained
        text = ""
    if text:
        yield text, is_trained


class _Writer:
    """逐段写下 id、掩码与来历；文字只经 ``encode``，特殊 id 只经 ``special``。"""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.loss_mask: list[bool] = []
        self.segments: list[Segment] = []

    def add(self, part: Part, is_trained: bool) -> None:
        """写下一段。"""
        is_special = isinstance(part, Special)
        ids = [self.tokenizer.special(part.name)] if isinstance(part, Special) else self.tokenizer.encode(part)
        text = part.name if isinstance(part, Special) else part
        start = len(self.ids)
        self.ids += ids
        self.loss_mask += [is_trained] * len(ids)
        self.segments.append(Segment(text, is_special, is_trained, start, len(self.ids)))


def _check_specials(tokenizer: TextTokenizer, template: Template) -> None:
    missing = [name for name in template.specials if name not in tokenizer.specials]
    if missing:
        raise UserError(
            f"the tokenizer lacks the special tokens of the {template.name} template: {' '.join(missing)}",
            fix="add them: python -m tinygrad_llm tokenizer convert OLD NEW --add "
            + " ".join(f"'{name}'" for name in missing),
        )
