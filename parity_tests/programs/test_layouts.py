"""结果在内存里的排布：torch 给出按行连续的地方，我们也要给出，``view`` 才接得上，dropout 的掩码才落在同一处。

流入：转置、换轴、隔行取的张量；流出：连续与否与 torch 不同的函数。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_llm as tg

INPUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda y: y.transpose(1, 2),
    "rotated": lambda y: y.permute(2, 0, 1),
    "strided": lambda y: y[:, :, ::2],
    "heads": lambda y: y.view(2, 3, 2, 2).transpose(1, 2),
}

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "addition": lambda m, x: x + m.ones(x.shape[-1]),
    "all": lambda m, x: (x > 0).all(0),
    "amax": lambda m, x: x.amax(0),
    "batch_norm": lambda m, x: m.nn.functional.batch_norm(x, None, None, training=True),
    "bmm": lambda m, x: x @ x.mT,
    "cat": lambda m, x: m.cat([x, x], 1),
    "cumsum": lambda m, x: x.cumsum(0),
    "dropout": lambda m, x: m.nn.functional.dropout(x, 0.5),
    "dropout after batch_norm": lambda m, x: m.nn.functional.dropout(
        m.nn.functional.batch_norm(x, None, None, training=True), 0.3
    ),
    "einsum": lambda m, x: m.einsum("...ij,...jk->...ki", x, x.mT),
    "embedding": lambda m, x: m.nn.functional.embedding((x > 0).long(), m.ones(2, 3)),
    "gather": lambda m, x: x.gather(0, m.zeros(x.shape, dtype=m.int64)),
    "index": lambda m, x: x[m.tensor([0, 1])],
    "index in the middle": lambda m, x: x[:, m.tensor([0, 1])],
    "index_select": lambda m, x: x.index_select(1, m.tensor([0, 1])),
    "layer_norm": lambda m, x: m.nn.functional.layer_norm(x, x.shape[-1:]),
    "linear": lambda m, x: m.nn.functional.linear(x, m.ones(5, x.shape[-1])),
    "log_softmax": lambda m, x: x.log_softmax(-1),
    "logsigmoid": lambda m, x: m.nn.functional.logsigmoid(x),
    "logsumexp": lambda m, x: x.logsumexp(0),
    "masked_fill": lambda m, x: x.masked_fill(x > 0, 0.0),
    "max": lambda m, x: x.max(1)[0],
    "mean": lambda m, x: x.mean(1, keepdim=True),
    "one_hot": lambda m, x: m.nn.functional.one_hot((x > 0).long(), 2),
    "pad": lambda m, x: m.nn.functional.pad(x, (1, 0)),
    "repeat": lambda m, x: x.repeat(*[2] * x.ndim),
    "repeat_interleave": lambda m, x: x.repeat_interleave(2, 1),
    "roll": lambda m, x: x.roll(1, 0),
    "scaled_dot_product_attention": lambda m, x: m.nn.functional.scaled_dot_product_attention(x, x, x),
    "softmax": lambda m, x: x.softmax(-1),
    "stack": lambda m, x: m.stack([x, x], 1),
    "sum": lambda m, x: x.sum(0),
    "topk": lambda m, x: x.topk(1, 0)[0],
    "tril": lambda m, x: x.tril(),
    "var": lambda m, x: x.var(0),
    "where": lambda m, x: m.where(x > 0, x, 0.0),
}


@pytest.mark.parametrize("kind", sorted(INPUTS))
@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.fused  # 拆开之后结果的排布随输入
def test_contiguous_where_torch_is(name: str, kind: str) -> None:
    """torch 的结果按行连续而我们的不是（``view`` 会失败），或值不同（dropout 的掩码错了位）。"""
    found = []
    for m in (tg, torch):
        m.manual_seed(0)
        found.append(CALLS[name](m, INPUTS[kind](m.randn(2, 3, 4))))
    ours, theirs = found
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.is_contiguous() or not theirs.is_contiguous(), f"{ours.stride()}, torch has {theirs.stride()}"
    torch.testing.assert_close(torch.tensor(ours.tolist(), dtype=theirs.dtype), theirs, rtol=1e-5, atol=1e-5)


def test_gradients_lie_like_their_parameters() -> None:
    """矩阵的梯度转着放：``p.grad.view(-1)`` 会失败。"""
    model = tg.nn.Sequential(tg.nn.Embedding(5, 4), tg.nn.LSTM(4, 4))
    more = tg.nn.Sequential(tg.nn.TransformerEncoderLayer(4, 2, 8), tg.nn.Conv1d(3, 2, 2), tg.nn.Bilinear(3, 3, 2))
    hidden = more[1](more[0](model[1](model[0](tg.tensor([[0, 1], [2, 3], [4, 0]])))[0]).transpose(0, 1))
    more[2](hidden, hidden).sum().backward()
    for name, p in [*model.named_parameters(), *more.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.is_contiguous(), f"{name}: {p.grad.stride()}"
