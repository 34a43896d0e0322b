"""相等的元素谁先谁后：``sort``、``argsort`` 与 ``topk`` 的下标与 torch 的 CPU 版相同，长短、类型与并列的多少都试到。"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, table
from tinygrad_llm.methods import tie_order

# 别的平台上，torch 用的标准库不同，相等的元素另有先后
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the order of ties is that of libstdc++")
LENGTHS = (1, 5, 16, 17, 33, 100, 1000)
DTYPES = ("int64", "int32", "uint8", "float32", "float64", "float16", "bool")


def _numbers(n: int, distinct: int, dtype: str) -> Any:
    """``n`` 个数，不同的至多 ``distinct`` 个；浮点数里再放两个 NaN。"""
    found = np.random.default_rng(n * 31 + distinct).integers(0, distinct, n).astype(dtype)
    if dtype.startswith("float") and n > 5:
        found[[1, n // 2]] = np.nan
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [False, True])
def test_ties_are_sorted_differently(dtype: str, descending: bool) -> None:
    """排序之后，相等的元素先后与 torch 不同，或要求稳定时不稳定。"""
    for n in LENGTHS:
        for distinct in (2, 10, 90):

            def run(m: Any, n: int = n, distinct: int = distinct) -> Any:
                x = m.tensor(_numbers(n, distinct, dtype))
                return [
                    x.sort(descending=descending).indices, x.argsort(descending=descending),
                    x.sort(descending=descending, stable=True).indices,
                ]  # fmt: skip

            same(run, "exact", f"{n} of {distinct}")


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "bool"])
@pytest.mark.parametrize("largest", [False, True])
def test_ties_are_selected_differently(dtype: str, largest: bool) -> None:
    """并列者取了另外几个，或取出的先后与 torch 不同；不要求排序时也一样。"""
    for n in LENGTHS:
        for k in sorted({1, min(2, n), max(n // 64, 1), min(n // 64 + 1, n), (n + 1) // 2, n}):

            def run(m: Any, n: int = n, k: int = k) -> Any:
                x = m.tensor(_numbers(n, 10, dtype))
                return [x.topk(k, largest=largest, sorted=ordered).indices for ordered in (True, False)]

            same(run, "exact", f"{k} of {n}")


SHAPES: dict[str, Callable[[Any, Any], Any]] = {
    "rows": lambda m, x: (x.sort(-1).indices, x.argsort(1, True), x.topk(3).indices),
    "columns": lambda m, x: (x.sort(0).indices, x.argsort(0), x.topk(3, 0).indices, x.msort()),
    "three axes": lambda m, x: (x.reshape(4, 5, 10).sort(1).indices, x.reshape(2, 50, 2).topk(2, 1).indices),
    "transposed": lambda m, x: (x.t().sort(-1).indices, x.t().topk(2).indices),
    "half of them tied": lambda m, x: m.cat([x[:2], m.arange(40).reshape(2, 20)]).sort(-1).indices,
    "a long row": lambda m, x: x.repeat(1, 60).topk(5).indices,
}


@pytest.mark.parametrize("order", table(SHAPES))
def test_ties_along_an_axis_are_ordered_differently(order: Callable[[Any, Any], Any]) -> None:
    """多维时，沿某根轴的先后与 torch 不同，或一行的并列连累了别的行。"""
    same(lambda m: order(m, m.tensor(np.random.default_rng(0).integers(0, 6, (10, 20)))), "exact")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="torch sorts by radix on x86 only")
def test_many_integers_are_not_sorted_by_radix() -> None:
    """三万多个整数从小到大排，torch 改用稳定的基数排序，这里没有跟着改。"""
    for n in (32767, 32768):
        for descending in (False, True):
            same(
                lambda m, n=n, d=descending: m.tensor(_numbers(n, 50, "int64")).sort(descending=d).indices,  # type: ignore[misc]
                "exact",
                f"{n} {descending}",
            )


def _killer(n: int) -> Any:
    """让三数取中的快速排序每次都切得最偏的数列（Musser，1997），每个数两遍。"""
    half, places = n // 2, np.arange(n // 2)
    first = np.where(places % 2 == 0, places + 1, half + places)
    return np.repeat(np.concatenate([first, 2 * (places + 1)]), 2)


def test_the_fall_back_to_heaps_is_taken_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """切得太偏时没有改用堆，或改用之后的先后与 torch 不同。"""
    heaps: list[str] = []
    for name in ("_partial_sort", "_heap_selected"):
        original = getattr(tie_order, name)

        def noted(*args: Any, name: str = name, original: Any = original, **options: Any) -> Any:
            heaps.append(name)
            return original(*args, **options)

        monkeypatch.setattr(tie_order, name, noted)

    def run(m: Any) -> Any:
        x = m.tensor(_killer(1000))
        picks = [x.topk(k, largest=False, sorted=ordered).indices for k in (40, 500, 1500) for ordered in (True, False)]
        return [x.sort().indices, *picks]

    same(run, "exact")
    assert set(heaps) == {"_partial_sort", "_heap_selected"}


def test_gradients_flow_to_other_ties() -> None:
    """``topk`` 的梯度落在了另一个相等的元素上。"""

    def run(m: Any) -> Any:
        x = m.tensor([[1.0, 3, 3, 3, 2], [2, 2, 2, 2, 2]], requires_grad=True)
        (x.topk(2).values * m.tensor([1.0, 10.0])).sum().backward()
        return x.grad

    same(run, "exact")


def test_without_ties_every_order_is_the_same() -> None:
    """没有并列时，照 ``std::sort`` 走的结果不是唯一的那个次序。"""
    ranks = np.random.default_rng(3).permutation(300)
    for order in (tie_order.sort_order(ranks), tie_order.top_order(ranks, 300, True), np.argsort(ranks)):
        assert (ranks[order] == np.arange(300)).all()
    assert (ranks[tie_order.top_order(ranks, 4, True)] == np.arange(4)).all()
    assert [m.zeros(3).topk(0).indices.shape for m in ENGINES] == [(0,), (0,)]
    assert tg.tensor(3.0).sort().indices.item() == torch.tensor(3.0).topk(1).indices.item() == 0
