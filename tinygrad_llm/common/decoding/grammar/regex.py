r"""正则表达式 → 中间形式。

流入：一段正则；流出：``Expr``，整段匹配。下一个文件：``ebnf.py``。

收下的写法：字、``.``（换行除外）、``[a-z]`` 与 ``[^a-z]``、``\d \w \s`` 与大写（只指 ASCII）、
``\n \t \r \f \v \0 \xHH \uHHHH``、``(…)``、``(?:…)``、``(?P<name>…)``、``|``、``* + ? {m} {m,} {m,n}``
（后面加 ``?`` 不改变匹配什么），开头的 ``^`` 与末尾的 ``$``。
回头引用、环视与 ``\b`` 不是正则语言，或者要看邻近的字，一律报错。
"""

from __future__ import annotations

from tinygrad_llm.common.decoding.grammar.expressions import (
    LAST,
    Chars,
    Expr,
    Ranges,
    Repeat,
    Seq,
    Text,
    alt,
    complement,
    normalised,
)
from tinygrad_llm.common.errors import UserError

__all__ = ["Scanner", "counts", "escape", "parse_class", "parse_regex", "search_regex"]

_CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 13), (32, 32)),
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_NOT_NEWLINE = Chars(complement([(10, 10)]))
_MAX_DEPTH = 100


class Scanner:
    """一段文字与读到哪里。

    Attributes:
        text: 全文。
        place: 下一个字的下标。
        what: 报错时怎样称呼这段文字。
    """

    def __init__(self, text: str, what: str, place: int = 0) -> None:
        self.text, self.what, self.place = text, what, place

    @property
    def next(self) -> str:
        """下一个字；读完了是空串。"""
        return self.text[self.place : self.place + 1]

    def take(self) -> str:
        """读一个字。"""
        found = self.next
        if not found:
            raise self.error("it ends too early")
        self.place += 1
        return found

    def skip(self, word: str) -> bool:
        """若接下来是 ``word``，读过去。"""
        if word and self.text.startswith(word, self.place):
            self.place += len(word)
            return True
        return False

    def expect(self, word: str) -> None:
        """接下来必须是 ``word``。"""
        if not self.skip(word):
            raise self.error(f"expected {word!r}")

    def error(self, problem: str, fix: str = "") -> UserError:
        """指明位置的错误；由调用者抛出。"""
        line = self.text.count("\n", 0, self.place) + 1
        column = self.place - (self.text.rfind("\n", 0, self.place) + 1) + 1
        near = self.text[self.place : self.place + 20].splitlines()[:1]
        where = f"line {line}, column {column}" + (f", before {near[0]!r}" if near else "")
        return UserError(f"bad {self.what}: {problem}", where=where, fix=fix or f"correct the {self.what}")


def parse_regex(pattern: str) -> Expr:
    """正则 → ``Expr``，整段匹配：两端有没有 ``^``、``$`` 都一样。

    Raises:
        UserError: 写法不对，或用了不收的写法。
    """
    return _parsed(pattern, is_search=False)


def search_regex(pattern: str) -> Expr:
    """同上，但像 JSON schema 的 ``pattern``：没有 ``^``（``$``）的一端可以有别的字。"""
    return _parsed(pattern, is_search=True)


def _parsed(pattern: str, *, is_search: bool) -> Expr:
    scanner = Scanner(pattern, "regular expression")
    found = _alternatives(scanner, 0, is_search)
    if scanner.next:
        raise scanner.error("a ) without its (")
    return found


def _alternatives(scanner: Scanner, depth: int, is_search: bool = False) -> Expr:
    """``a|b|c``；最外层（深度 0）的每一支可以带 ``^`` 与 ``$``。"""
    if depth > _MAX_DEPTH:
        raise scanner.error(f"more than {_MAX_DEPTH} nested groups")
    branches: list[Expr | str] = []
    while True:
        parts: list[Expr] = []
        has_start = depth == 0 and scanner.skip("^")
        has_end = False
        while scanner.next not in ("", "|", ")") and not has_end:
            has_end = depth == 0 and _skip_end(scanner)
            if not has_end:
                parts.append(_repeated(scanner, depth))
        if is_search:
            anything = Repeat(Chars(((0, LAST),)), 0, None)
            parts = [*([] if has_start else [anything]), *parts, *([] if has_end else [anything])]
        branches.append(parts[0] if len(parts) == 1 else Seq(tuple(parts)))
        if not scanner.skip("|"):
            return branches[0] if len(branches) == 1 else alt(branches)  # type: ignore[return-value]


