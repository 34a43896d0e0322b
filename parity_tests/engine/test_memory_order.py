"""结果的内存次序与 torch 相同：次序错了，``reshape`` 得到的是视图还是拷贝就不同，写进去的数落在别处。

每个函数在操作数的各种内存次序上各跑一遍，比对步长（长度为 1 的轴不算）。
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from parity_tests.engine.twins import both, table

F = Callable[..., Any]
SHAPES = ((2, 3), (3, 3), (2, 3, 4), (2, 2, 3))

ONE: dict[str, F] = {
    "gelu": lambda m, x: m.nn.functional.gelu(x), "silu": lambda m, x: m.nn.functional.silu(x),
    "gelu of expanded": lambda m, x: m.nn.functional.gelu(x[:1].expand(3, *x.shape[1:]).detach()),
    "tanh of expanded": lambda m, x: x[:1].expand(3, *x.shape[1:]).tanh(), "cumsum": lambda m, x: x.cumsum(1),
    "logcumsumexp": lambda m, x: x.logcumsumexp(0), "cummax": lambda m, x: x.cummax(0), "sort": lambda m, x: x.sort(0),
    "topk": lambda m, x: x.topk(1, 1), "flip": lambda m, x: x.flip(1), "roll": lambda m, x: x.roll(1, 0),
    "rows by index": lambda m, x: x[m.tensor([1, 0, 1])], "columns by index": lambda m, x: x[:, m.tensor([1, 0, 1])],
    "a table of rows": lambda m, x: x[m.tensor([[1, 0], [0, 1]])], "mask": lambda m, x: x[x[..., 0] > 0],
    "two indices": lambda m, x: x[m.tensor([1, 0]), m.tensor([1, 0])],
    "index_select": lambda m, x: x.index_select(1, m.tensor([1, 0])),
    "gather": lambda m, x: x.gather(0, (x * 0).long()),
    "select_scatter": lambda m, x: x.select_scatter(x.select(0, 0) * 2, 0, 1),
    "slice_scatter": lambda m, x: x.slice_scatter(x[1:] * 2, 0, 1), "scatter": lambda m, x: _scattered(x.scatter, x),
    "select_scatter with gaps": lambda m, x: x[..., ::2].select_scatter(x[0, ..., ::2] * 2, 0, 1),
    "scatter_add": lambda m, x: _scattered(x.scatter_add, x), "masked_fill": lambda m, x: x.masked_fill(x > 0, 1.0),
    "index_add": lambda m, x: x.index_add(0, m.tensor([0]), x[:1]), "pow": lambda m, x: (x**2, 2.0**x),
    "index_copy": lambda m, x: x.index_copy(0, m.tensor([0]), x[:1]),
    "index_fill": lambda m, x: x.index_fill(0, m.tensor([0]), 2.0),
    "masked_scatter": lambda m, x: x.masked_scatter(x > 0, x * 2), "matmul": lambda m, x: x @ x.transpose(-1, -2),
    "repeat_interleave": lambda m, x: x.repeat_interleave(2, 0), "max": lambda m, x: x.max(1),
}  # fmt: skip
TWO: dict[str, F] = {
    "where": lambda m, x, y: m.where(x > y, x, y), "maximum": lambda m, x, y: m.maximum(x, y),
    "hypot": lambda m, x, y: m.hypot(x, y), "pow": lambda m, x, y: x.abs() ** y, "add": lambda m, x, y: x + y,
    "sub with alpha": lambda m, x, y: x.sub(y, alpha=2), "div": lambda m, x, y: x / y, "gt": lambda m, x, y: x > y,
    "copies": lambda m, x, y: x.clone() * y.clone(), "atan2": lambda m, x, y: m.atan2(x, y),
    "lerp": lambda m, x, y: m.lerp(x, y, 0.3), "clamp": lambda m, x, y: m.clamp(x, y),
    "cat": lambda m, x, y: m.cat([x, y]),
    "addcmul": lambda m, x, y: m.addcmul(x, y, y), "addcdiv": lambda m, x, y: m.addcdiv(x, x, y),
    "broadcast": lambda m, x, y: x[..., :1] - y,
    "mse": lambda m, x, y: m.nn.functional.mse_loss(x, y, reduction="none"),
    "bce": lambda m, x, y: m.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none"),
    "kl": lambda m, x, y: m.nn.functional.kl_div(x, y, reduction="none"),
}  # fmt: skip


def _scattered(method: F, x: Any) -> Any:
    return method(0, (x * 0).long(), x * 2)


def _laid(m: Any, data: Any, order: Sequence[int]) -> Any:
    """``data``，各轴由外到内依次是 ``order``。"""
    return m.tensor(data.transpose(order).copy()).permute([int(axis) for axis in np.argsort(order)])


def _steps(found: Any) -> Any:
    """长度大于 1 的轴的步长。"""
    if isinstance(found, (tuple, list)):
        return [_steps(one) for one in found]
    return [step for step, size in zip(found.stride(), found.shape, strict=True) if size > 1]


def _check(function: F, operands: int) -> None:
    data = np.random.default_rng(0)
    for shape in SHAPES:
        values = [data.normal(size=shape) + 3 for _ in range(operands)]
        orders = list(itertools.permutations(range(len(shape))))
        for chosen in itertools.product(orders, repeat=operands):

            def program(m: Any, chosen: Any = chosen, values: Any = values) -> Any:
                return _steps(function(m, *[_laid(m, *one) for one in zip(values, chosen, strict=True)]))

            ours, theirs = both(program)
            assert ours == theirs, f"shape {shape}, operands laid out as {chosen}: ours {ours}, torch {theirs}"


@pytest.mark.parametrize("function", table(ONE))
def test_a_result_lies_in_another_order(function: F) -> None:
    """一个操作数：结果各轴在内存里的次序与 torch 不同。"""
    _check(function, 1)


@pytest.mark.parametrize("function", table(TWO))
def test_a_result_of_two_lies_in_another_order(function: F) -> None:
    """两个操作数次序不同：听谁的，与 torch 不同。"""
    _check(function, 2)


def test_a_batched_product_lies_in_another_order() -> None:
    """批的轴互相广播的矩阵积不按行连续。"""

    def program(m: Any) -> Any:
        return _steps(m.ones(2, 1, 4, 3) @ m.ones(3, 4, 3, 5)[:, :2].expand(3, 2, 3, 5)[:, None].reshape(1, 6, 3, 5))

    def broadcast(m: Any) -> Any:
        return _steps(m.ones(1, 1, 4, 1) @ m.ones(3, 2, 1, 4))

    for one in (program, broadcast):
        ours, theirs = both(one)
        assert ours == theirs


def test_pooled_sequences_lie_in_another_order() -> None:
    """通道在最内的序列池化之后，次序与 torch 不同：取平均的总随输入，取最大的求导时才随。"""

    def program(m: Any) -> Any:
        x = m.arange(40, dtype=m.float64).reshape(2, 5, 4).transpose(1, 2)
        F, leaf = m.nn.functional, x.detach().requires_grad_()
        return _steps([F.avg_pool1d(x, 2), F.avg_pool1d(x[..., :4], 2), F.max_pool1d(x, 2), F.max_pool1d(leaf, 2)])

    ours, theirs = both(program)
    assert ours == theirs
