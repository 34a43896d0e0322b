"""被检查的模型：哪个引擎都行，打开之后只露出这几样。

流入：引擎各自的 ``safety.py``；流出：``Subject``。下一个文件：``command.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinygrad_llm.common.chat.templates import TEMPLATES, Template, find_template
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.safety.answering import Speaker, answers
from tinygrad_llm.common.safety.search import Attackable
from tinygrad_llm.common.safety.suite import Asker
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["OpenSubject", "Subject", "asker"]


@dataclass(frozen=True)
class Subject:
    """打开了的模型。

    Attributes:
        name: 给人看的名字。
        tokenizer: 分词器。
        slots: 造一个这么多槽的解码器。
        attackable: 造一个可以按梯度攻击的模型。
        template: 它自己的对话模板的名字；没有记下为空。
    """

    name: str
    tokenizer: TextTokenizer
    slots: Callable[[int], BatchDecoder]
    attackable: Callable[[], Attackable]
    template: str = ""

    def chat_template(self, wanted: str = "") -> Template:
        """对话的模板：指定的，模型自己的，或特殊 token 齐全的第一个。

        Raises:
            UserError: 没有这个名字，或分词器缺少特殊 token。
        """
        if wanted or self.template:
            return find_template(wanted or self.template)
        for name in ("chatml", "ours", "alpaca"):
            if set(TEMPLATES[name].specials) <= set(self.tokenizer.specials):
                return TEMPLATES[name]
        raise UserError(
            "the tokenizer has the special tokens of no chat template", where=self.name, fix="use a run that can chat"
        )


OpenSubject = Callable[[Path], Subject]
"""打开一个运行文件夹。"""


def asker(subject: Subject, slots: int, tokens: int, template: str = "") -> Asker:
    """问得了一批问题的函数；总取概率最大的 token。"""
    speaker = Speaker(subject.tokenizer, subject.chat_template(template), subject.slots(slots))
    return lambda asked: answers(speaker, asked, tokens)
