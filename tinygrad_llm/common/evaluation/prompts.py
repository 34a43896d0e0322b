"""题变成 id：示例、题面、选项；可以直接接着写，也可以装进对话的模板。

流入：题与分词器；流出：开头的 id 与各选项的 id。下一个文件：``choosing.py``。

题面与选项合起来编码，再在题面的长度处切开：单独编码选项，它的第一个字不会与前面的空格合成一个 token，与模型读到的不同。
题面结尾的空格算作选项的，因为空格几乎总与后面的词同属一个 token。
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tinygrad_llm.common.chat import Conversation, Message, find_template, render_prompt
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.evaluation.items import Item, Task
from tinygrad_llm.common.evaluation.likelihood import start_id
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["Form", "Prompter", "encode_pair", "joint", "lettered"]

Form = Literal["cloze", "letters"]
_GAP = "\n\n"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FULL_WIDTH = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")


@dataclass(frozen=True)
class Prompter:
    """怎样把一道题写成 id。

    Attributes:
        tokenizer: 分词器。
        shots: 题面之前放几个示例。
        seed: 抽示例的种子。
        form: 选择题给选项本身打分（``cloze``），还是列出选项、给字母打分（``letters``）。
        template: 对话模板的名字；空表示不用。
        bos: 开头先放一个文本起始符。
    """

    tokenizer: Tokenizer
    shots: int = 0
    seed: int = 0
    form: Form = "cloze"
    template: str = ""
    bos: bool = False

    def shaped(self, task: Task) -> Task:
        """按 ``form`` 改写过的任务。"""
        if self.form == "cloze" or task.kind != "choice":
            return task
        return replace(task, items=tuple(map(lettered, task.items)), pool=tuple(map(lettered, task.pool)))

    def examples(self, task: Task, item: Item) -> list[Item]:
        """这道题的示例：由（种子，任务，题）决定，不含它自己。

        Raises:
            UserError: 可以当示例的题不够。
        """
        if not self.shots:
            return []
        others = [one for one in task.pool if (one.question, one.answers) != (item.question, item.answers)]
        if len(others) < self.shots:
            raise UserError(
                f"{self.shots} examples wanted, {len(others)} other items to draw them from",
                where=task.name, fix="lower --shots, or give --shots-from FILE",
            )  # fmt: skip
        order = philox(self.seed, f"shots/{task.name}/{item.id}").permutation(len(others))
        return [others[i] for i in order[: self.shots].tolist()]

    def prompt(self, task: Task, item: Item) -> list[int]:
        """开头的 id：模型由此写起。"""
        if self.template:
            return self._chat(task, item)
        text = self._text(task, item)
        return [*self._head(), *self.tokenizer.encode(text.rstrip(" ") or text)]

    def choices(self, task: Task, item: Item, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """几种接法的开头与接下去的 id；多半是同一个开头。"""
        if self.template:
            prompt = self._chat(task, item)
            return [prompt] * len(texts), [self.tokenizer.encode(text) for text in texts]
        text = self._text(task, item)
        pairs = [encode_pair(self.tokenizer, text, joint(text) + one) for one in texts]
        return [[*self._head(), *prompt] for prompt, _ in pairs], [answer for _, answer in pairs]

    def _head(self) -> list[int]:
        return [start_id(self.tokenizer)] if self.bos else []

    def _text(self, task: Task, item: Item) -> str:
        shown = [one.prompt + joint(one.prompt) + one.answers[0] for one in self.examples(task, item)]
        return _GAP.join([*shown, item.prompt])

    def _chat(self, task: Task, item: Item) -> list[int]:
        messages = [Message("system", item.system)] if item.system else []
        for one in self.examples(task, item):
            messages += [Message("user", one.user or one.prompt), Message("assistant", one.answers[0])]
        messages.append(Message("user", item.user or item.prompt))
        return [
            *self._head(),
            *render_prompt(Conversation(tuple(messages)), self.tokenizer, find_template(self.template)).ids,
        ]


def lettered(item: Item) -> Item:
    """列出选项、以字母作答的样子。

    Raises:
        UserError: 选项比字母多。
    """
    if len(item.options) > len(_LETTERS):
        raise UserError(f"{len(item.options)} options are more than the letters", where=item.id, fix="use --form cloze")
    letters = tuple(_LETTERS[: len(item.options)])
    lines = [f"{letter}. {option}" for letter, option in zip(letters, item.options, strict=True)]
    ending = "答案：" if _FULL_WIDTH.search(item.user or item.prompt) else "Answer:"
    body = "\n".join([item.user or item.prompt, *lines])
    return replace(item, prompt=f"{body}\n{ending}", user=body, options=letters, answers=(letters[item.right],))


def joint(prompt: str) -> str:
    """题面与答案之间的空格；题面为空、以空白或全角字结尾时不放。"""
    return "" if not prompt or prompt[-1].isspace() or _FULL_WIDTH.match(prompt[-1]) else " "


def encode_pair(tokenizer: Tokenizer, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """题面与它接下去的文字，合起来编码再切开。

    Args:
        tokenizer: 分词器。
        prompt: 题面；结尾的空格移给 ``answer``。
        answer: 接下去的文字。

    Returns:
        两段 id，首尾相接就是全文的编码。
    """
    kept = prompt.rstrip(" ")
    answer, prompt = prompt[len(kept) :] + answer, kept
    whole, head = tokenizer.encode(prompt + answer), tokenizer.encode(prompt)
    if len(whole) <= len(head):  # 题面的尾与答案合成了一个 token
        return head, tokenizer.encode(answer)
    return whole[: len(head)], whole[len(head) :]