def _skip_end(scanner: Scanner) -> bool:
    """一支末尾的 ``$``；别处的 ``$`` 不收。"""
    rest = scanner.text[scanner.place + 1 : scanner.place + 2]
    return rest in ("", "|") and scanner.skip("$")


def _repeated(scanner: Scanner, depth: int) -> Expr:
    found = _atom(scanner, depth)
    while scanner.next and scanner.next in "*+?{":
        bounds = counts(scanner)
        if bounds is None:
            raise scanner.error("{ is not a repetition count here", fix=r"write \{ for the character itself")
        found = Repeat(found, *bounds)
        scanner.skip("?")
        if scanner.next and scanner.next in "*+":
            raise scanner.error("a repetition of a repetition", fix="put the inner one into (?:...)")
    return found


def counts(scanner: Scanner) -> tuple[int, int | None] | None:
    """``*``、``+``、``?`` 或 ``{m,n}``；不是其中之一时为 ``None``。"""
    for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
        if scanner.skip(sign):
            return bounds
    end = scanner.text.find("}", scanner.place)
    low, comma, high = scanner.text[scanner.place + 1 : max(end, 0)].partition(",")
    if scanner.next != "{" or end < 0 or not _is_count(low) or not (_is_count(high) or not high):
        return None
    scanner.place = end + 1
    least, most = int(low), (int(high) if high else None) if comma else int(low)
    if most is not None and most < least:
        raise scanner.error(f"a repetition from {least} to {most}")
    return least, most


def _is_count(digits: str) -> bool:
    return digits.isascii() and digits.isdecimal() and len(digits) < 7


def _atom(scanner: Scanner, depth: int) -> Expr:
    char = scanner.take()
    if char == "(":
        return _group(scanner, depth)
    if char == "[":
        return Chars(parse_class(scanner))
    if char == ".":
        return _NOT_NEWLINE
    if char == "\\":
        return _escaped(scanner)
    if char in "*+?{":
        raise scanner.error(f"nothing to repeat before {char!r}", fix=rf"write \{char} for the character itself")
    if char in "^$":
        raise scanner.error(f"{char} inside the expression", fix="use it only at the very start or end")
    return Text(char)


def _group(scanner: Scanner, depth: int) -> Expr:
    if scanner.skip("?P<"):
        end = scanner.text.find(">", scanner.place)
        if end < 0 or not scanner.text[scanner.place : end].isidentifier():
            raise scanner.error("bad group name")
        scanner.place = end + 1
    elif not scanner.skip("?:") and scanner.next == "?":
        raise scanner.error("look-around and other (?...) groups are not supported", fix="use (?:...)")
    found = _alternatives(scanner, depth + 1)
    scanner.expect(")")
    return found


def _escaped(scanner: Scanner) -> Expr:
    found = escape(scanner)
    return Text(found) if isinstance(found, str) else Chars(found)


def escape(scanner: Scanner) -> str | Ranges:
    """反斜线之后的部分：一个字，或一类字。"""
    char = scanner.take()
    if char in _CONTROLS:
        return _CONTROLS[char]
    if char.lower() in _CLASSES:
        found = _CLASSES[char.lower()]
        return complement(found) if char.isupper() else found
    if char in "xu":
        digits = scanner.text[scanner.place : scanner.place + (2 if char == "x" else 4)]
        try:
            code = int(digits, 16) if len(digits) == (2 if char == "x" else 4) and digits.isalnum() else -1
        except ValueError:
            code = -1
        if code < 0 or 0xD800 <= code <= 0xDFFF:
            raise scanner.error(rf"\{char} needs the hexadecimal digits of one character")
        scanner.place += len(digits)
        return chr(code)
    if char.isascii() and char.isalnum():
        raise scanner.error(rf"\{char} is not supported", fix="only escapes that stand for characters are")
    return char


def parse_class(scanner: Scanner) -> Ranges:
    """``[`` 之后直到 ``]``。"""
    is_negated, is_first = scanner.skip("^"), True
    found: list[tuple[int, int]] = []
    while scanner.next != "]" or is_first:
        is_first = False
        low = _class_item(scanner)
        if not isinstance(low, str):
            found += low
            continue
        high: str | Ranges = low
        if scanner.next == "-" and scanner.text[scanner.place + 1 : scanner.place + 2] not in ("]", ""):
            scanner.take()
            high = _class_item(scanner)
        if not isinstance(high, str) or ord(high) < ord(low):
            raise scanner.error("bad character range")
        found.append((ord(low), ord(high)))
    scanner.take()
    return complement(found) if is_negated else normalised(found)


def _class_item(scanner: Scanner) -> str | Ranges:
    char = scanner.take()
    if char != "\\":
        return char
    return "\b" if scanner.skip("b") else escape(scanner)
