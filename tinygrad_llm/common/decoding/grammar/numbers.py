"""范围内的数写成语法：整数与小数，只靠逐位比较。

流入：上下界；流出：``Expr``，匹配的文字都是范围内的 JSON 数。下一个文件：``schema.py``。

位数相同的两个数，先看第一位：等于下界的第一位时余下各位不小于下界的余下各位，等于上界的第一位时相仿，在两者之间时
余下的随意。小数点之后也是这样，只是短的一方在右边补零。有界的数不写指数；小数至多写到 ``FRACTION`` 位（界更长时随界）。
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from tinygrad_llm.common.decoding.grammar.expressions import Chars, Expr, Repeat, Text, alt, repeat, seq
from tinygrad_llm.common.errors import UserError

__all__ = ["Bound", "integer_between", "number_between"]

DIGITS = 15
"""没有界的一端，整数至多写几位：double 能精确区分这么多位的十进制数。"""
FRACTION = 6


class Bound(NamedTuple):
    """一端的界。

    Attributes:
        value: 数值。
        is_strict: 不含它自己。
    """

    value: Decimal
    is_strict: bool = False


def integer_between(low: int | None, high: int | None) -> Expr:
    """``[low, high]`` 里的整数；``None`` 为无界。"""
    found: list[Expr | str] = []
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        found.append(seq("-", _naturals(least, None if low is None else -low)))
    if high is None or high >= 0:
        found.append(_naturals(max(low or 0, 0), high))
    return alt(found)


def number_between(low: Bound | None, high: Bound | None) -> Expr:
    """两个界之间的数，不写指数。

    Raises:
        UserError: 不含自己的界位数太多：相邻的小数会舍入成界本身。
    """
    for bound in (low, high):
        if bound and bound.is_strict and len(bound.value.as_tuple().digits) > DIGITS - FRACTION:
            raise UserError(f"the exclusive bound {bound.value} has too many digits", fix="use an inclusive bound")
    zero = Bound(Decimal(0))
    found: list[Expr | str] = []
    if low is None or low.value < 0:
        top = Bound(-high.value, high.is_strict) if high and high.value < 0 else Bound(Decimal(0), True)
        found.append(seq("-", _magnitudes(top, None if low is None else Bound(-low.value, low.is_strict))))
    if high is None or high.value >= 0:
        found.append(_magnitudes(low if low and low.value >= 0 else zero, high))
    return alt(found)


def _naturals(low: int, high: int | None) -> Expr:
    """``[low, high]`` 里的自然数，没有前导的零。"""
    a = str(low)
    longest = max(DIGITS, len(a)) if high is None else len(str(high))
    found: list[Expr | str] = []
    for length in range(len(a), longest + 1):
        first = a if length == len(a) else "1" + "0" * (length - 1)
        last = str(high) if high is not None and length == len(str(high)) else "9" * length
        if first <= last:
            found.append(_between(first, last))
    return alt(found)


def _between(a: str, b: str) -> Expr:
    """同样长的两串数字之间。"""
    n = len(a)
    if not n:
        return Text("")
    if set(a) == {"0"} and set(b) == {"9"}:
        return repeat(_digit("0", "9"), n, n)
    if a[0] == b[0]:
        return seq(a[0], _between(a[1:], b[1:]))
    found: list[Expr | str] = [seq(a[0], _between(a[1:], "9" * (n - 1))), seq(b[0], _between("0" * (n - 1), b[1:]))]
    if ord(b[0]) - ord(a[0]) > 1:
        found.append(seq(_digit(chr(ord(a[0]) + 1), chr(ord(b[0]) - 1)), repeat(_digit("0", "9"), n - 1, n - 1)))
    return alt(found)


def _digit(first: str, last: str) -> Chars:
    return Chars(((ord(first), ord(last)),) if first <= last else ())


# ---- 小数 ----

Fractions = tuple[bool, list[Expr | str]]
"""小数点之后的数字串：空串（即零）在不在内，与不空的各支。"""


def _magnitudes(low: Bound, high: Bound | None) -> Expr:
    """不为负的数。"""
    (a, fa), (b, fb) = _split(low.value), _split(high.value) if high else (None, "")
    places = max(FRACTION, len(fa), len(fb))
    free = _written(_at_least("", places, False))
    found: list[Expr | str] = []
    if b is None or a < b:
        found.append(seq(str(a), _written(_at_least(fa, places, low.is_strict))))
        if b is None or a + 1 < b:
            found.append(seq(_naturals(a + 1, None if b is None else b - 1), free))
        if high and b is not None:
            found.append(seq(str(b), _written(_at_most(fb, places, high.is_strict))))
    elif high and a == b:
        found.append(seq(str(a), _written(_inside(fa, fb, places, low.is_strict, high.is_strict))))
    return alt(found)


def _split(value: Decimal) -> tuple[int, str]:
    whole, _, fraction = format(value, "f").partition(".")
    return int(whole), fraction.rstrip("0")


def _written(fractions: Fractions) -> Expr:
    has_empty, found = fractions
    return alt([*([""] if has_empty else []), seq(".", alt(found))])


def _rest(fractions: Fractions) -> Expr:
    has_empty, found = fractions
    return alt([*([""] if has_empty else []), *found])


def _free(places: int) -> Expr:
    return Repeat(_digit("0", "9"), 0, max(places, 0))


def _at_least(f: str, places: int, is_strict: bool) -> Fractions:
    """``0.s ≥ 0.f``（或 >），``f`` 末位不为零。"""
    if places <= 0:
        return not f and not is_strict, []
    if not f and not is_strict:
        return True, [seq(_digit("0", "9"), _free(places - 1))]
    first = f[:1] or "0"
    above = seq(_digit(chr(ord(first) + 1), "9"), _free(places - 1))
    return False, [seq(first, _rest(_at_least(f[1:], places - 1, is_strict))), above]


def _at_most(f: str, places: int, is_strict: bool) -> Fractions:
    """``0.s ≤ 0.f``（或 <）。"""
    if not f:
        return not is_strict, [] if is_strict or places <= 0 else [repeat("0", 1, places)]
    below = seq(_digit("0", chr(ord(f[0]) - 1)), _free(places - 1))
    return True, [seq(f[0], _rest(_at_most(f[1:], places - 1, is_strict))), below]


def _inside(fa: str, fb: str, places: int, strict_a: bool, strict_b: bool) -> Fractions:
    """两个界的整数部分相同时，小数部分在两者之间。"""
    if not fa and not strict_a:
        return _at_most(fb, places, strict_b)
    if not fb or places <= 0:
        return False, []
    a, b = fa[:1] or "0", fb[0]
    if a > b:
        return False, []
    if a == b:
        return False, [seq(a, _rest(_inside(fa[1:], fb[1:], places - 1, strict_a, strict_b)))]
    return False, [
        seq(a, _rest(_at_least(fa[1:], places - 1, strict_a))),
        seq(b, _rest(_at_most(fb[1:], places - 1, strict_b))),
        seq(_digit(chr(ord(a) + 1), chr(ord(b) - 1)), _free(places - 1)),
    ]
