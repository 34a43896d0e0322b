"""对话当作文档：按模板写成 id，每个 id 都学，于是可以进分片、打包、与文章混合。

流入：对话文件；流出：一篇篇「文档」，正文是写成一行 JSON 的对话，与把它变成 id 的办法。
只学回答的微调走 ``supervised.py``。下一个文件：``shard.py``。
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinygrad_llm.common.batches.tokens import Ids
from tinygrad_llm.common.chat import Conversation, Message, find_template, render
from tinygrad_llm.common.chat.loading import load_conversations
from tinygrad_llm.common.corpora import Document, Faults
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["Dialogues"]


class Dialogues:
    """一种模板下的对话。

    Attributes:
        tokenizer: 分词器。
        template: 模板。
    """

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        """检查分词器。

        Args:
            tokenizer: 分词器，须有模板用到的特殊 token。
            template: 模板的名字。

        Raises:
            UserError: 没有这个模板，或分词器缺少特殊 token。
        """
        self.tokenizer, self.template = tokenizer, find_template(template)
        render(Conversation((Message("user", "?"), Message("assistant", "!"))), tokenizer, self.template)

    def documents(self, path: Path, faults: Faults) -> Iterator[Document]:
        """逐个读出对话，写成一行 JSON。

        Args:
            path: JSON lines 文件；认得的写法见 ``chat/loading.py``。
            faults: 坏输入的处置。

        Yields:
            文档；没有一句 assistant 的话的不算坏，也不要。

        Raises:
            UserError: 没有这个文件。
            DataError: 文件坏了，而 ``faults`` 不许略过。
        """
        if not path.is_file():
            raise UserError("no such file of conversations", where=str(path), fix="give a .jsonl file, or drop --chat")
        for conversation in load_conversations(path, faults):
            turns = [(message.role, message.content) for message in conversation.messages]
            if any(role == "assistant" for role, _ in turns):
                yield Document(json.dumps(turns, ensure_ascii=False), conversation.source)

    def encode(self, text: str) -> Ids:
        """一行 JSON 到 id。"""
        conversation = Conversation(tuple(Message(role, content) for role, content in json.loads(text)))
        return np.array(render(conversation, self.tokenizer, self.template, train_on="all").ids)

    def size(self, text: str) -> int:
        """各句话的 UTF-8 字节数，标记不算。"""
        return sum(len(content.encode("utf-8", "surrogatepass")) for _, content in json.loads(text))
