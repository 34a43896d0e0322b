"""``explain``：从损失到一个值的全部路，积之和就是梯度。"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing import explain

_OPS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1),
    lambda a, b: a.tanh(),
    lambda a, b: (a * 0.3).exp(),
    lambda a, b: a.sigmoid() * b,
    lambda a, b: (a * a + 1).log(),
]


@given(
    st.lists(st.tuples(st.integers(0, len(_OPS) - 1), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=10),
    st.lists(st.floats(-2, 2), min_size=2, max_size=2),
)
def test_the_sum_over_paths_is_the_gradient(choices: list[tuple[int, int, int]], start: list[float]) -> None:
    """随机的标量程序：路的积之和与引擎的梯度不同，或列出的路不是全部。"""
    with tg.trace() as t:
        a, b = (tg.tensor(x, dtype=tg.float64, requires_grad=True) for x in start)
        values = [a, b]
        for op, first, second in choices:
            values.append(_OPS[op](values[first % len(values)], values[-1 - second % len(values)]))
        loss = values[-1] * 1.5
        loss.backward()
    for leaf, name in ((a, "a"), (b, "b")):
        if leaf.grad is None:
            with pytest.raises(UserError, match=f"no gradient reaches {name}|no value named"):
                explain(t, name)
            continue
        found = explain(t, name, limit=100_000)
        assert found.gradient == float(leaf.grad)
        assert_close(np.array(found.total), leaf.grad.array, "float64")
        assert found.count == len(found.paths) == len(set(found.paths))
        assert_close(np.array(sum(path.product for path in found.paths)), leaf.grad.array, "float64")


def _diamond() -> Any:
    with tg.trace() as t:
        x = tg.tensor(1.5, dtype=tg.float64, requires_grad=True)
        s = x * x
        u = s + 1.0
        y = s * u
        y.backward()
    return t


def test_a_shared_value_is_explained_path_by_path() -> None:
    """菱形：每条路写明经过谁、乘了哪些数；手算：(3.25 + 2.25) · 2 · 1.5。"""
    found = explain(_diamond(), "x")
    assert [[link.factor for link in path.links] for path in found.paths] == [
        [3.25, 1.5], [3.25, 1.5], [2.25, 1.0, 1.5], [2.25, 1.0, 1.5],
    ]  # fmt: skip
    assert str(found) == EXPECTED


EXPECTED = """\
d y / d x: the sum over 4 paths from y to x

  1. y → s → x (as a)
     ∂y/∂s · ∂s/∂x
     3.25 × 1.5 = 4.875

  2. y → s → x (as b)
     ∂y/∂s · ∂s/∂x
     3.25 × 1.5 = 4.875

  3. y → u → s → x (as a)
     ∂y/∂u · ∂u/∂s · ∂s/∂x
     2.25 × 1 × 1.5 = 3.375

  4. y → u → s → x (as b)
     ∂y/∂u · ∂u/∂s · ∂s/∂x
     2.25 × 1 × 1.5 = 3.375

sum of the paths            4.875 + 4.875 + 3.375 + 3.375 = 16.5
gradient found by backward  16.5"""


def test_inner_values_and_seeds_are_explained_too() -> None:
    """中间的值、不是 1 的起点、几个起点。"""
    x = tg.tensor(3.0, dtype=tg.float64, requires_grad=True)
    with tg.trace() as t:
        h = x * 2
        a, b = h * 5, h + 1
        tg.autograd.backward([a, b], [tg.tensor(10.0, dtype=tg.float64), None])
    assert explain(t, "h").total == 51.0
    assert [path.product for path in explain(t, "x").paths] == [100.0, 2.0]
    assert x.grad is not None
    assert float(x.grad) == 102.0 == explain(t, "x").gradient
    assert "seed of a · ∂a/∂h · ∂h/∂x" in str(explain(t, "x"))


def test_trillions_of_paths_are_counted_not_walked() -> None:
    """路的条数是指数级的：要能数清、求和，只列出头几条。"""
    x = tg.tensor(1.0, dtype=tg.float64, requires_grad=True)
    with tg.trace() as t:
        y = x
        for _ in range(50):
            y = y + y
        y.backward()
    found = explain(t, "x", limit=2)
    assert (found.count, found.total, found.gradient, len(found.paths)) == (2**50, 2.0**50, 2.0**50, 2)
    assert max(map(len, str(found).splitlines())) <= 100
    assert f"... and {2**50 - 2:,} more paths" in str(found)


def test_errors_say_what_to_do() -> None:
    """没有这个值、不是标量、梯度没有到达，都要说清楚。"""
    t = _diamond()
    with pytest.raises(UserError, match='no value named "w"'):
        explain(t, "w")
    with pytest.raises(UserError, match="no gradient reaches constant_1"):
        explain(t, "constant_1")
    with tg.trace() as t:
        v = tg.ones(3, requires_grad=True)
        (v * 2).sum().backward()
    with pytest.raises(UserError, match=r"explain follows scalars, and mul_1 has shape \[3\]"):
        explain(t, "v")


def test_every_pass_can_be_explained() -> None:
    """两趟反传：缺省解释最后一趟，也可以指定。"""
    x = tg.tensor(3.0, dtype=tg.float64, requires_grad=True)
    with tg.trace() as t:
        for scale in (2.0, 7.0):
            (x * scale).backward()
    assert [explain(t, "x").total, explain(t, "x", backward=0).total] == [7.0, 2.0]
    assert math.isclose(explain(t, "x", backward=1).gradient, 7.0)
