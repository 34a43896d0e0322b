"""一个在服务的模型：引擎给出的部件，与由它们而来的两样东西——怎样把对话变成 id，哪些 token 表示说完了。

流入：引擎打开的模型；流出：``Served``。下一个文件：``wanted.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from tinygrad_llm.common.chat.conversation import Conversation
from tinygrad_llm.common.chat.render import render_prompt
from tinygrad_llm.common.chat.templates import TEMPLATES, Template, find_template
from tinygrad_llm.common.decoding.slots import BatchDecoder, Rows
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.errors import ApiError, as_api_error
from tinygrad_llm.common.serving.grammars import Grammars
from tinygrad_llm.common.serving.schemas import MAX_INPUTS
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

if TYPE_CHECKING:
    from tinygrad_llm.common.serving.engine import Engine

__all__ = ["FeatureDecoder", "Opened", "Served"]


class FeatureDecoder(Protocol):
    """说得出隐藏状态的解码器；向量由它而来。"""

    def features(self, rows: Rows) -> list[NDArray[Any]]:
        """各槽接着喂进新 token；返回每行各新位置在输出层之前的特征 ``(T, C)``。"""

    def truncate(self, slot: int, length: int) -> None:
        """只留槽里的前 ``length`` 个 token；0 清空。"""


@dataclass(frozen=True)
class Opened:
    """引擎打开的一个模型。

    Attributes:
        tokenizer: 分词器。
        decoder: 成批的解码器。
        encoder: 一个槽的解码器，专供向量。
        engine: 引擎的名字。
        parameters: 有几个参数。
        width: 隐藏状态的宽度 C。
        template: 对话模板的名字；没有记下为空。
        created: 权重是什么时候存下的，Unix 秒。
    """

    tokenizer: TextTokenizer
    decoder: BatchDecoder
    encoder: FeatureDecoder
    engine: str
    parameters: int
    width: int
    template: str = ""
    created: int = 0


class Served:
    """登记在册的模型。

    Args:
        name: 请求里用的名字。
        opened: 引擎打开的模型。
        engine: 独占它的线程。

    Attributes:
        template: 对话模板；分词器里没有齐全的特殊 token 则为 ``None``，只能续写。
        stop_ids: 写出其中一个就算写完。
        grammars: 编译好的约束。
        most_encodings: 至多几段文字等着算向量。
    """

    def __init__(self, name: str, opened: Opened, engine: Engine) -> None:
        self.name, self.opened, self.engine = name, opened, engine
        self.tokenizer, self.context = opened.tokenizer, opened.decoder.context
        self.template = _template_of(opened)
        names = {END_OF_TEXT} | ({self.template.stop} if self.template else set())
        self.stop_ids = frozenset(self.tokenizer.special(one) for one in names & set(self.tokenizer.specials))
        self.grammars = Grammars(self.tokenizer)
        self.most_encodings = 2 * MAX_INPUTS

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """对话到 assistant 该开口之处的 id；话里无论写着什么都只是文字。

        Raises:
            ApiError: 这个模型不会对话，或对话装不进上下文。
        """
        if self.template is None:
            raise ApiError(
                400, f"the model {self.name!r} has no chat template; use /v1/completions", param="model",
                code="no_chat_template",
            )  # fmt: skip
        try:
            ids = render_prompt(conversation, self.tokenizer, self.template).ids
        except UserError as error:
            raise as_api_error(error, "messages") from error
        return self.fitting(tuple(ids), "messages")

    def text(self, text: str, param: str) -> tuple[int, ...]:
        """一段文字的 id；空的文字就从文本起始符开始。"""
        ids = self.tokenizer.encode(text)
        if not ids and END_OF_TEXT in self.tokenizer.specials:
            ids = [self.tokenizer.special(END_OF_TEXT)]
        return self.fitting(tuple(ids), param)

    def fitting(self, ids: tuple[int, ...], param: str) -> tuple[int, ...]:
        """原样返回。

        Raises:
            ApiError: 一个也没有，不在词表里，或装不进上下文。
        """
        if not ids:
            raise ApiError(400, f"{param} is empty", param=param, code="invalid_value")
        if max(ids) >= self.tokenizer.vocab_size:
            raise ApiError(
                400, f"token id {max(ids)} is outside the vocabulary of {self.tokenizer.vocab_size}", param=param,
                code="invalid_value",
            )  # fmt: skip
        if len(ids) >= self.context:
            raise ApiError(
                400, f"{param} has {len(ids)} tokens, the context of {self.name!r} holds {self.context}: at most "
                f"{self.context - 1} leave room for an answer", param=param, code="context_length_exceeded",
            )  # fmt: skip
        return ids

    def described(self) -> dict[str, Any]:
        """``/v1/models`` 里的一项。"""
        opened = self.opened
        return {
            "id": self.name,
            "object": "model",
            "created": opened.created,
            "owned_by": "zero-one-llm",
            "context_length": self.context,
            "engine": opened.engine,
            "parameters": opened.parameters,
            "vocab_size": self.tokenizer.vocab_size,
            "embedding_width": opened.width,
            "chat_template": self.template.name if self.template else None,
        }


def _template_of(opened: Opened) -> Template | None:
    """模型自己的模板，或特殊 token 齐全的头一个；``alpaca`` 只要 ``<|endoftext|>``，不从它推断。"""
    names = set(opened.tokenizer.specials)
    if opened.template:
        return find_template(opened.template)
    found = (TEMPLATES["chatml"], TEMPLATES["ours"])
    return next((one for one in found if set(one.specials) <= names), None)
