"""混合精度：16 位浮点的舍入、autocast 选的精度与 ``GradScaler`` 的倍数都与 torch 的 CPU 版相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, both, table, values
from parity_tests.tolerances import assert_close
from tinygrad_llm.ops.bfloat16 import rounded

X, W, V = (values(seed, *shape).astype(np.float32) for seed, shape in ((0, (8, 16)), (1, (16, 16)), (2, (16, 16))))
LABELS = np.arange(8) % 16
LOW = ("bfloat16", "float16")


@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
def test_rounding_to_bfloat16(bits: list[int]) -> None:
    """某个 float32 舍入得与 torch 不同（次正规数、无穷大与 NaN 也算）。"""
    x = np.array(bits, np.uint32).view(np.float32)
    ours = rounded(x).view(np.float32)
    theirs = torch.from_numpy(np.array(x)).bfloat16().float().numpy()
    np.testing.assert_array_equal(ours, theirs)


PROGRAMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "linear": lambda m, x, w: m.nn.functional.linear(x, w),
    "matmul": lambda m, x, w: x @ w,
    "softmax": lambda m, x, w: (x @ w).softmax(-1),
    "scalars": lambda m, x, w: ((x @ w) * 2.5 + 0.1).tanh(),
    "silu": lambda m, x, w: m.nn.functional.silu(x @ w),
    "mean": lambda m, x, w: (x @ w).mean(-1),
    "cat": lambda m, x, w: m.cat([(x @ w)[:, :4], x], -1),
    "index": lambda m, x, w: (x @ w)[[0, 0, 1, 2]],
    "where": lambda m, x, w: m.where(x > 0, x @ w, m.tensor(0.0, dtype=x.dtype)),
    "reused": lambda m, x, w: x @ w + (x @ w).relu(),
}


@pytest.mark.parametrize("low", LOW)
@pytest.mark.parametrize("program", table(PROGRAMS))
@pytest.mark.fused  # 拆开之后每一步都舍入一次
def test_low_precision_equals_torch_bit_for_bit(program: Any, low: str) -> None:
    """结果、梯度或它们的 dtype 与 torch 不同。"""

    def run(m: Any) -> Any:
        x, w = (m.tensor(a).to(getattr(m, low)).requires_grad_() for a in (X, W))
        y = program(m, x, w)
        y.backward(m.tensor(np.cos(np.arange(y.numel()))).reshape(tuple(y.shape)).to(y.dtype))
        return y, x.grad, w.grad

    ours, theirs = both(run)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.dtype.name == str(expected.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(mine.detach().float().numpy(), expected.detach().float().numpy())


def _mixed(m: Any, low: str) -> Any:
    f = m.nn.functional
    x, w, v = m.tensor(X), m.tensor(W, requires_grad=True), m.tensor(V, requires_grad=True)
    with m.autocast("cpu", dtype=getattr(m, low)):
        h = f.layer_norm(f.gelu(x @ w) + x, (16,))
        y = f.linear(h, v)
        logits = f.linear(f.relu(y), w)
        loss = f.cross_entropy(logits, m.tensor(LABELS))
        with m.autocast("cpu", enabled=False):
            full = x @ w
    loss.backward()
    return h, y, logits, full, loss, w.grad, v.grad


@pytest.mark.parametrize("low", LOW)
@pytest.mark.fused  # 拆开之后每一步都舍入一次
def test_autocast_equals_torch(low: str) -> None:
    """autocast 之下某一步的 dtype、值或权重的梯度与 torch 不同。"""
    ours, theirs = both(lambda m: _mixed(m, low))
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.dtype.name == str(expected.dtype).removeprefix("torch.")
        assert_close(mine.detach().float(), expected.detach().float(), f"autocast {low}")


def _scaled(m: Any) -> Any:
    m.manual_seed(0)
    model = m.nn.Linear(4, 4)
    optimizer = m.optim.SGD(model.parameters(), lr=0.1)
    scaler = m.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)
    seen = []
    for step in range(6):
        optimizer.zero_grad()
        loss = model(m.ones(2, 4)).sum() * (float("inf") if step == 3 else 1)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        seen.append(scaler.get_scale())
    return seen, scaler.state_dict(), model.weight.detach().numpy()


def test_grad_scaler_equals_torch() -> None:
    """倍数的增减、跳过的步或最后的权重与 torch 不同。"""
    (scales, state, weight), (scales_torch, state_torch, weight_torch) = both(_scaled)
    assert scales == scales_torch
    assert state == state_torch
    np.testing.assert_allclose(weight, weight_torch, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
def test_misuse_of_the_scaler_is_refused(m: Any) -> None:
    """重复 ``unscale_``、重复 ``step`` 或没有检查过就 ``update`` 没有报错。"""
    model = m.nn.Linear(2, 2)
    optimizer = m.optim.SGD(model.parameters(), lr=0.1)
    scaler = m.amp.GradScaler("cpu")
    with pytest.raises(AssertionError):
        scaler.update()
    scaler.scale(model(m.ones(1, 2)).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscale_"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="step"):
        scaler.step(optimizer)


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
def test_gpu_autocast_is_disabled_with_a_warning(m: Any) -> None:
    """没有 GPU 时 ``autocast("cuda")`` 没有警告，或仍然换了精度。"""
    with pytest.warns(UserWarning, match="Disabling"):
        context = m.autocast("cuda", dtype=m.bfloat16)
    with context:
        assert (m.ones(2, 2) @ m.ones(2, 2)).dtype == m.float32


def test_bfloat16_prints_and_converts_as_in_torch() -> None:
    """打印、``tolist``、``finfo``、字节数或与别的类型相遇的结果与 torch 不同。"""

    def run(m: Any) -> Any:
        x = m.tensor([1.1, -2.2, 3.3], dtype=m.bfloat16)
        mixed = [str((x + other).dtype) for other in (m.ones(3), m.ones(3).half(), m.ones(3).double(), 1.5, True)]
        text = str(m.finfo(m.bfloat16))
        return repr(x), x.tolist(), x.element_size(), x.sum().item(), mixed, text, str(x.mean().dtype)

    ours, theirs = both(run)
    assert ours == theirs


def test_numpy_has_no_bfloat16() -> None:
    """bfloat16 悄悄变成了 float32 数组。"""
    with pytest.raises(TypeError, match="bfloat16"):
        tg.ones(2, dtype=tg.bfloat16).numpy()
