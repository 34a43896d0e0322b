"""说法：``[甲|乙]`` 任选其一，``{槽}`` 填词；一个小文法展开成一段文字。

流入：写成多行字符串的说法表；流出：``Phrasebook``，按名字说出一段话，每次的说法由抽签决定。
下一个文件：``world.py``（槽里填的人与物从哪来）。
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from tinygrad_llm.common.corpora.storyworld.draws import Draws

__all__ = ["Phrasebook", "compile_pattern", "expand", "rows"]

_TOKEN = re.compile(r"[\[\]|]|\{[^{}]+\}|[^\[\]|{}]+")


@dataclass(frozen=True, slots=True)
class Slot:
    """一个待填的槽。"""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """几种写法，选其一。"""

    options: tuple[tuple[Part, ...], ...]


Part = Union[str, Slot, Choice]  # noqa: UP007  3.10 在运行时求值，不能对前向引用用 |
Pattern = tuple[Part, ...]


def compile_pattern(text: str) -> Pattern:
    """把一条说法编译成嵌套的元组。

    Raises:
        ValueError: 方括号不配对。
    """
    stack: list[list[list[Part]]] = [[[]]]
    for token in _TOKEN.findall(text):
        if token == "[":  # noqa: S105
            stack.append([[]])
        elif token == "|" and len(stack) > 1:  # noqa: S105
            stack[-1].append([])
        elif token == "]":  # noqa: S105
            options = stack.pop()
            if not stack:
                raise ValueError(f"unbalanced brackets: {text}")
            stack[-1][-1].append(Choice(tuple(map(tuple, options))))
        elif token.startswith("{"):
            stack[-1][-1].append(Slot(token[1:-1]))
        else:
            stack[-1][-1].append(token)
    if len(stack) != 1:
        raise ValueError(f"unbalanced brackets: {text}")
    return tuple(stack[0][0])


def expand(pattern: Pattern, slots: Mapping[str, str], draws: Draws) -> str:
    """展开一条说法。

    Raises:
        KeyError: 说法里的槽没有给出。
    """
    out: list[str] = []
    _append(pattern, slots, draws, out)
    return "".join(out)


def rows(table: str) -> list[list[str]]:
    """把 ``甲 | 乙 | 丙`` 这样的多行表读成一行行的单元格；空行与 ``#`` 开头的行略去。"""
    lines = (line.strip() for line in table.splitlines())
    return [[cell.strip() for cell in line.split("|")] for line in lines if line and not line.startswith("#")]


class Phrasebook:
    """一本说法表。

    表的写法：``@名字`` 独占一行，其下每行是一种说法。

    Args:
        tables: 若干张表的文字，名字不得重复。
    """

    def __init__(self, *tables: str) -> None:
        self.patterns: dict[str, tuple[Pattern, ...]] = {}
        for table in tables:
            for block in ("\n" + table.strip()).split("\n@")[1:]:
                name, *lines = (line.strip() for line in block.splitlines())
                if name in self.patterns:
                    raise ValueError(f"phrase defined twice: {name}")
                self.patterns[name] = tuple(compile_pattern(line) for line in lines if line)

    def say(self, name: str, slots: Mapping[str, str], draws: Draws) -> str:
        """选一种说法，填好槽。"""
        return expand(draws.pick(self.patterns[name]), slots, draws)


def _append(pattern: Pattern, slots: Mapping[str, str], draws: Draws, out: list[str]) -> None:
    for part in pattern:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, Slot):
            out.append(slots[part.name])
        else:
            _append(draws.pick(part.options), slots, draws, out)
