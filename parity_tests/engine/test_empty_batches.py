"""没有样本的一批：卷积、池化、插值、注意力与循环网络照样给出空的结果，形状与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import same, table

Shape = tuple[int, ...]
IMAGES: Shape = (0, 3, 4, 4)

CASES: dict[str, tuple[Shape, Callable[[Any, Any], Any]]] = {
    "conv": (IMAGES, lambda m, x: m.nn.Conv2d(3, 2, 2)(x)),
    "transposed conv": (IMAGES, lambda m, x: m.nn.ConvTranspose2d(3, 2, 2)(x)),
    "unfold": (IMAGES, lambda m, x: m.nn.functional.unfold(x, 2)),
    "fold": ((0, 12, 9), lambda m, x: m.nn.functional.fold(x, 4, 2)),
    "average": (IMAGES, lambda m, x: m.nn.functional.avg_pool2d(x, 2)),
    "largest": (IMAGES, lambda m, x: m.nn.functional.max_pool2d(x, 2, return_indices=True)[0]),
    "adaptive average": (IMAGES, lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, 2)),
    "adaptive largest": (IMAGES, lambda m, x: m.nn.functional.adaptive_max_pool2d(x, 2)),
    "fractional": (IMAGES, lambda m, x: m.nn.functional.fractional_max_pool2d(x, 2, 2)),
    "unpooled": (IMAGES, lambda m, x: m.nn.functional.max_unpool2d(x, x.long(), 2)),
    "reflected": ((0, 3, 4), lambda m, x: m.nn.functional.pad(x, (1, 1), "reflect")),
    "nearest": (IMAGES, lambda m, x: m.nn.functional.interpolate(x, 7)),
    "bilinear": (IMAGES, lambda m, x: m.nn.functional.interpolate(x, 7, mode="bilinear")),
    "sampled": (IMAGES, lambda m, x: m.nn.functional.grid_sample(x, m.ones(0, 2, 2, 2), align_corners=False)),
    "bags": ((0, 3), lambda m, x: m.nn.EmbeddingBag(3, 2)(x.long()) + x.sum()),
    "attention": ((3, 0, 4), lambda m, x: m.nn.MultiheadAttention(4, 2)(x, x, x)[0]),
    "fused attention": ((3, 0, 4), lambda m, x: m.nn.MultiheadAttention(4, 2)(x, x, x, need_weights=False)[0]),
    "masked attention": ((3, 0, 4), lambda m, x: m.nn.MultiheadAttention(4, 2)(x, x, x, m.zeros(0, 3) > 0)[0]),
    "encoder layer": ((3, 0, 4), lambda m, x: m.nn.TransformerEncoderLayer(4, 2, 3)(x)),
    "gru": ((3, 0, 2), lambda m, x: m.nn.GRU(2, 3, bidirectional=True)(x)[0]),
    "lstm": ((0, 3, 2), lambda m, x: m.nn.LSTM(2, 3, batch_first=True)(x)[0]),
}


@pytest.mark.parametrize("case", table(CASES))
def test_empty_batches_give_empty_results(case: Any) -> None:
    """没有样本时报错，或结果的形状与 torch 不同。"""
    shape, function = case
    same(lambda m: tuple(function(m, m.ones(shape)).shape))
