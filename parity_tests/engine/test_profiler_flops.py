"""剖析数出的浮点运算次数：与 torch 的 ``FlopCounterMode`` 数的相同。

流入：各种矩阵乘积与整个 GPT；流出：数得不同的一种。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tinygrad_llm as tg
import torch_llm.gpt
from parity_tests.engine.twins import table
from tinygrad_llm.common.config import preset
from tinygrad_llm.gpt import GPT
from tinygrad_llm.ops.op import REGISTRY
from tinygrad_llm.profiler import profile
from tinygrad_llm.profiler.flops import _FORWARD


def _attended(m: Any, q: Any, k: Any, v: Any) -> Any:
    return m.nn.functional.scaled_dot_product_attention(q, k, v)


PRODUCTS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "mm": (lambda m, a, b: a @ b, [(4, 5), (5, 3)]),
    "batches": (lambda m, a, b: a @ b, [(2, 4, 5), (2, 5, 3)]),
    "linear": (lambda m, x, w, b: m.nn.functional.linear(x, w, b), [(2, 4, 5), (3, 5), (3,)]),
    "attention": (_attended, [(2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 5)]),
    "convolution": (lambda m, x, w: m.nn.functional.conv2d(x, w, padding=1), [(2, 4, 7, 6), (3, 4, 3, 3)]),
    "transposed": (lambda m, x, w: m.nn.functional.conv_transpose2d(x, w), [(2, 4, 5, 6), (4, 3, 3, 3)]),
}


@pytest.mark.parametrize("case", table(PRODUCTS))
def test_matrix_products_cost_what_torch_counts(case: tuple[Callable[..., Any], list[tuple[int, ...]]]) -> None:
    """浮点运算次数与 ``FlopCounterMode`` 数的不同，前向或反向。"""
    function, shapes = case
    inputs = [torch.randn(*shape, requires_grad=True) for shape in shapes]
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        function(torch, *inputs).sum().backward()
    with profile(with_flops=True) as prof:
        function(tg, *[tg.randn(*shape, requires_grad=True) for shape in shapes]).sum().backward()
    assert sum(event.flops for event in prof.events()) == counter.get_total_flops()


def test_groups_cost_their_share() -> None:
    """分组卷积算成了不分组的；torch 在这里把权重的梯度多算了组数倍，所以手算。"""
    x, w = tg.randn(2, 4, 7, 6, requires_grad=True), tg.randn(6, 2, 3, 3, requires_grad=True)
    with profile(with_flops=True) as prof:
        tg.nn.functional.conv2d(x, w, groups=2).sum().backward()
    one_output = 2 * 2 * 3 * 3  # 组内 2 个通道，3×3 的核，乘与加
    assert sum(event.flops for event in prof.events()) == 3 * (2 * 6 * 5 * 4) * one_output


def test_the_whole_model_costs_what_torch_counts() -> None:
    """GPT 的一步里有一种矩阵乘积没有数进去：新的融合算子要在 ``flops.py`` 里添一行。"""
    config = preset("toy", vocab_size=40, n_layer=2, n_embd=16, n_head=2, context=8)
    ids = np.arange(16).reshape(2, 8)
    theirs = torch_llm.gpt.GPT(config)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        logits = theirs(torch.from_numpy(ids))  # 分块的损失就地累加权重的梯度，torch 的计数器不数就地的乘积
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(ids).flatten()).backward()
    ours = GPT(config)
    with profile(with_flops=True) as prof:
        ours.loss(tg.from_numpy(ids), tg.from_numpy(ids)).backward()
    assert sum(event.flops for event in prof.events()) == counter.get_total_flops()


def test_formulas_name_ops_that_exist() -> None:
    """``flops.py`` 里的算子改了名字。"""
    assert set(_FORWARD) <= set(REGISTRY)
