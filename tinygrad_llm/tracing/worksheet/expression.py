"""学习者写下的一个数：安全地读出它的值，以及「写到了第几位」。

流入：``-1/6``、``2*0.3``、``exp(-1)``、``[[1, _], [0.25, 1/3]]`` 这样的一段文字；流出：数组、每个数的容差、哪些还空着。
只认得四则运算、乘方与一张写死的函数表：文字先变成语法树，再逐个结点核对，从不当作代码执行。下一站：``cells.py``。
"""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_LENGTH = 20_000
"""一格里至多多少个字符：再长就不是手写的了。"""

MAX_DEPTH = 8
"""列表至多套几层。"""

MAX_ELEMENT = 200
"""一个数至多多少个字符：嵌套的括号由此有界。"""

_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "²": "^2", "³": "^3", "∞": "inf"})
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "log": math.log,
    "ln": math.log,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
    "sin": math.sin,
    "cos": math.cos,
    "erf": math.erf,
    "abs": abs,
    "max": max,
    "min": min,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 0.5 * (1 + math.tanh(x / 2)),
}
_CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan, "True": 1.0, "False": 0.0}
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}
_LITERAL = re.compile(r"([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$")


class UnreadableError(ValueError):
    """这段文字不是一个数，也不是由数组成的列表。"""


@dataclass(frozen=True, eq=False)
class Answer:
    """一格里写下的东西。

    Attributes:
        text: 原文。
        values: 写下的数；空着的位置是 NaN。
        unit: 每个数写到的那一位的大小（``0.25`` 是 0.01）；写成分数或算式、没有舍入的是 0。
        blank: 哪些位置还空着；形状同 ``values``。
    """

    text: str
    values: Array
    unit: Array
    blank: Array

    @property
    def is_blank(self) -> bool:
        """整格都空着。"""
        return bool(self.blank.all())


def read_answer(text: str) -> Answer:
    """读出一格。

    Args:
        text: 一个数、一个算式，或（嵌套的）列表；``_`` 与 ``?`` 是还没填的位置，外面可以有反引号、``$`` 与等号。

    Returns:
        数、位数与空位。

    Raises:
        UnreadableError: 读不懂；消息是中文的一句话。
    """
    plain = _plain(text)
    if len(plain) > MAX_LENGTH:
        raise UnreadableError(f"太长了（{len(plain)} 个字符）")
    rows = _nested(plain) if plain else "_"
    shape = _shape(rows)
    flat = [_element(item) for item in _leaves(rows)]
    values = np.array([value for value, _, _ in flat]).reshape(shape)
    unit = np.array([unit for _, unit, _ in flat]).reshape(shape)
    blank = np.array([is_blank for _, _, is_blank in flat], dtype=bool).reshape(shape)
    return Answer(text.strip(), values, unit, blank)


def _plain(text: str) -> str:
    """去掉 Markdown 的记号，把全角的符号换成半角的。"""
    plain = unicodedata.normalize("NFKC", text.translate(_SIGNS)).strip().strip("`$").strip()
    if plain.startswith("**") and plain.endswith("**"):
        plain = plain.strip("*")
    plain = plain.replace("\\_", "_").replace("\\*", "*").replace("\\[", "[").replace("\\]", "]").replace("**", "^")
    plain = plain.strip().lstrip("=").lstrip("≈").strip()
    return plain.replace("σ(", "sigmoid(").replace("√(", "sqrt(").replace("π", "pi")


def _nested(text: str, level: int = 0) -> Any:
    """``"[[1, 2], [3, 4]]"`` → 嵌套的列表，叶子是文字；逗号只在最外层的圆括号之外才分隔。"""
    text = text.strip()
    if level > MAX_DEPTH:
        raise UnreadableError(f"方括号套了 {MAX_DEPTH} 层以上")
    if not text.startswith("["):
        if "[" in text or "]" in text:
            raise UnreadableError("方括号不成对")
        return text
    if not text.endswith("]"):
        raise UnreadableError("方括号不成对")
    items, depth, start = [], 0, 1
    for place, mark in enumerate(text[1:-1], start=1):
        depth += (mark in "[(") - (mark in "])")
        if depth < 0:
            raise UnreadableError("括号不成对")
        if mark == "," and not depth:
            items.append(text[start:place])
            start = place + 1
    if depth:
        raise UnreadableError("括号不成对")
    last = text[start:-1]
    if last.strip() or not items:
        items.append(last)
    return [_nested(item, level + 1) for item in items]


def _shape(rows: Any) -> tuple[int, ...]:
    if isinstance(rows, str):
        return ()
    shapes = {_shape(row) for row in rows}
    if len(shapes) != 1:
        raise UnreadableError("各行的长短不一")
    return (len(rows), *shapes.pop())


def _leaves(rows: Any) -> Iterator[str]:
    if isinstance(rows, str):
        yield rows
    else:
        for row in rows:
            yield from _leaves(row)


def _element(text: str) -> tuple[float, float, bool]:
    """一个数 → （值，写到的那一位，是否空着）。"""
    text = text.strip()
    if not text.strip("_?. "):
        return math.nan, 0.0, True
    if len(text) > MAX_ELEMENT:
        raise UnreadableError(f"{text[:20]}… 太长了")
    try:
        tree = ast.parse(text.replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UnreadableError(f"读不懂 {text}") from None
    literals = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    value = _value(tree, text)
    bare = tree.operand if isinstance(tree, ast.UnaryOp) else tree
    if isinstance(bare, ast.Constant):
        return value, _unit(_source(bare, text)), False
    return value, _uncertainty(tree, text, value, literals), False


def _source(node: ast.Constant, text: str) -> str:
    return ast.get_source_segment(text.replace("^", "**"), node) or ""


def _unit(literal: str) -> float:
    """末位的大小：``0.25`` 是 0.01，``3`` 是 1，``1.2e-3`` 是 1e-4。"""
    match = _LITERAL.match(literal.replace("_", ""))
    if match is None:
        return 0.0
    return float(f"1e{int(match[3] or 0) - len(match[2])}")


def _uncertainty(tree: ast.expr, text: str, value: float, literals: list[ast.Constant]) -> float:
    """算式的「末位」：每个小数各挪动半个末位，结果变化之和的两倍；整数是精确的。"""
    total = 0.0
    for literal in literals:
        source = _source(literal, text)
        if "." not in source:
            continue
        moved = _value(tree, text, (literal, float(source) + _unit(source) / 2))
        total += 2 * abs(moved - value) if math.isfinite(moved) else 0.0
    return total


def _value(node: ast.expr, text: str, moved: tuple[ast.Constant, float] | None = None) -> float:
    """求值；``moved`` 把其中一个数换成另一个。只有这里列出的结点才算数。"""
    try:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return moved[1] if moved is not None and moved[0] is node else float(node.value)
        if isinstance(node, ast.Name) and node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
            inner = _value(node.operand, text, moved)
            return -inner if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            found = _BINARY[type(node.op)](_value(node.left, text, moved), _value(node.right, text, moved))
            if isinstance(found, complex):
                raise UnreadableError(f"{text} 不是实数")
            return found
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            function = _FUNCTIONS.get(node.func.id)
            if function is not None:
                return float(function(*[_value(argument, text, moved) for argument in node.args]))
    except (OverflowError, ZeroDivisionError, ValueError, TypeError) as error:
        raise error if isinstance(error, UnreadableError) else UnreadableError(f"{text} 算不出来") from None
    raise UnreadableError(f"读不懂 {text}")
