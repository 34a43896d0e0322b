"""``_foreach_*``：一列张量的运算与 torch 相同，就地的写在原来的内存里。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values
from tinygrad_llm.foreach import _BINARY, _TERNARY, _UNARY, FOREACH


def _list(m: Any, seed: int = 0) -> Any:
    """在各函数的定义域里：(0.1, 0.9)。"""
    return [m.tensor(0.5 + 0.4 * _squash(values(seed + i, *shape))) for i, shape in enumerate([(2, 3), (4,), ()])]


def _squash(x: Any) -> Any:
    return x / (1 + abs(x))


def _function(m: Any, name: str) -> Any:
    return FOREACH[name] if m is tg else getattr(torch, name)


@pytest.mark.parametrize("name", _UNARY)
def test_unary_functions_equal_torch(name: str) -> None:
    """某个一元函数的值与 torch 不同，或就地的没有写进去。"""

    def run(m: Any) -> Any:
        tensors = _list(m)
        found = _function(m, f"_foreach_{name}")(tensors)
        back = _function(m, f"_foreach_{name}_")(tensors)
        return found, tensors, type(found).__name__, type(back).__name__, back[0] is tensors[0]

    same(run)


OPERANDS: dict[str, Callable[[Any], Any]] = {
    "number": lambda m: 2,
    "list of tensors": lambda m: _list(m, 7),
    "list of numbers": lambda m: [2.0, 3.0, 0.5],
    "scalar tensor": lambda m: m.tensor(1.5, dtype=m.float64),
}


PAIRS = [
    (name, operand) for name in _BINARY for operand in sorted(OPERANDS)
    if operand != "scalar tensor" or name in ("add", "mul", "div")  # 别的函数 torch 不收标量张量
]  # fmt: skip


@pytest.mark.parametrize(("name", "operand"), PAIRS)
def test_binary_functions_equal_torch(name: str, operand: str) -> None:
    """某个二元函数与某种操作数的值与 torch 不同。"""

    def run(m: Any) -> Any:
        tensors, other = _list(m), OPERANDS[operand](m)
        found = _function(m, f"_foreach_{name}")(tensors, other)
        _function(m, f"_foreach_{name}_")(tensors, other)
        return found, tensors

    same(run)


WEIGHTS: dict[str, Callable[[Any], Any]] = {
    "number": lambda m: 0.3,
    "numbers": lambda m: [0.1, 0.2, 0.7],
    "tensor of numbers": lambda m: m.tensor([0.1, 0.2, 0.7]),
}


@pytest.mark.parametrize("weight", sorted(WEIGHTS))
@pytest.mark.parametrize("name", _TERNARY)
def test_ternary_functions_equal_torch(name: str, weight: str) -> None:
    """``addcmul``、``addcdiv`` 的系数用错了。"""

    def run(m: Any) -> Any:
        tensors, value = _list(m), WEIGHTS[weight](m)
        keyword = {"value": value} if weight == "number" else {}
        args = (_list(m, 5), _list(m, 9)) if keyword else (_list(m, 5), _list(m, 9), value)
        found = _function(m, f"_foreach_{name}")(tensors, *args, **keyword)
        _function(m, f"_foreach_{name}_")(tensors, *args, **keyword)
        return found, tensors

    same(run)


PROGRAMS: dict[str, Callable[[Any, Callable[[str], Any]], Any]] = {
    "alpha": lambda m, f: [f("add")(_list(m), _list(m, 3), alpha=2), f("sub")(_list(m), _list(m, 3), alpha=0.5)],
    "power of a number": lambda m, f: f("pow")(2.0, _list(m)),
    "lerp": lambda m, f: [f("lerp")(_list(m), _list(m, 3), 0.3), f("lerp")(_list(m), _list(m, 3), _list(m, 5)),
        f("lerp")(_list(m), _list(m, 3), [0.1, 0.8, 0.5]), f("lerp_")(_list(m), _list(m, 3), 0.9)],
    "norms": lambda m, f: [f("norm")(_list(m)), f("norm")(_list(m), 1), f("norm")(_list(m), float("inf")),
        f("norm")([m.ones(2)], 2, m.float64)],
    "largest": lambda m, f: f("max")(_list(m)),
    "clones": lambda m, f: _cloned(m, f),
    "matrices": lambda m, f: f("mm")([m.ones(2, 3)], [m.ones(3, 2)]),
    "copying": lambda m, f: _copied(m, f),
    "zeros": lambda m, f: f("zero_")(_list(m)),
    "gradient": lambda m, f: _gradient(m, f),
}  # fmt: skip


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_the_others_equal_torch(program: Callable[[Any, Any], Any]) -> None:
    """范数、拷贝、插值或梯度与 torch 不同。"""
    same(lambda m: program(m, lambda name: _function(m, f"_foreach_{name}")))


def _cloned(m: Any, f: Any) -> Any:
    tensors = _list(m)
    copies = f("clone")(tensors)
    f("zero_")(tensors)
    return copies


def _copied(m: Any, f: Any) -> Any:
    tensors = _list(m)
    f("copy_")(tensors, _list(m, 4), non_blocking=True)
    return tensors


def _gradient(m: Any, f: Any) -> Any:
    tensors = [t.requires_grad_() for t in _list(m)]
    sum(y.sum() for y in f("mul")(f("exp")(tensors), tensors)).backward()
    return [t.grad for t in tensors]


MISTAKES: dict[str, Callable[[Any, Callable[[str], Any]], Any]] = {
    "no list": lambda m, f: f("exp")(3),
    "a tensor": lambda m, f: f("mul")(m.ones(2), 2),
    "nothing": lambda m, f: f("add")([], 1),
    "too few numbers": lambda m, f: f("add")(_list(m), [1]),
    "too few tensors": lambda m, f: f("mul")(_list(m), [m.ones(1)]),
    "a long scalar": lambda m, f: f("mul")(_list(m), m.ones(2)),
    "alpha of a number": lambda m, f: f("add")(_list(m), 2, alpha=3),
    "writing to a leaf": lambda m, f: f("add_")([m.ones(1, requires_grad=True)], 1),
}


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """写错了却被悄悄收下。"""
    same_error(lambda m: mistake(m, lambda name: _function(m, f"_foreach_{name}")))


def test_every_name_is_in_the_facade() -> None:
    """有名字没有放进 ``tinygrad_llm``，或 torch 没有。"""
    for name, function in FOREACH.items():
        assert getattr(tg, name) is function
        assert all(hasattr(m, name) for m in ENGINES)
