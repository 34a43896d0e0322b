"""成袋查表：输出、梯度、权重的缩减与报错都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, table, values
from parity_tests.tolerances import assert_close


@given(data=st.data())
def test_bags_equal_torch(data: st.DataObject) -> None:
    """随机的袋（有空袋、重复与补齐的下标）之下，输出、对表与权重的梯度或缩减过的表与 torch 不同。"""
    mode = data.draw(st.sampled_from(["sum", "mean", "max"]))
    ids = data.draw(st.lists(st.integers(0, 4), min_size=0, max_size=8))
    starts = [0, *sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=3)))]
    settings: dict[str, Any] = {"mode": mode, "padding_idx": data.draw(st.sampled_from([None, 1, -1]))}
    if data.draw(st.booleans()):
        settings["include_last_offset"], starts = True, [*starts, len(ids)]
    settings["max_norm"] = data.draw(st.sampled_from([None, 1.0]))

    def run(m: Any) -> Any:
        table, shares = (m.tensor(values(i, *s), requires_grad=True) for i, s in enumerate(((5, 3), (len(ids),))))
        extra = {"per_sample_weights": shares} if mode == "sum" else {}
        index, offsets = (m.tensor(np.array(x, dtype=np.int64)) for x in (ids, starts))
        y = m.nn.functional.embedding_bag(index, table, offsets, **settings, **extra)
        (y * y.cos()).sum().backward()
        return y, table.grad, shares.grad if extra else 0, table.detach()

    same(run, what=str((ids, starts, settings)))


def test_gradients_are_shared_by_frequency() -> None:
    """``scale_grad_by_freq`` 没有把每行的梯度除以它出现的次数；torch 在这里除错了行，所以按定义核对。"""
    ids, starts = tg.tensor([0, 3, 0, 1, 0]), tg.tensor([0, 2])
    grads = []
    for scaled in (False, True):
        table = tg.tensor(values(0, 4, 2), requires_grad=True)
        y = tg.nn.functional.embedding_bag(ids, table, starts, scale_grad_by_freq=scaled)
        grads.append(tg.autograd.grad(y.sum(), table)[0])
    assert_close(grads[1], grads[0].array / np.array([[3], [1], [1], [1]]), "float64")


def test_rows_of_a_matrix_are_bags() -> None:
    """二维的输入每行一袋；层的打印、初值、补齐的行或 ``from_pretrained`` 与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(3)
        layer = m.nn.EmbeddingBag(6, 4, padding_idx=-2, mode="sum")
        index = m.tensor([[0, 4, 1], [5, 5, 4]])
        frozen = m.nn.EmbeddingBag.from_pretrained(m.tensor(values(0, 5, 2)), max_norm=1.0, mode="max")
        settings = m.nn.EmbeddingBag(3, 2, 1.0, 1.0, True)
        return (
            layer.weight.detach(), layer(index), layer(index.int(), None, m.full((2, 3), 0.5)), repr(layer),
            frozen(m.tensor([[1, 2]])), repr(frozen), frozen.weight.requires_grad, repr(settings),
        )  # fmt: skip

    same(run, "random normal")


WRONG: dict[str, Callable[[Any], Any]] = {
    "index": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([[3]])),
    "index type": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([1.0]), m.tensor([0])),
    "no offsets": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([1])),
    "needless offsets": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([[1]]), m.tensor([0])),
    "first offset": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([1, 2]), m.tensor([1])),
    "last offset": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([1, 2]), m.tensor([0, 3])),
    "rank": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([[[1]]])),
    "offsets rank": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([1]), m.tensor([[0]])),
    "mode": lambda m: m.nn.EmbeddingBag(3, 2, mode="min")(m.tensor([[1]])),
    "weights of mean": lambda m: m.nn.EmbeddingBag(3, 2)(m.tensor([[1]]), per_sample_weights=m.ones(1, 1)),
    "weights shape": lambda m: m.nn.EmbeddingBag(3, 2, mode="sum")(m.tensor([[1]]), per_sample_weights=m.ones(1)),
    "frequency of max": lambda m: m.nn.EmbeddingBag(3, 2, mode="max", scale_grad_by_freq=True)(m.tensor([[1]])),
    "padding": lambda m: m.nn.functional.embedding_bag(m.tensor([[1]]), m.ones(3, 2), padding_idx=3),
    "padding of layer": lambda m: m.nn.EmbeddingBag(3, 2, padding_idx=3),
    "table shape": lambda m: m.nn.EmbeddingBag(3, 2, _weight=m.ones(2, 2)),
    "table rank": lambda m: m.nn.functional.embedding_bag(m.tensor([[1]]), m.ones(3)),
}


@pytest.mark.parametrize("mistake", table(WRONG))
def test_wrong_bags_raise_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的成袋查表没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)
