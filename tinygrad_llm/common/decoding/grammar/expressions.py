"""语法的中间形式：几个节点，三种写法都译成它。

流入：没有；流出：``Expr`` 与几个拼装它的函数。下一个文件：``machine.py``。
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "ANY", "Alt", "Chars", "Expr", "Ranges", "Ref", "Repeat", "Seq", "Text", "alt", "complement", "json_escaped",
    "normalised", "repeat", "seq", "text",
]  # fmt: skip

Ranges = tuple[tuple[int, int], ...]
"""码位的区间，两端都含；由小到大，互不相接。"""
LAST = 0x10FFFF


@dataclass(frozen=True)
class Chars:
    """一个字符，取自若干区间；空的区间什么也不匹配。"""

    ranges: Ranges


@dataclass(frozen=True)
class Text:
    """一串固定的字，可以为空。"""

    value: str


@dataclass(frozen=True)
class Seq:
    """依次。"""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Alt:
    """任选其一。"""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Repeat:
    """重复 ``low`` 到 ``high`` 次；``high`` 为 ``None`` 时没有上限。"""

    part: Expr
    low: int
    high: int | None


@dataclass(frozen=True)
class Ref:
    """另一条规则，以名字相称；可以递归。"""

    name: str


Expr = Chars | Text | Seq | Alt | Repeat | Ref
"""中间形式的一个节点。"""


def normalised(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """合并相交与相接的区间。"""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """不在其中的码位。"""
    found, start = [], 0
    for low, high in normalised(ranges):
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    return (*found, (start, LAST)) if start <= LAST else tuple(found)


ANY = Chars(((0, LAST),))
"""任何一个字符。"""


def seq(*parts: Expr | str) -> Expr:
    """依次；字符串是固定的字。"""
    return Seq(tuple(Text(part) if isinstance(part, str) else part for part in parts))


def alt(parts: Sequence[Expr | str]) -> Expr:
    """任选其一；一个也没有时什么也不匹配。"""
    return Alt(tuple(Text(part) if isinstance(part, str) else part for part in parts))


def text(value: str) -> Expr:
    """固定的字。"""
    return Text(value)


def repeat(part: Expr | str, low: int = 0, high: int | None = None) -> Expr:
    """重复。"""
    return Repeat(Text(part) if isinstance(part, str) else part, low, high)


def json_escaped(expr: Expr) -> Expr:
    r"""同样的字写在 JSON 字符串里的样子：引号、反斜线与控制字符写成转义，其余原样。"""
    if isinstance(expr, Text):
        return Text(json.dumps(expr.value, ensure_ascii=False)[1:-1])
    if isinstance(expr, Chars):
        escaped = [code for code in (*range(0x20), ord('"'), ord("\\")) if _holds(expr.ranges, code)]
        plain = complement([*complement(expr.ranges), (0, 0x1F), (ord('"'),) * 2, (ord("\\"),) * 2])
        return alt([Chars(plain), *(json.dumps(chr(code))[1:-1] for code in escaped)])
    if isinstance(expr, Seq | Alt):
        return type(expr)(tuple(json_escaped(part) for part in expr.parts))
    if isinstance(expr, Repeat):
        return Repeat(json_escaped(expr.part), expr.low, expr.high)
    return expr


def _holds(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)
