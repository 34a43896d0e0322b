"""怎样向模型提问：分词器，加上对话的格式。

流入：提示的文字；流出：id 与停止 token。下一个文件：``rollouts.py``。
"""

from __future__ import annotations

from typing import NamedTuple

from tinygrad_llm.common.chat import Conversation, Message, find_template, render_prompt
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT

__all__ = ["Speaker"]


class Speaker(NamedTuple):
    """问法。

    Attributes:
        tokenizer: 分词器。
        template: 对话格式的名字。
    """

    tokenizer: Tokenizer
    template: str

    def prompt(self, text: str) -> list[int]:
        """一句 user 的话，到模型该开口为止。

        Raises:
            UserError: 分词器缺少这种格式的特殊 token。
        """
        asked = Conversation((Message("user", text),))
        return render_prompt(asked, self.tokenizer, find_template(self.template)).ids

    @property
    def stop_ids(self) -> frozenset[int]:
        """说完了的 token：格式自己的，与文本的结束符。"""
        names = {find_template(self.template).stop, END_OF_TEXT} & set(self.tokenizer.specials)
        return frozenset(self.tokenizer.special(name) for name in names)
