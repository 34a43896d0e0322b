"""随机的题：难度与种子定下一个小程序，数字挑得能用手算。

流入：难度 1 到 5 与种子；流出：一个 Python 文件的全文，其中 ``exercise()`` 搭出计算并反传。难度与种子相同，题就相同。
出题时手里有两样东西：式子的写法与它的值（``Term``）；值不好算（太大、小数太长、撞上 0 与 1）就换一组数。
五个难度各是一个函数，见 ``levels.py``。
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.common.errors import UserError

LARGEST = 60.0
"""题里的数，绝对值不超过它。"""

SMALLEST = 0.005
"""梯度要么是 0，要么不比它小：更小的写不出三位有效数字。"""

TRIES = 2000
"""一个种子至多换这么多组数。"""

_FILE = '''\
"""第 {level} 级第 {seed} 题：{title}。"""

import tinygrad_llm as tg


def exercise() -> None:
    """先算前向，再倒着算反向。"""
{body}
    loss.backward()
'''

_SUM, _PRODUCT, _POWER, _ATOM = range(4)


class Term:
    """一个式子：怎么写，值是多少。

    Args:
        text: Python 的写法。
        rank: 最外层运算的优先级，决定要不要加括号。
        tensor: 值。
        is_exact: 没有经过 exp 一类的函数：应当是有限的几位小数。
    """

    def __init__(self, text: str, rank: int, tensor: Any, is_exact: bool) -> None:
        self.text, self.rank, self.tensor, self.is_exact = text, rank, tensor, is_exact

    def _joined(self, mark: str, rank: int, other: Term | float, tensor: Any) -> Term:
        right = other if isinstance(other, Term) else Term(repr(other), _ATOM, other, True)
        left_text = self.text if self.rank >= rank else f"({self.text})"
        right_text = right.text if right.rank > rank else f"({right.text})"
        return Term(f"{left_text} {mark} {right_text}", rank, tensor, self.is_exact and right.is_exact)

    def __add__(self, other: Term | float) -> Term:
        return self._joined("+", _SUM, other, self.tensor + _tensor(other))

    def __sub__(self, other: Term | float) -> Term:
        return self._joined("-", _SUM, other, self.tensor - _tensor(other))

    def __mul__(self, other: Term | float) -> Term:
        return self._joined("*", _PRODUCT, other, self.tensor * _tensor(other))

    def __truediv__(self, other: Term | float) -> Term:
        return self._joined("/", _PRODUCT, other, self.tensor / _tensor(other))

    def __matmul__(self, other: Term) -> Term:
        return self._joined("@", _PRODUCT, other, self.tensor @ other.tensor)

    def squared(self) -> Term:
        """平方。"""
        inner = self.text if self.rank == _ATOM else f"({self.text})"
        return Term(f"{inner} ** 2", _POWER, self.tensor**2, self.is_exact)

    def turned(self) -> Term:
        """转置。"""
        return Term(f"{self.text}.T", _ATOM, self.tensor.T, self.is_exact)

    def method(self, name: str, arguments: str = "", **given: Any) -> Term:
        """归约一类的方法，``arguments`` 是写法，``given`` 是同样的参数。"""
        inner = self.text if self.rank == _ATOM else f"({self.text})"
        return Term(f"{inner}.{name}({arguments})", _ATOM, getattr(self.tensor, name)(**given), self.is_exact)

    def function(self, name: str, arguments: str = "", **given: Any) -> Term:
        """``tg.exp`` 一类的函数；ReLU 之外的结果不再是有限的几位小数。"""
        shown = f"{self.text}, {arguments}" if arguments else self.text
        tensor = getattr(tg, name)(self.tensor, **given)
        return Term(f"tg.{name}({shown})", _ATOM, tensor, self.is_exact and name == "relu")


def _tensor(one: Term | float) -> Any:
    return one.tensor if isinstance(one, Term) else one


class Draft:
    """一道题的草稿：一行一行地写，一行一行地算。

    Args:
        rng: 随机数。

    Attributes:
        is_rejected: 这一稿不合难度，换一稿。
        given_lines: 给定的数，各占一行。
        lines: 计算，各占一行。
        leaves: 要求梯度的。
        results: 别的：常数与各行的结果，最后一个是损失。
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.is_rejected = False
        self.given_lines: list[str] = []
        self.lines: list[str] = []
        self.leaves: list[Term] = []
        self.results: list[Term] = []

    def given(self, name: str, *shape: int, choices: tuple[float, ...], needs_grad: bool = True) -> Term:
        """一个随机的张量，元素取自 ``choices``。"""
        count = int(np.prod(shape)) if shape else 1
        numbers = [self.rng.choice(choices) for _ in range(count)]
        return self.fixed(name, np.array(numbers).reshape(shape).tolist(), needs_grad)

    def fixed(self, name: str, data: Any, needs_grad: bool = False) -> Term:
        """一个给定的张量。"""
        wants = ", requires_grad=True" if needs_grad else ""
        self.given_lines.append(f"{name} = tg.tensor({data}, dtype=tg.float64{wants})")
        one = Term(name, _ATOM, tg.tensor(data, dtype=tg.float64, requires_grad=needs_grad), True)
        if needs_grad:
            self.leaves.append(one)
        else:
            self.results.append(one)
        return one

    def mask(self, name: str, rows: list[list[bool]]) -> Term:
        """一个布尔的掩码。"""
        self.given_lines.append(f"{name} = tg.tensor({rows})")
        return Term(name, _ATOM, tg.tensor(rows), True)

    def let(self, name: str, value: Term) -> Term:
        """一行 ``name = 式子``。"""
        self.lines.append(f"{name} = {value.text}")
        value.tensor.retain_grad()
        one = Term(name, _ATOM, value.tensor, value.is_exact)
        self.results.append(one)
        return one

    def masked(self, name: str, value: Term, mask: Term) -> Term:
        """一行 ``name = name.masked_fill(mask, -inf)``；值里有无穷大，不必好算。"""
        self.lines.append(f'{name} = {value.text}.masked_fill({mask.text}, float("-inf"))')
        return Term(name, _ATOM, value.tensor.masked_fill(mask.tensor, float("-inf")), False)

    def is_good(self, is_scalar: bool) -> bool:
        """反传一遍，看这组数好不好算。

        Args:
            is_scalar: 标量的题：各个数还要互不相同、不是 0 与 ±1，错法不同，写出的数才不同。
        """
        if self.is_rejected:
            return False
        self.results[-1].tensor.backward()
        everything = [*self.leaves, *self.results]
        for one in everything:
            values = np.asarray(one.tensor.detach().numpy())
            if not np.isfinite(values).all() or np.abs(values).max() > LARGEST:
                return False
            if one.is_exact and not np.allclose(values * 1000, np.round(values * 1000), rtol=0, atol=1e-6):
                return False
        for one in everything:
            if one.tensor.grad is None:
                continue
            grad = np.asarray(one.tensor.grad.numpy())
            sizes = np.abs(grad[grad != 0])
            if not np.isfinite(grad).all() or not sizes.size or sizes.max() > LARGEST or sizes.min() < SMALLEST:
                return False
        if is_scalar:
            found = [round(abs(one.tensor.item()), 6) for one in everything]
            return len(set(found)) == len(found) and not {0.0, 1.0} & set(found) and min(found) > 0.01
        return True


def program(level: int, seed: int) -> str:
    """一道题的程序。

    Args:
        level: 难度，1 到 5。
        seed: 种子。

    Returns:
        Python 文件的全文。

    Raises:
        UserError: 没有这个难度。
    """
    from tinygrad_llm.tracing.worksheet.levels import LEVELS

    if level not in LEVELS:
        raise UserError(f"there is no exercise level {level}", fix=f"use one of: {', '.join(map(str, LEVELS))}")
    title, build = LEVELS[level]
    draft = _draft(build, level, seed)
    body = "\n".join(f"    {line}" for line in [*draft.given_lines, *draft.lines])
    return _FILE.format(level=level, seed=seed, title=title, body=body)


def _draft(build: Callable[[Draft], None], level: int, seed: int) -> Draft:
    rng = random.Random(f"tinygrad_llm exercise {level} {seed}")
    for _ in range(TRIES):
        draft = Draft(rng)
        with tg.enable_grad(), np.errstate(all="ignore"):
            build(draft)
            if draft.is_good(is_scalar=level <= 2):
                return draft
    raise UserError(f"no exercise of level {level} with seed {seed} can be done by hand", fix="take another seed")
