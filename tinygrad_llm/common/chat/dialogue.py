"""对话的进行中状态：说过什么，缓存里有什么，下一句怎样生成。

流入：用户的一句话；流出：一步步的 ``Step``。不读键盘、不写屏幕，那是 ``console.py`` 的事；服务器也可以用它。

缓存从不清空重来：新的提示与缓存里的 id 从头比起，相同的一段留着，只喂后面的。话一轮轮往后接时，要喂的只有新的那一句。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.chat.conversation import Conversation, Message
from tinygrad_llm.common.chat.render import render_prompt
from tinygrad_llm.common.chat.templates import Template, template_for
from tinygrad_llm.common.decoding.drafting import NewDraft
from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.request import Constraint, Request, Sampling
from tinygrad_llm.common.decoding.slots import OneSlot
from tinygrad_llm.common.decoding.speculative import Draft, speculate
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Dialogue", "OpenedModel", "RewindableDecoder", "common_prefix", "template_of"]

PREFILL = 256
"""提示一次至多喂几个 token；两次之间可以被打断。"""


class RewindableDecoder(Protocol):
    """可以退回的单序列解码器。

    Attributes:
        context: 最长上下文。
    """

    context: int

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """接在缓存之后喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""

    def truncate(self, length: int) -> None:
        """只留缓存里的前 ``length`` 个 token。"""


@dataclass(frozen=True)
class OpenedModel:
    """打开了的模型。

    Attributes:
        name: 给人看的名字。
        tokenizer: 分词器。
        decoder: 解码器。
        template: 它自己的对话模板的名字；没有记下为空。
    """

    name: str
    tokenizer: TextTokenizer
    decoder: RewindableDecoder
    template: str = ""


