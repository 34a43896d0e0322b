"""求导表写错一个字，声明时（也就是 ``import`` 时）就报错，而不是等到反传。

流入：故意写错的声明；流出：``TypeError``，消息里点名写错的地方。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tinygrad_llm.ops import REGISTRY, op


@pytest.fixture(autouse=True)
def _registry_is_restored() -> Iterator[None]:
    """声明成功的试验算子不留在登记表里。"""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def _trial(x: Any, *, scale: float = 1.0) -> Any:
    return x * scale


def _joint(g: Any, x: Any, nonsense: Any) -> tuple[Any]:
    return (g * x * nonsense,)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "derivative for an input that does not exist": (lambda: op("y", w=lambda g: g)(_trial), r"\['w'\]"),
    "derivative for an attribute": (lambda: op("y", scale=lambda g: g)(_trial), r"\['scale'\]"),
    "unknown name in a derivative": (lambda: op("y", x=lambda g, z: g * z)(_trial), r"\['z'\]"),
    "misspelt output": (lambda: op("y", x=lambda g, out: g * out)(_trial), r"\['out'\]"),
    "kept value that was not declared": (lambda: op("y", x=lambda g, mask: g * mask)(_trial), r"\['mask'\]"),
    "derivative without g": (lambda: op("y", x=lambda x: x)(_trial), "takes g first"),
    "derivative with no parameter": (lambda: op("y", x=lambda: 0)(_trial), "takes g first"),
    "g is not the first": (lambda: op("y", x=lambda x, g: g * x)(_trial), "takes g first"),
    "needs in a single derivative": (lambda: op("y", x=lambda g, needs: g)(_trial), r"\['needs'\]"),
    "unknown name in a joint derivative": (lambda: op("y", joint=_joint, wrt="x")(_trial), r"\['nonsense'\]"),
    "joint derivative for an unknown input": (lambda: op("y", joint=_joint, wrt="x w")(_trial), r"\['w'\]"),
    "kept name equal to an input": (lambda: op("y", keeps="x", x=lambda g: g)(_trial), "must differ"),
    "kept name equal to an attribute": (lambda: op("y", keeps="scale", x=lambda g: g)(_trial), "must differ"),
    "kept name that is reserved": (lambda: op("y", keeps="shapes", x=lambda g: g)(_trial), "must differ"),
    "input name that is reserved": (lambda: op("y", g=lambda g: g)(lambda g: g), "must differ"),
    "name that is taken": (lambda: op("y", x=lambda g: g)(_named("add")), "declared twice"),
}


def _named(name: str) -> Callable[..., Any]:
    def forward(x: Any) -> Any:
        return x

    forward.__name__ = name
    return forward


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_table_fails_at_declaration(case: str) -> None:
    """写错的求导表被悄悄接受，或留下半个声明。"""
    declare, message = WRONG[case]
    before = dict(REGISTRY)
    with pytest.raises(TypeError, match=message):
        declare()
    assert before == REGISTRY


def test_right_table_is_accepted_and_used() -> None:
    """写对的表反而被拒绝：上面的失败就说明不了什么。"""
    declared = op("y = c x", x=lambda g, scale: g * scale)(_trial)
    assert REGISTRY["_trial"] is declared
    assert declared.inputs == ("x",)
    assert declared.attrs == ("scale",)
    assert declared(3.0, scale=2.0) == 6.0
    assert "c x" in repr(declared)
