"""数据项：冻结的 dataclass，都能写成一行 JSON；有对话形式的带着 ``messages``。

流入：各生成器；流出：``to_json()`` 的字典。下一个文件：``checks.py``（怎样判一个回答对不对）。
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

__all__ = [
    "Choice",
    "Dialogue",
    "Instruction",
    "Item",
    "Labelled",
    "Message",
    "Policy",
    "Preference",
    "Question",
    "Rule",
    "Story",
    "Verdict",
]

Message = dict[str, str]
"""一条消息：``role`` 是 system、user 或 assistant，``content`` 是文字。"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """判定。

    Attributes:
        ok: 对不对。
        reason: 为什么不对（英文一句）；对的为空。
    """

    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """怎样核对一个回答；各名字的意思见 ``checks.py``。

    Attributes:
        name: ``exact``、``json``、``words``、``bullets``、``refuse`` 或 ``comply``。
        value: 标准答案，或必须含有的文字。
        count: 要求的个数；``comply`` 里是最多多少个字符。
        words: 允许的、必须有的或不许泄露的词，依规则而定。
    """

    name: str
    value: str = ""
    count: int = 0
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """各种数据项共有的部分。

    Attributes:
        id: 名字，如 ``storyworld-2/questions/en/train/0/17``：版本、种类、语言、划分、种子、序号。
        lang: 语言。
        split: 划分。
    """

    id: str
    lang: str
    split: str

    def to_json(self) -> dict[str, Any]:
        """可以直接写成 JSON 的字典。"""
        return _fields(self)


@dataclass(frozen=True, slots=True)
class Story(Item):
    """一个故事。

    Attributes:
        plot: 情节的名字。
        text: 全文，一至三段，段间一个换行。
    """

    plot: str
    text: str


@dataclass(frozen=True, slots=True)
class Answerable(Item):
    """有标准答案的一问一答。

    Attributes:
        task: 题型。
        prompt: 提示，含短文（如果有）与问题。
        answer: 标准答案。
        rule: 核对规则。
    """

    task: str
    prompt: str
    answer: str
    rule: Rule

    def messages(self) -> list[Message]:
        """对话形式。"""
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.answer}]

    def to_json(self) -> dict[str, Any]:
        """字段之外加上 ``messages``，可以直接用作指令数据。"""
        return {**_fields(self), "messages": self.messages()}


@dataclass(frozen=True, slots=True)
class Question(Answerable):
    """关于一段短文或世界的问题。

    Attributes:
        context: 短文；关于世界的问题没有短文，为空。
        question: 问句。
        wrong: 看上去合理的错误答案。
    """

    context: str
    question: str
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instruction(Answerable):
    """可以用规则核对的指令。

    Attributes:
        level: 难度，1 到 3。
    """

    level: int


@dataclass(frozen=True, slots=True)
class Choice(Answerable):
    """四选一；``answer`` 与 ``rule`` 是选项的字母。

    Attributes:
        context: 短文，可以为空。
        question: 问句。
        options: 四个互不相同的选项。
        answer_index: 正确选项的序号，0 到 3。
    """

    context: str
    question: str
    options: tuple[str, ...]
    answer_index: int


@dataclass(frozen=True, slots=True)
class Labelled(Item):
    """带标签的文字。

    Attributes:
        task: ``topic``、``sentiment`` 或 ``spam``。
        text: 文字。
        label: 标签。
        label_id: 标签在 ``labels`` 里的序号。
        labels: 这个任务的全部标签。
    """

    task: str
    text: str
    label: str
    label_id: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preference(Item):
    """一对回答，前者更好。

    Attributes:
        prompt: 提示。
        chosen: 好的回答。
        rejected: 差的回答。
        reason: 差在哪里：``wrong``、``rude``、``off_format`` 或 ``too_long``。
    """

    prompt: str
    chosen: str
    rejected: str
    reason: str


@dataclass(frozen=True, slots=True)
class Policy(Answerable):
    """玩具守则下的一问：该拒绝，还是该回答。

    Attributes:
        system: 守则，放在系统消息里。
        refuse: 是否应当拒绝。
        style: 提问的手法，如 ``direct``、``roleplay``；应当回答的是 ``near_miss``。
    """

    system: str
    refuse: bool
    style: str

    def messages(self) -> list[Message]:
        """对话形式，守则在前。"""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.prompt},
            {"role": "assistant", "content": self.answer},
        ]


@dataclass(frozen=True, slots=True)
class Dialogue(Item):
    """多轮对话。

    Attributes:
        task: 对话的种类。
        turns: （角色，文字）。
    """

    task: str
    turns: tuple[tuple[str, str], ...]

    def messages(self) -> list[Message]:
        """消息列表；以可有可无的 system 开头，user 与 assistant 交替，以 assistant 结尾。"""
        return [{"role": role, "content": content} for role, content in self.turns]

    def to_json(self) -> dict[str, Any]:
        """``turns`` 写成 ``messages``。"""
        plain = _fields(self)
        del plain["turns"]
        return {**plain, "messages": self.messages()}


def _fields(item: Item | Rule) -> dict[str, Any]:
    """dataclass 写成字典。"""
    return {field.name: _plain(getattr(item, field.name)) for field in fields(item)}


def _plain(value: Any) -> Any:
    """元组写成列表，嵌套的 dataclass 写成字典。"""
    if isinstance(value, (Item, Rule)):
        return _fields(value)
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
