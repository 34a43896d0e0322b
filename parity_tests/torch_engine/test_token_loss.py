"""分块的损失：与整张 logits 的交叉熵同值同梯度，不论块多大；从不物化整张 logits。"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from torch_llm import functional


def _plain(x: Any, weight: Any, target: Any) -> Any:
    return F.cross_entropy(F.linear(x, weight).flatten(0, -2), target.flatten(), reduction="sum")


def _inputs(seed: int, batch: int, length: int, classes: int, dtype: torch.dtype = torch.float64) -> Any:
    make = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, 5, dtype=dtype, generator=make, requires_grad=True)
    weight = torch.randn(classes, 5, dtype=dtype, generator=make, requires_grad=True)
    target = torch.randint(-1, classes, (batch, length), generator=make)
    return x, weight, target.masked_fill(target < 0, -100)


@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 9), st.integers(1, 11), st.sampled_from([1, 12, 1 << 25]))
def test_value_or_gradient_depends_on_the_chunks(seed: int, batch: int, length: int, classes: int, chunk: int) -> None:
    """损失或梯度与整张 logits 的不同：块的边界、被遮住的位置或上游的梯度弄错了。"""
    x, weight, target = _inputs(seed, batch, length, classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "_CHUNK", (chunk, chunk))
        ours = functional.token_loss(x, weight, target)
    theirs = _plain(x, weight, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    pairs = zip(*(torch.autograd.grad(loss * 0.3, [x, weight]) for loss in (ours, theirs)), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", ["x", "weight"])
def test_frozen_input_gets_a_gradient(frozen: str) -> None:
    """冻住的一边也算了梯度，或另一边因此没有梯度。"""
    x, weight, target = _inputs(0, 2, 3, 7)
    (x if frozen == "x" else weight).requires_grad_(False)
    functional.token_loss(x, weight, target).backward()
    assert ((x.grad is None), (weight.grad is None)) == (frozen == "x", frozen == "weight")


def test_evaluation_computes_gradients() -> None:
    """不求梯度时也算了梯度：评估白花两倍的乘法。"""
    x, weight, target = _inputs(0, 2, 3, 7)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional.token_loss(x, weight, target)
    assert counter.get_total_flops() == 2 * 6 * 5 * 7


def test_bfloat16_sums_in_bfloat16() -> None:
    """autocast 里损失的求和也降了精度：误差会大到看得见。"""
    x, weight, target = _inputs(1, 4, 64, 300, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        low = functional.token_loss(x, weight, target)
    assert low.dtype == torch.float32
    rounded = _plain(x.bfloat16().double(), weight.bfloat16().double(), target)  # 只有输入舍入过
    assert abs(low.item() / rounded.item() - 1) < 2e-3
    low.backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32


def test_whole_logits_are_materialised() -> None:
    """内存峰值随 N × V 增长：有一处留下了整张 logits。"""
    sizes: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (found if isinstance(found, (tuple, list)) else [found])
                         if isinstance(t, torch.Tensor))  # fmt: skip
            return found

    x, weight, target = _inputs(2, 4, 100, 1000)
    with pytest.MonkeyPatch.context() as patch, Watch():  # type: ignore[no-untyped-call]
        patch.setattr(functional, "_CHUNK", (50_000, 50_000))
        functional.token_loss(x, weight, target).backward()
    assert max(sizes) == 50_000