class Dialogue:
    """一次对话。

    Args:
        model: 模型。
        template: 对话模板。
        sampling: 怎样挑。
        max_tokens: 一次回答至多几个 token。
        stop: 停止串。
        constraint: 每次回答的语法约束。
        new_draft: 给了就抢先猜，写出的不变。
        guesses: 一次至多猜几个 token。

    Attributes:
        messages: 说过的话。
        dropped: 上一次生成时，为装进上下文而略去了最早的几句。
        fed: 缓存里的 id。
        reused: 上一次生成时，有几个 token 不必再喂。
        finish: 上一次回答为什么停。
    """

    def __init__(
        self,
        model: OpenedModel,
        template: Template,
        sampling: Sampling,
        *,
        max_tokens: int = 512,
        stop: tuple[str, ...] = (),
        constraint: Constraint | None = None,
        new_draft: NewDraft | None = None,
        guesses: int = 4,
    ) -> None:
        self.new_draft, self.guesses = new_draft, guesses
        self.model, self.template, self.sampling = model, template, sampling
        self.max_tokens, self.stop, self.constraint = max_tokens, stop, constraint
        self.messages: list[Message] = []
        self.fed: list[int] = []
        self.dropped = self.reused = 0
        self.finish = ""

    @property
    def system(self) -> str:
        """开头的 system；没有则为空。"""
        return self.messages[0].content if self.messages and self.messages[0].role == "system" else ""

    @system.setter
    def system(self, text: str) -> None:
        turns = self.messages[1:] if self.system else self.messages
        self.messages = ([Message("system", text)] if text.strip() else []) + turns

    def ask(self, text: str, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """说一句，得到回答；答完（或被打断）之后，问与答都记进 ``messages``。什么也没答出来的一问不留。

        Args:
            text: 用户的话。
            is_stopped: 每个 token 之前问一次：要停下吗。

        Yields:
            回答的每一步。

        Raises:
            UserError: 话是空的，或一句就装不进上下文；``messages`` 不变。
        """
        ids = self._prompt(text)
        request = Request(
            tuple(ids), self.max_tokens, self.sampling, self.stop, self._stop_ids(), constraint=self.constraint
        )
        generation = Generation(request, self.model.tokenizer, self.model.decoder.context)
        self._rewind(ids)
        try:
            yield from self._steps(generation, is_stopped)
        finally:  # 也许取到一半就不要了
            self.finish = generation.finish or "cancelled"
            if generation.text.strip():
                self.messages += [Message("user", text), Message("assistant", generation.text)]

    def _steps(self, generation: Generation, is_stopped: Callable[[], bool]) -> Iterator[Step]:
        while not generation.finish:
            logits = None if is_stopped() else self._feed(generation.pending, is_stopped)
            yield generation.cancel() if logits is None else generation.advance(logits)
            if self.new_draft is not None and not generation.finish:
                yield from self._speculated(generation, self.new_draft(self.sampling), is_stopped)

    def _speculated(self, generation: Generation, draft: Draft, is_stopped: Callable[[], bool]) -> Iterator[Step]:
        """提示读完之后，边猜边写；被打断时，已经核对过的也都显示出来。"""
        one, shown = self.model.decoder, len(generation.text)
        assert isinstance(one, OneSlot)
        asked = list(generation.request.prompt)
        try:
            for step in speculate(one.decoder, generation, draft, self.guesses, slot=one.slot):
                yield step
                shown += len(step.text)
                if is_stopped() and not generation.finish:
                    last = generation.cancel()
                    yield replace(last, text=generation.text[shown:])
                    return
        finally:
            self.fed = (asked + generation.tokens)[: one.length]

    def undo(self) -> str:
        """去掉最后一问一答，返回那一问；没有可去的则为空。"""
        turns = len(self.messages) - bool(self.system)
        if not turns:
            return ""
        asked = self.messages[-2].content
        del self.messages[-2:]
        return asked

    def retry(self, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """同一问换个种子再答一次。

        Raises:
            UserError: 还没有问过。
        """
        asked = self.undo()
        if not asked:
            raise UserError("there is no answer to try again", fix="ask something first")
        self.sampling = replace(self.sampling, seed=self.sampling.seed + 1)
        yield from self.ask(asked, is_stopped)

    def adopt(self, conversation: Conversation) -> None:
        """换成另一份对话；末尾没有回答的一问略去。"""
        messages = list(conversation.messages)
        if messages[-1].role == "user":
            del messages[-1]
        self.messages = messages

    def _prompt(self, text: str) -> list[int]:
        """到回答开口之处的 id；至少给回答留下一半的上下文，或它要的那么多。"""
        context = self.model.decoder.context
        room = min(self.max_tokens, context // 2)
        conversation = Conversation((*self.messages, Message("user", text)))
        rendered = render_prompt(conversation, self.model.tokenizer, self.template, max_tokens=context - room)
        self.dropped = rendered.dropped_turns
        return rendered.ids

    def _stop_ids(self) -> frozenset[int]:
        names = {self.template.stop, END_OF_TEXT} & set(self.model.tokenizer.specials)
        return frozenset(self.model.tokenizer.special(name) for name in names)

    def _rewind(self, ids: list[int]) -> None:
        """缓存退回到与新提示相同的一段；末一个 id 总要再喂，否则没有 logits。"""
        self.reused = min(common_prefix(self.fed, ids), len(ids) - 1)
        self.model.decoder.truncate(self.reused)
        del self.fed[self.reused :]

    def _feed(self, pending: tuple[int, ...], is_stopped: Callable[[], bool]) -> NDArray[Any] | None:
        """喂进 ``pending`` 里缓存还没有的；中途被打断时为 ``None``。"""
        rest = pending[self.reused :] if len(pending) > 1 else pending
        logits = None
        for start in range(0, len(rest), PREFILL):
            if start and is_stopped():
                return None
            part = rest[start : start + PREFILL]
            logits = self.model.decoder.feed(np.asarray(part, dtype=np.int64))
            self.fed += part
        return logits


def common_prefix(a: list[int], b: list[int]) -> int:
    """从头起有几项相同。"""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def template_of(model: OpenedModel, wanted: str = "") -> Template:
    """对话的模板：指定的，模型自己的，或特殊 token 齐全的第一个。

    Raises:
        UserError: 没有这个名字，或分词器缺少特殊 token。
    """
    return template_for(model.tokenizer.specials, wanted or model.template)
