"""``nn.functional`` 里与权重相乘、标准化、交叉熵的函数：值与梯度都与 torch 相同。其余各有文件。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.engine.twins import same_error, same_gradient, table, values
from parity_tests.strategies import array, booleans, integers

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda F, x: (F.linear(x, x[0]), F.linear(x, x[0], x[0, :, 0]), F.linear(x[0, 0], x[0]), x @ x[0].T),
    "bilinear": lambda F, x: (F.bilinear(x, x[..., :4], x.mT), F.bilinear(x[0, 0], x[1, 0, :4], x.mT, x[:, 0, 0])),
    "layer_norm over one": lambda F, x: F.layer_norm(x, (5,), x[0, 0], x[0, 1], eps=1e-3),
    "layer_norm over two": lambda F, x: F.layer_norm(x, (4, 5), x[0], x[1]),
    "layer_norm over all": lambda F, x: F.layer_norm(x, x.shape),
    "layer_norm without bias": lambda F, x: (F.layer_norm(x, [5], x[0, 0]), F.layer_norm(x, [5], None, x[0, 0])),
    "rms_norm": lambda F, x: (F.rms_norm(x, (5,)), F.rms_norm(x, (4, 5), x[0], eps=1e-2), F.rms_norm(x, (5,), x[0, 0])),
}  # fmt: skip


@pytest.mark.parametrize("case", table(FUNCTIONS))
def test_functions_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """某个函数的值或梯度与 torch 不同。"""
    same_gradient(lambda m, x: case(m.nn.functional, x), values(0, 3, 4, 5))


@given(data=st.data())
def test_cross_entropy_equals_torch(data: st.DataObject) -> None:
    """交叉熵的任一组参数（忽略、权重、平滑、归约、多维输入）与 torch 不同。"""
    draw = data.draw
    classes, rest = draw(st.integers(1, 5)), draw(st.lists(st.integers(1, 3), max_size=2))
    batch = draw(st.one_of(st.none(), st.integers(0 if not rest else 1, 4)))
    shape = (classes,) if batch is None else (batch, classes, *rest)
    target = integers(draw, shape[:0] if batch is None else (batch, *rest), 0, classes)
    ignore = draw(st.sampled_from([-100, 0, -1]))
    target = np.where(booleans(draw, target.shape), target, ignore) if draw(st.booleans()) else target
    weight = array(draw, (classes,), "positive", layout=False) if draw(st.booleans()) else None
    options = {
        "ignore_index": ignore,
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
    }

    def run(m: Any, x: Any) -> Any:
        return m.nn.functional.cross_entropy(
            x, m.tensor(target), None if weight is None else m.tensor(weight), **options
        )

    with np.errstate(all="ignore"):
        same_gradient(run, array(draw, shape, layout=False), what=repr((shape, options, weight is not None)))


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "linear of another width": lambda m: m.nn.functional.linear(m.ones(2, 3), m.ones(4, 2)),
    "linear of two dtypes": lambda m: m.nn.functional.linear(m.ones(2, 2), m.ones(2, 2, dtype=m.float64)),
    "bilinear of other widths": lambda m: m.nn.functional.bilinear(m.ones(2, 3), m.ones(2, 4), m.ones(5, 4, 3)),
    "bilinear of other batches": lambda m: m.nn.functional.bilinear(m.ones(2, 3), m.ones(1, 4), m.ones(5, 3, 4)),
    "bilinear of another bias": lambda m: m.nn.functional.bilinear(
        m.ones(2, 3), m.ones(2, 4), m.ones(5, 3, 4), m.ones(4)),
    "layer_norm of another shape": lambda m: m.nn.functional.layer_norm(m.ones(2, 3), (2,)),
    "rms_norm of another shape": lambda m: m.nn.functional.rms_norm(m.ones(2, 3), (2,)),
    "class beyond the logits": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, 3])),
    "negative class": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, -1])),
    "target of another length": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0])),
    "target of another shape": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3, 4), m.zeros(2, 3, dtype=m.int64)),
    "unknown reduction": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, 1]), reduction="average"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的函数不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


def test_extreme_logits_stay_finite() -> None:
    """很大的 logits 使 softmax 或交叉熵上溢成 NaN。"""

    def run(m: Any, x: Any) -> Any:
        F = m.nn.functional
        return F.cross_entropy(x, m.tensor([0, 1])), F.softmax(x, -1), F.log_softmax(x, -1), x.logsumexp(-1)

    same_gradient(run, np.array([[1e4, -1e4, 0.0], [-1e300, 1e300, 5.0]]))
