"""打印：版式与 torch 逐字相同。"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_llm as tg

SHAPES = [(), (1,), (3,), (20,), (2, 3), (3, 4, 5), (0,), (0, 3), (2, 0), (100, 20), (2000,), (30, 40, 5), (11, 11, 11)]
RNG = np.random.default_rng(0)
KINDS: dict[str, Callable[[Any], Any]] = {
    "normal": lambda x: x,
    "large": lambda x: x * 1e4,
    "small": lambda x: x * 1e-6,
    "whole": lambda x: np.round(x * 5),
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "int64": lambda x: (x * 100).astype(np.int64),
    "int32": lambda x: (x * 100).astype(np.int32),
    "bool": lambda x: x > 0,
    "not finite": lambda x: np.where(x > 1, np.inf, np.where(x < -1, np.nan, x)),
    "all nan": lambda x: np.full_like(x, np.nan),
    "zeros": lambda x: x * 0,
}


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    yield
    tg.set_printoptions(profile="default")
    torch.set_printoptions(profile="default")


def _same_text(array: Any) -> None:
    assert repr(tg.from_numpy(array)) == repr(torch.from_numpy(array))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_tensor_prints_differently(kind: str) -> None:
    """某种形状的打印与 torch 不同。"""
    for shape in SHAPES:
        _same_text(np.asarray(KINDS[kind](RNG.standard_normal(shape))))


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=8), elements=st.floats(-1e12, 1e12)))
def test_drawn_values_print_differently(array: Any) -> None:
    """任意数值的打印与 torch 不同。"""
    _same_text(array)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"sci_mode": True},
        {"sci_mode": False, "precision": 6},
        {"threshold": 5, "edgeitems": 1},
        {"linewidth": 40},
        {"profile": "short"},
        {"profile": "full"},
    ],
)
def test_print_options_are_not_followed(options: dict[str, Any]) -> None:
    """``set_printoptions`` 的效果与 torch 不同。"""
    tg.set_printoptions(**options)
    torch.set_printoptions(**options)
    for shape in SHAPES:
        _same_text(np.asarray(RNG.standard_normal(shape) * 100))


def test_the_notes_after_the_values_differ() -> None:
    """``requires_grad``、``grad_fn`` 与 dtype 的附注，以及 Parameter、Size 与 dtype 的写法。"""
    for m in (tg, torch):
        x = m.tensor([1.0, 2.5], requires_grad=True)
        assert repr(x) == "tensor([1.0000, 2.5000], requires_grad=True)"
        assert repr(x + 1) == "tensor([2.0000, 3.5000], grad_fn=<AddBackward0>)"
        assert repr(x.sum()) == "tensor(3.5000, grad_fn=<SumBackward0>)"
        assert repr(m.nn.Parameter(m.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"
        assert repr(x.shape) == "torch.Size([2])"
        assert repr(x.dtype) == "torch.float32"
