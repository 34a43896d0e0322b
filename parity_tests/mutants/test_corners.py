"""角落：随机的输入很少正好落在那里的点——0、并列、分段的界、NaN，一阶导与二阶导都与 torch 相同。

流入：算子的名字；流出：``checks.py`` 把它们并入各算子的快测。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_gradient, values

CORNERS: dict[str, tuple[Callable[[Any, Any], Any], list[list[float]]]] = {
    "pow": (lambda m, x: x[0] ** x[1], [[0.0, 0.0, 2.0, 0.0, 0.0], [0.0, 2.0, 0.0, 1.0, -1.0]]),
    "pow_scalar": (lambda m, x: x**0, [[0.0, 2.0, float("inf")]]),
    "prod zeros": (lambda m, x: x.prod(-1), [[0.0, 0.0], [0.0, 3.0], [2.0, 3.0]]),
    "prod underflow": (lambda m, x: x.prod(-1), [[1e-200, 1e-200, 1e200]]),
    "pick": (lambda m, x: x.max(), [[1.0, float("nan"), 3.0, float("nan")]]),
    "std": (lambda m, x: x.std(-1), [[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]]),
    "atan2": (lambda m, x: m.atan2(x[0], x[1]), [[0.0, 1.0, 0.0, 0.6], [0.0, 0.0, 1.0, 0.8]]),
    "copysign": (lambda m, x: m.copysign(x[0], x[1]), [[0.0, -0.0, 2.0, -3.0], [1.0, -1.0, -1.0, -1.0]]),
    "prelu": (lambda m, x: m.nn.functional.prelu(x, m.tensor([0.3], dtype=m.float64)), [[-1.0, 0.0, 1.0]]),
    "hardtanh": (lambda m, x: m.nn.functional.hardtanh(x, -1.0, 2.0), [[-1.0, 0.0, 2.0]]),
    "hardshrink": (lambda m, x: m.nn.functional.hardshrink(x, 1.5), [[-1.5, 0.0, 1.5]]),
    "softshrink": (lambda m, x: m.nn.functional.softshrink(x, 1.5), [[-1.5, 0.0, 1.5]]),
    "softplus": (lambda m, x: m.nn.functional.softplus(x, 2.0, 3.0), [[1.5, 1.4, 1.6]]),
    "log_ndtr": (lambda m, x: m.special.log_ndtr(x), [[-30.0, -1.0, 0.0, 1.0, 50.0]]),
    "lu": (lambda m, x: m.linalg.lu(x), values(0, 1, 2, 3, 3).tolist()),
    "euclidean": (
        lambda m, x: m.cdist(x[:2], x[2:], compute_mode="use_mm_for_euclid_dist"),
        [[0.0, 0.0], [1.0, 2.0], [1.0, 0.0], [1.0, 2.0]],
    ),
    "xlog1py": (lambda m, x: m.special.xlog1py(x[0], x[1]), [[0.0, 0.0, 0.0, 0.0], [-1.0, -2.0, 0.0, 0.5]]),
    "xlogy": (lambda m, x: m.special.xlogy(x[0], x[1]), [[0.0, 0.0, 0.0, 0.0], [0.0, -2.0, 1.0, 0.5]]),
    "scatter_reduce": (
        lambda m, x: x[0].scatter_reduce(0, m.tensor([0, 0, 1, 1, 2]), x[1], "prod"),
        [[2.0, 3.0, 4.0, 5.0, 6.0], [0.0, 5.0, 0.0, 0.0, 2.0]],
    ),
    "scatter_reduce x": (
        lambda m, x: x[0].scatter_reduce(0, m.tensor([0, 0, 1, 1, 3]), x[1], "prod"),
        [[0.0, 3.0, 0.0, 5.0, 6.0], [2.0, 5.0, 0.0, 3.0, 2.0]],
    ),
    "scatter_reduce one zero of three": (
        lambda m, x: x[0].scatter_reduce(0, m.tensor([0, 0, 0, 1, 1, 1]), x[1], "prod"),
        [[2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [0.0, 5.0, 3.0, 0.0, 0.0, 2.0]],
    ),
    "clamp_between": (
        lambda m, x: m.clamp(x[0], x[1], x[2]),
        [[0.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 1.0], [1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 1.0], [1.0] * 7 + [2.0]],
    ),
    "var": (lambda m, x: m.var(x, -1), [[1.0]]),
    "hardsigmoid": (lambda m, x: m.nn.functional.hardsigmoid(x), [[-3.0, 3.0, 0.0]]),
    "hardswish": (lambda m, x: m.nn.functional.hardswish(x), [[-3.0, 3.0, 0.0]]),
    "elu": (lambda m, x: m.nn.functional.elu(x, 1.7), [[-1.0, 0.0, 1.0]]),
    "logit": (lambda m, x: m.logit(x, 0.05), [[0.02, 0.5, 0.99, 0.05, 1 - 0.05]]),
    "logit zeros": (lambda m, x: m.logit(x), [[-0.0, 0.0, 1.0]]),
    "logit outside": (lambda m, x: m.logit(x, -0.5), [[-0.2, 1.2, 0.3]]),
    **{
        f"vector_norm {p}": (lambda m, x, p=p: m.linalg.vector_norm(x, p, dim=-1), rows)  # type: ignore[misc]
        for p, rows in (
            (float("inf"), [[1.0, float("nan"), -3.0], [2.0, -2.0, 1.0], [0.0, 0.0, 0.0]]),
            *[(p, [[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]]) for p in (0.5, 1, 2, 3)],
        )
    },
    "nextafter": (lambda m, x: m.nextafter(x[0], x[1].detach()), [[1.0, 1.0], [float(np.nextafter(1, 2)), 1.0]]),
}


@pytest.mark.parametrize("name", sorted(CORNERS))
def test_corners_equal_torch(name: str) -> None:
    """底数、指数、因子恰为 0，或恰在分段的界上，梯度与 torch 不同：随机的输入很少正好落在那里。"""
    function, x = CORNERS[name]
    same_gradient(function, np.array(x), what=name)


SECOND: dict[str, tuple[Callable[[Any, Any], Any], list[Any]]] = {
    "elu": (lambda m, x: m.nn.functional.elu(x, 1.7), [-1.0, 0.0, 1.0]),
    "log_ndtr": (lambda m, x: m.special.log_ndtr(x), [-3.0, -1.0, 0.0, 1.0, 50.0]),
    "vector_norm 1": (lambda m, x: m.linalg.vector_norm(x, 1, dim=-1), [[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]]),
    "vector_norm 3": (lambda m, x: m.linalg.vector_norm(x, 3, dim=-1), [[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]]),
}


@pytest.mark.parametrize("name", sorted(SECOND))
def test_second_derivatives_at_corners(name: str) -> None:
    """恰在界上，或没有走的那一支已经溢出，二阶导就取错了，或成了 NaN。"""
    function, x = SECOND[name]

    def run(m: Any) -> Any:
        leaf = m.tensor(np.array(x), requires_grad=True)
        (first,) = m.autograd.grad(function(m, leaf).sum(), [leaf], create_graph=True)
        (second,) = m.autograd.grad((first * m.tensor(values(0, *first.shape))).sum(), [leaf])
        return first, second

    same(run, "float64", name)


def test_sinc_has_a_second_derivative_at_zero() -> None:
    """``sin πx / πx`` 在 0 处的二阶导是 ``-π²/3``（torch 得 NaN：没被选中的一支除以了 0）。"""
    x = tg.tensor([0.0, 1.0], dtype=tg.float64, requires_grad=True)
    (first,) = tg.autograd.grad(tg.sinc(x).sum(), [x], create_graph=True)
    (second,) = tg.autograd.grad(first.sum(), [x])
    np.testing.assert_allclose(second.array, [-(np.pi**2) / 3, 2.0], rtol=1e-12)


def test_vector_norm_of_order_zero_is_flat() -> None:
    """非零元素的个数处处是平的（torch 不给梯度，``.grad`` 是 ``None``）。"""
    x = tg.tensor([[1.0, float("inf"), 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    tg.linalg.vector_norm(x, 0, dim=-1).sum().backward()
    np.testing.assert_array_equal(x.grad.array, np.zeros((2, 3)))


def test_log_ndtr_has_a_slope_far_to_the_left() -> None:
    """左尾深处 ``φ/Φ`` 趋于 ``-x``；值本身早已溢出（torch 得 NaN）。"""
    x = tg.tensor([-1e200], dtype=tg.float64, requires_grad=True)
    tg.special.log_ndtr(x).sum().backward()
    np.testing.assert_allclose(x.grad.array, [1e200], rtol=1e-12)


def test_euclidean_has_no_slope_between_coincident_points() -> None:
    """重合的一对点不该给出梯度，其余各对（有一对恰好相距 1）的一、二阶导照旧。"""
    points, weights = np.array([[0.0, 0.0], [1.0, 2.0], [1.0, 0.0], [1.0, 2.0]]), values(0, 2, 2)
    weights[1, 1] = 0.7  # 重合的那一对

    def total(m: Any, x: Any, w: Any) -> Any:
        if m is tg:
            return (m.cdist(x[:2], x[2:], compute_mode="use_mm_for_euclid_dist") * w).sum()
        pairs = [(i, j) for i in range(2) for j in range(2) if (i, j) != (1, 1)]
        return sum(((x[i] - x[2 + j]) ** 2).sum().sqrt() * w[i, j] for i, j in pairs)

    def run(m: Any) -> Any:
        x, w = m.tensor(points, requires_grad=True), m.tensor(weights, requires_grad=True)
        (first,) = m.autograd.grad(total(m, x, w), [x], create_graph=True)
        return first, m.autograd.grad((first * m.tensor(values(1, 4, 2))).sum(), [x, w])

    same(run, "float64")
