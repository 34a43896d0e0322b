"""一批提问得到一批回答：用成批的解码器，几个对话一起写。

流入：分词器、模板、成批的解码器与提问；流出：回答。哪个引擎都行。下一个文件：``suite.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_llm.common.chat.conversation import Conversation, Message
from tinygrad_llm.common.chat.render import ConversationTooLongError, render_prompt
from tinygrad_llm.common.chat.templates import Template
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["GREEDY", "Speaker", "answers", "conversation", "stop_ids", "texts_of"]

GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Speaker:
    """会对话的模型。

    Attributes:
        tokenizer: 分词器。
        template: 对话模板。
        decoder: 成批的解码器，独用。
    """

    tokenizer: TextTokenizer
    template: Template
    decoder: BatchDecoder


def conversation(prompt: str, system: str = "") -> Conversation:
    """一问；``system`` 为空就没有守则。"""
    head = (Message("system", system),) if system.strip() else ()
    return Conversation((*head, Message("user", prompt)))


def answers(
    speaker: Speaker, asked: Sequence[Conversation], max_tokens: int = 48, sampling: Sampling = GREEDY
) -> list[str | None]:
    """各问的回答。

    Args:
        speaker: 模型。
        asked: 各次对话，以 user 结尾。
        max_tokens: 一次回答至多几个 token。
        sampling: 怎样挑；缺省总取概率最大的。

    Returns:
        与 ``asked`` 一一对应；装不进上下文的一问没有回答，为 ``None``。
    """
    ids: list[list[int] | None] = []
    for one in asked:
        try:
            room = speaker.decoder.context - 2
            ids.append(render_prompt(one, speaker.tokenizer, speaker.template, max_tokens=room).ids)
        except ConversationTooLongError:
            ids.append(None)
    stop = stop_ids(speaker)
    requests = [None if one is None else Request(tuple(one), max_tokens, sampling, stop_ids=stop) for one in ids]
    found = iter(texts_of(speaker.decoder, speaker.tokenizer, [one for one in requests if one is not None]))
    return [None if request is None else next(found) for request in requests]


def texts_of(decoder: BatchDecoder, tokenizer: TextTokenizer, requests: Sequence[Request]) -> list[str]:
    """各个请求写出的文字，次序不变；解码器独用。

    Raises:
        UserError: 有一个走不下去。
    """
    scheduler = Scheduler(decoder, tokenizer)
    numbers = [scheduler.submit(request) for request in requests]
    texts = dict.fromkeys(numbers, "")
    for event in scheduler.run():
        if event.error is not None:
            raise event.error
        if event.step is not None:
            texts[event.id] += event.step.text
    return [texts[number] for number in numbers]


def stop_ids(speaker: Speaker) -> frozenset[int]:
    """说完了的标记：模板的与文本结束的。"""
    names = {speaker.template.stop, END_OF_TEXT} & set(speaker.tokenizer.specials)
    return frozenset(speaker.tokenizer.special(name) for name in names)
