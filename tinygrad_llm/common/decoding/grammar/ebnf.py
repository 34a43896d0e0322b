r"""上下文无关语法：像 GBNF 那样的文字 → 规则。

流入：一段语法；流出：规则名到 ``Expr``，从 ``root`` 开始。下一个文件：``schema.py``。

::

    # 四则运算
    root   ::= term (("+" | "-") term)*
    term   ::= factor (("*" | "/") factor)*
    factor ::= number | "(" root ")"
    number ::= /-?[0-9]{1,9}/

一条规则是 ``名字 ::= 内容``。内容由空白隔开的几项依次组成，``|`` 任选其一，括号成组，后面可加 ``* + ? {m,n}``。
一项是 ``"固定的字"``（转义同正则）、``[字符类]``、``.``（任何一个字，换行也算）、``/正则/`` 或另一条规则的名字。
规则可以递归，但不能左递归。``#`` 起到行末是注释；一条规则可以写成几行。
"""

from __future__ import annotations

import re

from tinygrad_llm.common.decoding.grammar.expressions import ANY, Chars, Expr, Ref, Repeat, Seq, Text, alt
from tinygrad_llm.common.decoding.grammar.regex import Scanner, counts, escape, parse_class, parse_regex

__all__ = ["parse_grammar"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_HEAD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\s|#[^\n]*)*::=")
_MAX_DEPTH = 100


def parse_grammar(source: str) -> dict[str, Expr]:
    """语法 → 规则。

    Args:
        source: 语法的全文。

    Returns:
        规则名到内容，其中有 ``root``。

    Raises:
        UserError: 写法不对（指明行列）、规则重名，或没有 ``root``。
    """
    scanner, rules = Scanner(source, "grammar"), dict[str, Expr]()
    _space(scanner)
    while scanner.next:
        name = _name(scanner)
        if name in rules:
            raise scanner.error(f"rule {name!r} is defined twice")
        _space(scanner)
        scanner.expect("::=")
        rules[name] = _alternatives(scanner, 0)
    if "root" not in rules:
        raise scanner.error("it has no rule named root", "call the rule to start from root")
    return rules


def _alternatives(scanner: Scanner, depth: int) -> Expr:
    if depth > _MAX_DEPTH:
        raise scanner.error(f"more than {_MAX_DEPTH} nested groups")
    branches: list[Expr | str] = []
    while True:
        parts: list[Expr] = []
        _space(scanner)
        while scanner.next not in ("", "|", ")") and not _HEAD.match(scanner.text, scanner.place):
            parts.append(_repeated(scanner, depth))
            _space(scanner)
        branches.append(Seq(tuple(parts)))
        if not scanner.skip("|"):
            break
    if depth == 0 and scanner.next == ")":
        raise scanner.error("a ) without its (")
    return alt(branches)


def _repeated(scanner: Scanner, depth: int) -> Expr:
    found = _item(scanner, depth)
    while (bounds := counts(scanner)) is not None:
        found = Repeat(found, *bounds)
    return found


def _item(scanner: Scanner, depth: int) -> Expr:
    if scanner.skip('"'):
        return _literal(scanner)
    if scanner.skip("["):
        return Chars(parse_class(scanner))
    if scanner.skip("."):
        return ANY
    if scanner.skip("/"):
        return _embedded(scanner)
    if scanner.skip("("):
        found = _alternatives(scanner, depth + 1)
        scanner.expect(")")
        return found
    return Ref(_name(scanner))


def _literal(scanner: Scanner) -> Expr:
    chars = []
    while not scanner.skip('"'):
        char = scanner.take()
        if char == "\\":
            found = escape(scanner)
            if not isinstance(found, str):
                raise scanner.error("a character class inside a literal", "use [...] for a class")
            char = found
        if char == "\n" and scanner.text[scanner.place - 1] == "\n":
            raise scanner.error("a literal runs past the end of its line", r"close it, or write \n")
        chars.append(char)
    return Text("".join(chars))


def _embedded(scanner: Scanner) -> Expr:
    r"""``/…/`` 里的正则；斜线写作 ``\/``。"""
    pattern = ""
    while not scanner.skip("/"):
        char = scanner.take()
        pattern += char + scanner.take() if char == "\\" else char
    return parse_regex(pattern.replace(r"\/", "/"))


def _name(scanner: Scanner) -> str:
    found = _NAME.match(scanner.text, scanner.place)
    if not found:
        raise scanner.error("expected a rule name, a literal, a class or a group")
    scanner.place = found.end()
    return found[0]


def _space(scanner: Scanner) -> None:
    found = _SPACE.match(scanner.text, scanner.place)
    scanner.place = found.end() if found else scanner.place
