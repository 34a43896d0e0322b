"""为实数而写的算子收下复数：值、梯度与 torch 相同，与中心差分相同，二阶导也是。

``op_table.py`` 的每一行都再跑一遍，浮点的输入换成复数。求导表只有实数的一份，见 ``ops/op.py`` 的 ``_conjugating``。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine import rows_complex
from parity_tests.engine.op_table import TABLE
from parity_tests.tolerances import TABLE as TOLERANCES
from parity_tests.tolerances import assert_close
from tinygrad_llm.autograd.complex import ACCEPTS_COMPLEX
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import REGISTRY

FEWER = settings(max_examples=max(4, min(50, settings().max_examples // 4)))
NAMES = sorted(ACCEPTS_COMPLEX - set(rows_complex.ROWS) - {"cast"})


def _as_complex(value: Any) -> Any:
    """浮点数组添上虚部；下标、掩码与 ``None`` 不变。"""
    if not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        return value
    return np.asarray(value + 1j * np.random.default_rng(value.size).uniform(-0.9, 0.9, value.shape))


def _drawn(name: str, data: st.DataObject) -> tuple[list[Any], dict[str, Any]]:
    args, attrs = TABLE[name].draw(data.draw, True)
    return [_as_complex(a) for a in args], attrs


def _leaves(m: Any, args: list[Any]) -> list[Any]:
    """复数的叶子；``m`` 是哪个引擎都行。"""
    made = [m.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    return [x.requires_grad_() if isinstance(x, m.Tensor) and x.is_complex() else x for x in made]


def test_the_list_names_an_op_that_does_not_exist() -> None:
    """名单里有已经不存在的算子，或为复数而写的算子漏了。"""
    assert set(REGISTRY) >= ACCEPTS_COMPLEX
    written = {name for name in rows_complex.ROWS if name not in ("complex", "polar", "view_as_complex", "fft_r2c")}
    assert written <= ACCEPTS_COMPLEX


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"conv_weight", "embedding"}))  # torch 没有它们的复数梯度
@FEWER
@given(data=st.data())
def test_complex_inputs_equal_torch(name: str, data: st.DataObject) -> None:
    """复数的前向或梯度与 torch 不同。"""
    args, attrs = _drawn(name, data)
    ours, theirs = _leaves(tg, args), _leaves(torch, args)
    y, expected = apply(REGISTRY[name], ours, attrs), TABLE[name].twin(*theirs, **attrs)
    assert_close(y, expected, "float64", f"{name} forward")
    seed = np.asarray(np.exp(1j * np.arange(y.array.size)).reshape(y.array.shape))
    wanted = [i for i, x in enumerate(ours) if isinstance(x, tg.Tensor) and x.requires_grad]
    found = tg.autograd.grad(y, [ours[i] for i in wanted], tg.tensor(seed), allow_unused=True)
    grads = torch.autograd.grad(expected, [theirs[i] for i in wanted], torch.tensor(seed), allow_unused=True)
    for i, mine, other in zip(wanted, found, grads, strict=True):
        assert (mine is None) == (other is None)
        if other is not None:
            assert_close(mine, other, "float64", f"gradient of {name} with respect to input {i}")


@pytest.mark.parametrize("name", NAMES)
@FEWER
@given(data=st.data())
def test_complex_gradients_equal_central_differences(name: str, data: st.DataObject) -> None:
    """复数的导数或二阶导与中心差分不同。"""
    args, attrs = _drawn(name, data)
    inputs = _leaves(tg, args)
    rtol, atol = TOLERANCES["central difference"]
    assert tg.gradcheck(lambda *xs: apply(REGISTRY[name], xs, attrs), inputs, rtol=rtol, atol=atol, fast_mode=True)
    rtol, atol = TOLERANCES["central difference second order"]
    assert tg.gradgradcheck(lambda *xs: apply(REGISTRY[name], xs, attrs), inputs, rtol=rtol, atol=atol, fast_mode=True)
