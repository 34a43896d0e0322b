"""``out=``：结果写进给定的张量，规则与报错同 torch。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import outcome

WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "maximum": lambda m, a, b: m.maximum(a, b, out=a),
    "add a number": lambda m, a, b: m.add(a, 1, out=b),
    "matmul": lambda m, a, b: m.matmul(a, b, out=m.empty(2, 2)),
    "grows": lambda m, a, b: m.exp(a, out=m.empty(0)),
    "wider type": lambda m, a, b: m.mul(a, b, out=m.empty(2, 2, dtype=m.float64)),
    "two results": lambda m, a, b: m.max(a, 1, out=(m.empty(2), m.empty(2, dtype=m.int64))),
    "cat": lambda m, a, b: m.cat([a, b], 1, out=m.empty(2, 4)),
    "stack": lambda m, a, b: m.stack([a, b], out=m.empty(0)),
    "where": lambda m, a, b: m.where(a > b, a, b, out=b),
    "into a row": lambda m, a, b: (m.sum(a, 0, out=b[1]), b)[1],
    "none": lambda m, a, b: m.exp(a, out=None),
    "narrower type": lambda m, a, b: m.exp(a, out=m.empty(2, 2, dtype=m.int64)),
    "needs a gradient": lambda m, a, b: m.exp(a.requires_grad_(), out=b),
    "out needs a gradient": lambda m, a, b: m.exp(a, out=b.requires_grad_()),
    "a view has none": lambda m, a, b: m.flatten(a, out=b),
    "normalize": lambda m, a, b: (m.nn.functional.normalize(a[0], dim=0, out=b[1]), b)[1],
    "zeros": lambda m, a, b: m.zeros(2, 2, out=a),
    "eye": lambda m, a, b: m.eye(2, out=m.empty(2, 2, dtype=m.float64)),
    "full": lambda m, a, b: m.full((2, 2), 3.0, out=b),
    "arange": lambda m, a, b: m.arange(4, out=m.empty(0, dtype=m.int32)),
    "linspace": lambda m, a, b: m.linspace(0, 1, 2, out=b[0]),
    "ones of another type": lambda m, a, b: m.ones(2, 2, dtype=m.int64, out=a),
    "randn": lambda m, a, b: (m.manual_seed(0), m.randn(2, 2, out=b))[1],
    "randperm": lambda m, a, b: (m.manual_seed(0), m.randperm(4, out=m.empty(4, dtype=m.int64)))[1],
    "zeros into a parameter": lambda m, a, b: m.zeros(2, 2, out=a.requires_grad_()),
    "ones into a list": lambda m, a, b: m.ones(1, out=[1.0]),
    "no tensor": lambda m, a, b: m.exp(a, out=[1.0]),
}


def _run(m: Any, write: Callable[[Any, Any, Any], Any]) -> Any:
    a, b = m.tensor([[1.0, 5.0], [-2.0, 0.5]]), m.tensor([[3.0, 2.0], [0.0, 7.0]])
    return outcome(m, lambda m: [write(m, a, b), a.detach(), b.detach()])


@pytest.mark.parametrize("name", sorted(WRITES))
def test_out_is_written_as_in_torch(name: str) -> None:
    """写进 ``out`` 的值、dtype 或报错的类型与 torch 不同，或者写坏了别的张量。"""
    assert _run(tg, WRITES[name]) == _run(torch, WRITES[name])


@pytest.mark.parametrize("m", [tg, torch], ids=["ours", "torch"])
def test_resizing_a_filled_out_warns(m: Any) -> None:
    """``out`` 的形状不对却一声不响地换掉，别处看着它的人就读错了。"""
    out = m.ones(3)
    with pytest.warns(UserWarning, match="was resized"):
        assert m.exp(m.zeros(2), out=out) is out
    assert out.tolist() == [1.0, 1.0]
