"""Dropout：同一种子之下的掩码与 torch 逐个相同，不训练时原样返回。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, both, same, same_error, same_gradient, table, values

KINDS: dict[str, tuple[int, ...]] = {
    "dropout": (3, 7), "dropout1d": (3, 4, 5), "dropout2d": (3, 4, 2, 2), "dropout3d": (2, 3, 2, 2, 2),
    "alpha_dropout": (3, 7), "feature_alpha_dropout": (3, 4, 5),
}  # fmt: skip


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_masks_are_torchs_under_one_seed(name: str, p: float) -> None:
    """掩码、放大的倍数、梯度，或之后的随机数与 torch 不同。"""

    def run(m: Any, x: Any) -> Any:
        m.manual_seed(3)
        function = getattr(m.nn.functional, name)
        y = x * 2.0
        written = function(y, p, True, inplace=True)
        assert written is y
        return function(x, p=p, training=True), y, m.rand(2), function(x, p, training=False)

    same_gradient(run, values(0, *KINDS[name]))


def test_masks_follow_the_order_of_memory() -> None:
    """转置、切片过的输入，掩码的排列与 torch 不同；或 float32 的放大倍数差了一位。"""

    def run(m: Any) -> Any:
        m.manual_seed(4)
        F, x = m.nn.functional, m.arange(24, dtype=m.float32).reshape(2, 3, 4) + 1
        views = [x.permute(2, 0, 1), x.transpose(0, 2), x[:, ::2], x[..., 1], x.mT]
        return [F.dropout(view, 0.3) for view in views] + [F.dropout1d(x[0], 0.5), F.dropout3d(x[None], 0.5)]

    same(run, "exact")


def test_nothing_to_drop_returns_the_input_itself() -> None:
    """评估、``p = 0`` 或空张量时抽了随机数，或复制了一份。"""
    for m in ENGINES:
        m.manual_seed(0)
        x, empty = m.ones(2, 2), m.zeros(0, 3)
        for name in ("dropout", "alpha_dropout"):
            function = getattr(m.nn.functional, name)
            assert function(x, 0.5, False) is x
            assert function(x, 0.0, True) is x
            assert function(empty, 0.5, True) is empty
    same(lambda m: (m.manual_seed(0), m.nn.functional.dropout(m.zeros(0), 0.5), m.rand(3))[1:])


def test_channels_are_dropped_whole() -> None:
    """按通道的 dropout 把一个通道拆开了。"""
    tg.manual_seed(1)
    y = tg.nn.functional.dropout2d(tg.ones(50, 4, 3, 3), 0.5)
    assert set(y.flatten(2).sum(2).flatten().tolist()) == {0.0, 18.0}


WARNED: dict[str, Callable[[Any], Any]] = {
    "2d of two": lambda m: m.nn.functional.dropout2d(m.ones(2, 3)),
    "2d of three": lambda m: m.nn.functional.dropout2d(m.ones(2, 3, 4)),
    "3d of three": lambda m: m.nn.functional.dropout3d(m.ones(2, 3, 4)),
}


@pytest.mark.parametrize("call", table(WARNED))
def test_other_numbers_of_dimensions_warn(call: Callable[[Any], Any]) -> None:
    """维数不合时没有像 torch 那样警告。"""
    for m in ENGINES:
        with pytest.warns(UserWarning, match="dropout"):
            call(m)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "above one": lambda m: m.nn.functional.dropout(m.ones(1), 1.5),
    "below zero": lambda m: m.nn.functional.alpha_dropout(m.ones(1), -0.1),
    "above one without training": lambda m: m.nn.functional.feature_alpha_dropout(m.ones(1), 1.5),
    "layer above one": lambda m: m.nn.Dropout2d(1.1),
    "integers": lambda m: m.nn.functional.dropout(m.ones(3, dtype=m.int64)),
    "alpha of integers": lambda m: m.nn.functional.alpha_dropout(m.ones(3, dtype=m.int64), 0.5, True),
    "1d of four": lambda m: m.nn.functional.dropout1d(m.ones(1, 2, 3, 4)),
    "features of one": lambda m: m.nn.functional.feature_alpha_dropout(m.ones(3), 0.5, True),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的函数不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("Dropout", (3, 4)), ("Dropout1d", (2, 3, 4)), ("Dropout2d", (2, 3, 4, 4)), ("Dropout3d", (2, 3, 2, 2, 2)),
     ("AlphaDropout", (3, 4)), ("FeatureAlphaDropout", (2, 3, 4))],
)  # fmt: skip
def test_layers_equal_torch(name: str, shape: tuple[int, ...]) -> None:
    """层的打印、掩码、就地与否或评估状态与 torch 不同。"""
    ours, theirs = both(lambda m: [repr(getattr(m.nn, name)()), repr(getattr(m.nn, name)(0.2, True))])
    assert ours == theirs

    def run(m: Any) -> Any:
        m.manual_seed(2)
        layer, x = getattr(m.nn, name)(0.4, inplace=True), m.tensor(values(1, *shape))
        return layer(x), x, layer.eval()(x)

    same(run)


def test_attention_dropout_draws_torchs_masks() -> None:
    """注意力权重的 dropout，同一种子之下与 torch 不同。"""

    def run(m: Any, x: Any) -> Any:
        m.manual_seed(7)
        attend = m.nn.functional.scaled_dot_product_attention
        return attend(x, x, x, dropout_p=0.4), attend(x, x, x, dropout_p=0.4, is_causal=True), m.rand(1)

    same_gradient(run, values(2, 2, 3, 4, 5))
