"""融合注意力的分块：块切在哪里、留不留权重，结果都与按定义写的一样。"""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.op_table import TABLE
from parity_tests.tolerances import assert_close
from tinygrad_llm.ops import attention as attention_ops
from tinygrad_llm.ops.attention import attention

SHAPES = {
    "several blocks": (2, 4, 4, 130, 130, 8, 8),
    "grouped queries": (1, 6, 2, 100, 100, 4, 5),
    "fewer keys than queries": (3, 2, 1, 70, 40, 4, 4),
    "more keys than queries": (2, 2, 2, 40, 90, 3, 3),
    "one query": (1, 1, 1, 1, 7, 4, 4),
}
"""(B, H, Hkv, T, S, D, V)。"""


def _inputs(shape: tuple[int, ...]) -> list[Any]:
    batch, heads, kv, length, keys, width, value = shape
    rng = np.random.default_rng(0)
    q = rng.standard_normal((batch, length, heads, width)).swapaxes(1, 2)  # 与模型里一样：转置来的视图
    return [q, *(rng.standard_normal((batch, kv, keys, n)) for n in (width, value))]


def _gradients(g: Any, arrays: list[Any], y: Any, kept: list[Any], attrs: dict[str, Any]) -> Any:
    plan = attention.plan((True, True, True))
    assert plan is not None
    pool = {"y": y, "needs": (True, True, True), **attrs}
    pool |= dict(zip((*attention.inputs, *attention.keeps), (*arrays, *kept), strict=True))
    _, vjp, _, slots = plan.rules[0]
    return vjp(g, *[pool[plan.sources[slot]] for slot in slots])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("rows", "tile"), [(64, 1 << 17), (3, 40), (64, 500)])
def test_blocks_do_not_change_the_result(name: str, rows: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """某种切法漏掉或多算了一块，遮错了对角线，或窗口错了一位。"""
    monkeypatch.setattr(attention_ops, "_ROWS", rows)
    monkeypatch.setattr(attention_ops, "_TILE", tile)
    arrays = _inputs(SHAPES[name])
    square = arrays[0].shape[-2] == arrays[1].shape[-2]
    windows = (None, 1, 5, 64, 65, 200) if square else (None,)
    for is_causal, recompute, window in itertools.product((False, True), (False, True), windows):
        attrs = {"is_causal": is_causal, "scale": 0.3, "window": window if is_causal else None, "recompute": recompute}
        y, *kept = attention.forward(*arrays, **attrs)
        theirs = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in arrays]
        expected = TABLE["attention"].twin(*theirs, **attrs)
        g = np.random.default_rng(1).standard_normal(y.shape)
        found = _gradients(g, arrays, y, kept, attrs)
        expected.backward(torch.tensor(g))
        for ours, other in zip((y, *found), (expected.detach(), *(t.grad for t in theirs)), strict=True):
            assert_close(ours, other, "float64", f"{attrs}")


def test_recomputation_needs_no_square_array() -> None:
    """重算的注意力仍然申请了 T × T 的数组：内存随 T 的平方增长。"""
    peaks = []
    for length in (512, 1024, 2048):
        q, k, v = (np.ones((1, 1, length, 16), np.float32) for _ in range(3))
        attrs = {"is_causal": True, "scale": 1 / math.sqrt(16), "window": None, "recompute": True}
        tracemalloc.start()
        y, *kept = attention.forward(q, k, v, **attrs)
        _gradients(y, [q, k, v], y, kept, attrs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 2.2 * (peaks[1] - peaks[0])
    assert peaks[2] < 2048 * 2048 * 4 / 4


@pytest.mark.fused  # 拆开之后总是留着权重
def test_sdpa_kernel_does_not_choose_what_is_kept() -> None:
    """``sdpa_kernel`` 选了省内存的实现，图上却还留着权重；或选了 ``MATH`` 却没有留；或结果、梯度因此不同。"""
    backend, seen = tg.nn.attention.SDPBackend, {}
    for one in (backend.MATH, backend.FLASH_ATTENTION):
        q, k, v = (tg.from_numpy(a).requires_grad_() for a in _inputs(SHAPES["several blocks"]))
        with tg.nn.attention.sdpa_kernel(one):
            y = tg.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        seen[one] = y.grad_fn.attrs["recompute"], y.detach().numpy(), tg.autograd.grad(y.sum(), [q, k, v])
    assert (seen[backend.MATH][0], seen[backend.FLASH_ATTENTION][0]) == (False, True)
    for ours, other in zip(*((s[1], *(g.numpy() for g in s[2])) for s in seen.values()), strict=True):
        assert_close(ours, other, "float64", "recomputed")
