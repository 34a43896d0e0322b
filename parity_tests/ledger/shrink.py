"""把最坏的例子缩小，写成五行能跑的脚本。

流入：一个例子与它的误差；流出：更短、误差仍在一半以上（不合格的仍不合格）的例子，与重放它的脚本。下一站：``replay``。
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from parity_tests.ledger.measure import FORWARD, Case, Error, measure
from parity_tests.strategies import LAYOUTS

TRIES = 60
"""缩小一个例子至多试这么多次。"""


def captured(op: str, args: list[Any], attrs: dict[str, Any]) -> Case:
    """把抽到的输入记成例子：数值连续存放，布局另记名字。"""
    values = [np.array(a, order="C") if isinstance(a, np.ndarray) else a for a in args]
    return Case(op, tuple(values), tuple(_layout(a) for a in args), attrs)


def _layout(x: Any) -> str:
    """步长与哪一种布局相同；都不同就算连续的。"""
    if not isinstance(x, np.ndarray):
        return "contiguous"
    same = (name for name, place in LAYOUTS.items() if place(np.array(x, order="C")).strides == x.strides)
    return next(same, "contiguous")


def shrunk(case: Case, error: Error, check: str, dtype: str) -> tuple[Case, Error]:
    """缩小一个例子。

    Args:
        case: 例子。
        error: 它在 ``check`` 这种比较里的误差。
        check: ``CHECKS`` 之一。
        dtype: 决定容差。

    Returns:
        缩小了的例子与重新量得的误差。
    """
    if error.relative == 0 or math.isinf(error.relative):
        return case, error
    tries, improved = TRIES, True
    best, seen = case, error
    while improved and tries > 0:
        improved = False
        for candidate in _smaller(best):
            tries -= 1
            found = _again(candidate, check, dtype)
            if found is not None and _as_bad(found, error):
                best, seen, improved = candidate, found, True
                break
            if tries <= 0:
                break
    return best, seen


def _as_bad(found: Error, error: Error) -> bool:
    return found.relative < math.inf and found.relative >= error.relative / 2 and found.passed == error.passed


def _again(case: Case, check: str, dtype: str) -> Error | None:
    """重量一遍；缩过了头（属性与形状不再相容）就没有结果。"""
    try:
        return measure(case, dtype, check not in (FORWARD, "gradient")).get(check)
    except Exception:
        return None


def _smaller(case: Case) -> Iterator[Case]:
    """更简单的例子，从最简单的开始：换成连续的布局，砍短一根轴，少写几位小数。"""
    if any(layout != "contiguous" for layout in case.layouts):
        yield replace(case, layouts=("contiguous",) * len(case.layouts))
    sides = sorted({n for a in case.args if isinstance(a, np.ndarray) for n in a.shape if n > 1}, reverse=True)
    for side in sides:
        for kept in range(side):
            yield replace(case, args=tuple(_cut(a, side, kept) for a in case.args))
    arrays = [i for i, a in enumerate(case.args) if isinstance(a, np.ndarray)]
    if len(arrays) == 1:  # 没有别的形状要迁就：一根轴一根轴地砍
        x = case.args[arrays[0]]
        for axis, side in enumerate(x.shape):
            for kept in range(side) if side > 1 else ():
                cut = np.array(x.take([kept], axis), order="C")
                yield replace(case, args=tuple(cut if i == arrays[0] else a for i, a in enumerate(case.args)))
    for i, a in enumerate(case.args):
        if isinstance(a, np.ndarray) and a.dtype.kind in "fc":
            for digits in (0, 1, 2, 4):
                rounded = np.round(a, digits)
                if len(repr(rounded.tolist())) < len(repr(a.tolist())):
                    yield replace(case, args=(*case.args[:i], rounded, *case.args[i + 1 :]))


def _cut(a: Any, side: int, kept: int) -> Any:
    """长为 ``side`` 的轴都只留第 ``kept`` 片。"""
    if not isinstance(a, np.ndarray):
        return a
    key = tuple(slice(kept, kept + 1) if n == side else slice(None) for n in a.shape)
    return np.array(a[key], order="C")


# ---- 写成脚本 ----


def script(case: Case, check: str) -> str:
    """重放一个例子的五行脚本。"""
    layouts = f", layouts={list(case.layouts)}" if any(n != "contiguous" for n in case.layouts) else ""
    return "\n".join(
        [
            "from numpy import *",
            "from parity_tests.ledger import replay",
            f"inputs = [{', '.join(literal(a) for a in case.args)}]",
            f"attrs = {literal(case.attrs)}",
            f'replay("{case.op}", inputs, attrs, "{check}"{layouts})',
        ]
    )


def literal(value: Any) -> str:
    """一个值的写法，照抄回去得到同一个值；数组逐位相同，空数组连形状也相同。"""
    if isinstance(value, np.ndarray):
        if not value.size:
            return f"empty({value.shape}, {value.dtype.name})"
        plain = value.dtype.name in ("float64", "int64", "bool", "complex128")
        return f"array({_numbers(value)}{'' if plain else f', {value.dtype.name}'})"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(literal(v) for v in value)
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, type) and issubclass(value, np.generic):
        return value.__name__
    if isinstance(value, slice):
        return f"slice({literal(value.start)}, {literal(value.stop)}, {literal(value.step)})"
    return "..." if value is Ellipsis else repr(value.item() if isinstance(value, np.generic) else value)


def _numbers(value: Any) -> str:
    """数的列表；float32 只写到认得出来的位数。"""
    if value.ndim:
        return f"[{', '.join(_numbers(part) for part in value)}]"
    if value.dtype.name == "float32":
        return str(value[()])
    if value.dtype.kind == "c":
        return f"complex({value.item().real!r}, {value.item().imag!r})"  # 1j 的写法存不住 -0 与无穷
    return repr(value.item())
