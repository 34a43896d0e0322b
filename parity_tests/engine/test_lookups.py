"""查表、独热、重排与距离：值与梯度都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.engine.twins import same, same_error, same_gradient, table, values
from parity_tests.strategies import array, integers


@given(data=st.data())
def test_embedding_equals_torch(data: st.DataObject) -> None:
    """查表的值、梯度（重复的下标、padding_idx、按次数缩小）或表本身（max_norm）与 torch 不同。"""
    draw = data.draw
    rows, width = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 64]))
    ids = integers(draw, tuple(draw(st.lists(st.integers(0, 3), max_size=3))), 0, rows)
    options = {
        "padding_idx": draw(st.one_of(st.none(), st.integers(-rows, rows - 1))),
        "max_norm": draw(st.sampled_from([None, 0.5, 2.0])),
        "norm_type": draw(st.sampled_from([2.0, 1.0, 3.5, float("inf")])),
        "scale_grad_by_freq": draw(st.booleans()),
    }

    def run(m: Any, w: Any) -> Any:
        table_ = w * 1.0
        return m.nn.functional.embedding(m.tensor(ids), table_, **options), table_.detach()

    same_gradient(run, array(draw, (rows, width)), what=repr((ids, options)))


def test_scaled_lookups_keep_the_gradient_of_their_result() -> None:
    """按次数缩小的是流向表的梯度，查表结果自己的 ``.grad`` 却也跟着变了。"""

    def run(m: Any, w: Any) -> Any:
        y = m.nn.functional.embedding(m.tensor([1, 1, 0]), w, padding_idx=0, scale_grad_by_freq=True)
        y.retain_grad()
        (y * y).sum().backward()
        return y.grad, w.grad.clone(), (y.detach() * w[:1])

    same_gradient(run, values(0, 3, 2))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)], ids=repr)
@pytest.mark.parametrize("num_classes", [4, 7])
def test_one_hot_equals_torch(shape: tuple[int, ...], num_classes: int) -> None:
    """独热的形状、类型或类别数与 torch 不同。"""
    ids = np.random.default_rng(0).integers(0, 4, shape)
    same(lambda m: m.nn.functional.one_hot(m.tensor(ids, dtype=m.int64), num_classes))
    if ids.size:
        same(lambda m: m.nn.functional.one_hot(m.tensor(ids)))


SHUFFLES: dict[str, Callable[[Any, Any], Any]] = {
    "pixel_shuffle": lambda F, x: (F.pixel_shuffle(x, 2), F.pixel_shuffle(x[0], 1), F.pixel_shuffle(x[None], 2)),
    "pixel_unshuffle": lambda F, x: (F.pixel_unshuffle(x, 2), F.pixel_unshuffle(x[0], 3), F.pixel_unshuffle(x, 1)),
    "channel_shuffle": lambda F, x: (F.channel_shuffle(x, 2), F.channel_shuffle(x, 4), F.channel_shuffle(x[..., 0], 8)),
}  # fmt: skip


@pytest.mark.parametrize("case", table(SHUFFLES))
def test_shuffles_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """像素或通道的重排与 torch 不同。"""
    same_gradient(lambda m, x: case(m.nn.functional, x), values(0, 2, 8, 6, 6))


POWERS = (2.0, 1.0, 3.5, 0.0, float("inf"))
DISTANCES: dict[str, Callable[[Any, Any], Any]] = {
    "normalize": lambda F, x: [F.normalize(x, p, d) for p in POWERS[:3] for d in (0, 1, -1)] + [F.normalize(x)],
    "normalize with a floor": lambda F, x: (F.normalize(x * 0, eps=0.1), F.normalize(x, dim=(0, 1), eps=9.0)),
    "cosine": lambda F, x: (
        F.cosine_similarity(x, x * x), F.cosine_similarity(x, x[:1], dim=-1), F.cosine_similarity(x, x.T[:, 0], 0),
    ),
    "cosine with a floor": lambda F, x: (F.cosine_similarity(x * 0, x), F.cosine_similarity(x, x + 1, eps=50.0)),
    "pairwise": lambda F, x: [F.pairwise_distance(x, x.flip(0), p) for p in POWERS],
    "pairwise options": lambda F, x: (
        F.pairwise_distance(x, x[0], eps=0.1, keepdim=True), F.pairwise_distance(x[0], x[1]),
    ),
    "pdist": lambda F, x: [F.pdist(x, p) for p in POWERS] + [F.pdist(x[:n].detach()) for n in (0, 1)],
    "pdist of equal rows": lambda F, x: [F.pdist(x[:1].expand(3, 4), p) for p in (2.0, 1.0, 3.5)],
}  # fmt: skip


@pytest.mark.parametrize("case", table(DISTANCES))
def test_distances_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """距离、相似度、归一化的值或梯度（含重合的点）与 torch 不同。"""
    same_gradient(lambda m, x: case(m.nn.functional, x), values(0, 4, 4))


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "id beyond the table": lambda m: m.nn.functional.embedding(m.tensor([3]), m.ones(3, 2)),
    "negative id": lambda m: m.nn.functional.embedding(m.tensor([-1]), m.ones(3, 2)),
    "float ids": lambda m: m.nn.functional.embedding(m.ones(1), m.ones(3, 2)),
    "short ids": lambda m: m.nn.functional.embedding(m.ones(1, dtype=m.int16), m.ones(3, 2)),
    "vector as table": lambda m: m.nn.functional.embedding(m.tensor([0]), m.ones(3)),
    "padding beyond": lambda m: m.nn.functional.embedding(m.tensor([0]), m.ones(3, 2), padding_idx=3),
    "padding far below": lambda m: m.nn.functional.embedding(m.tensor([0]), m.ones(3, 2), padding_idx=-4),
    "one_hot beyond": lambda m: m.nn.functional.one_hot(m.tensor([3]), 3),
    "one_hot negative": lambda m: m.nn.functional.one_hot(m.tensor([-1]), 3),
    "one_hot of short ints": lambda m: m.nn.functional.one_hot(m.tensor([1], dtype=m.int32)),
    "one_hot of nothing": lambda m: m.nn.functional.one_hot(m.zeros(0, dtype=m.int64)),
    "one_hot of no classes": lambda m: m.nn.functional.one_hot(m.tensor([0]), 0),
    "cosine of integers": lambda m: m.nn.functional.cosine_similarity(m.tensor([1, 2]), m.tensor([1, 2]), 0),
    "cosine of other sizes": lambda m: m.nn.functional.cosine_similarity(m.ones(2, 3), m.ones(2, 4)),
    "pdist of a vector": lambda m: m.nn.functional.pdist(m.ones(3)),
    "pdist of integers": lambda m: m.nn.functional.pdist(m.ones(2, 3, dtype=m.int64)),
    "pdist of negative power": lambda m: m.nn.functional.pdist(m.ones(2, 3), -1.0),
    "groups of channels": lambda m: m.nn.functional.channel_shuffle(m.ones(1, 4, 2), 3),
    "channels of a matrix": lambda m: m.nn.functional.channel_shuffle(m.ones(4, 2), 2),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的函数不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)
