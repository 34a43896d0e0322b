r"""模板：每个角色的话前后放哪些特殊 token、哪些固定的文字。

流入：没有；流出：三个 ``Template``。模板从不拼成一个字符串：特殊 token 与文字是两种不同的零件，
文字单独编码，因此话里写着 ``<|end|>`` 也只是几个普通的字。下一个文件：``render.py``。

============  ==========================================================================================
``ours``      ``<|user|>`` 问 ``<|end|>`` ``<|assistant|>`` 答 ``<|end|>``；每个标记都是一个 id，没有固定的文字
``alpaca``    ``### Instruction:\n`` 问 ``\n\n### Response:\n`` 答 ``<|endoftext|>``；标题是普通的文字
``chatml``    ``<|im_start|>`` ``user\n`` 问 ``<|im_end|>`` ``\n`` ……；与 SmolLM2 的对话格式逐 id 相同
============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from tinygrad_llm.common.chat.conversation import Role
from tinygrad_llm.common.errors import UserError

__all__ = ["CHAT_SPECIALS", "TEMPLATES", "Special", "Template", "Turn", "find_template", "template_for"]


@dataclass(frozen=True, slots=True)
class Special:
    """一个特殊 token，以名字相称。"""

    name: str


Part = Special | str
"""模板的零件：特殊 token，或一段固定的文字。"""


@dataclass(frozen=True, slots=True)
class Turn:
    """一个角色的话怎样包起来：``before`` 话 ``end`` ``after``。

    Attributes:
        before: 话之前。
        end: 话的结尾；模型学着自己写出它，然后停下。
        after: 结尾之后，模型不必学。
    """

    before: tuple[Part, ...]
    end: tuple[Part, ...]
    after: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Template:
    """一种对话格式。

    Attributes:
        name: 名字。
        turns: 每个角色的包法。
        default_system: 对话没有 system 时补上的一句；空串表示不补。
    """

    name: str
    turns: Mapping[Role, Turn]
    default_system: str = ""

    @property
    def specials(self) -> tuple[str, ...]:
        """用到的特殊 token，按出现的先后，各列一次。"""
        parts = [part for turn in self.turns.values() for part in (*turn.before, *turn.end, *turn.after)]
        return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, Special)))

    @property
    def stop(self) -> str:
        """模型写出它就算说完了：assistant 结尾的特殊 token。"""
        return next(part.name for part in self.turns["assistant"].end if isinstance(part, Special))


def _ours(role: Role) -> Turn:
    return Turn((Special(f"<|{role}|>"),), (Special("<|end|>"),))


def _chatml(role: Role) -> Turn:
    return Turn((Special("<|im_start|>"), f"{role}\n"), (Special("<|im_end|>"),), ("\n",))


OURS = Template("ours", {"system": _ours("system"), "user": _ours("user"), "assistant": _ours("assistant")})
CHAT_SPECIALS = OURS.specials
"""用 ``ours`` 的模型，词表里要有的特殊 token。"""

ALPACA = Template(
    "alpaca",
    {
        "system": Turn((), ("\n\n",)),
        "user": Turn(("### Instruction:\n",), ("\n\n",)),
        "assistant": Turn(("### Response:\n",), (Special("<|endoftext|>"),)),
    },
    default_system=(
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    ),
)

CHATML = Template(
    "chatml",
    {"system": _chatml("system"), "user": _chatml("user"), "assistant": _chatml("assistant")},
    default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)

TEMPLATES: dict[str, Template] = {template.name: template for template in (OURS, ALPACA, CHATML)}


def find_template(name: str) -> Template:
    """按名字取模板。

    Raises:
        UserError: 没有这个名字。
    """
    if name not in TEMPLATES:
        raise UserError(f"unknown chat template {name[:40]!r}", fix=f"use one of: {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def template_for(specials: Container[str], wanted: str = "") -> Template:
    """对话的模板：指定的，或特殊 token 齐全的第一个。

    Args:
        specials: 分词器有哪些特殊 token。
        wanted: 指定的名字；空串表示由特殊 token 推断。

    Raises:
        UserError: 没有这个名字，或分词器缺少特殊 token。
    """
    if wanted:
        return find_template(wanted)
    for template in (CHATML, OURS, ALPACA):
        if all(name in specials for name in template.specials):
            return template
    raise UserError(
        "the tokenizer has the special tokens of no chat template",
        fix="add them: python -m tinygrad_llm tokenizer convert OLD NEW --add "
        + " ".join(f"'{name}'" for name in OURS.specials),
    )
