"""同一段代码以两个引擎各跑一遍，比较结果。

流入：``f(m)``，其中 ``m`` 是 ``tinygrad_llm`` 或 ``torch``；流出：第一处不同（值、形状、dtype 或异常的类型）。
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close

ENGINES = (tg, torch)


def values(seed: int, *shape: int, domain: str = "normal") -> Any:
    """固定种子的 float64 数组；``ties`` 是有并列的小整数。"""
    rng = np.random.default_rng(seed)
    return rng.integers(-2, 3, shape).astype(np.float64) if domain == "ties" else rng.standard_normal(shape)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """其中用 ``count`` 个线程；测试缺省只用一个。"""
    before = tg.get_num_threads()
    tg.set_num_threads(count)
    try:
        yield
    finally:
        tg.set_num_threads(before)


def both(f: Callable[[Any], Any]) -> tuple[Any, Any]:
    """两个引擎各跑一遍。"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 对弃用的写法（如多维的 .T）给警告
        return f(tg), f(torch)


def same(f: Callable[[Any], Any], kind: str = "float64", what: str = "") -> None:
    """两个引擎的结果相同；结果可以是 Tensor、数、形状，或它们的元组与列表。"""
    ours, theirs = both(f)
    _same(ours, theirs, kind, what)


def _same(ours: Any, theirs: Any, kind: str, what: str) -> None:
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, tg.Tensor), f"{what}: got {type(ours).__name__}"
        assert_close(ours, theirs, kind, what)
        assert ours.requires_grad == theirs.requires_grad, f"{what}: requires_grad {ours.requires_grad}"
    elif isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs), f"{what}: {len(ours)} results, torch gives {len(theirs)}"
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            _same(a, b, kind, f"{what}[{i}]")
    elif isinstance(theirs, torch.dtype):
        assert ours.name == str(theirs).removeprefix("torch."), what
    else:
        assert ours == theirs, f"{what}: {ours!r} != {theirs!r}"


def same_gradient(f: Callable[[Any, Any], Any], x: Any, kind: str = "float64", what: str = "") -> None:
    """``f(m, x)`` 的值与它对 ``x`` 的梯度都相同；``f`` 的结果可以是一串 Tensor。"""

    def run(m: Any) -> Any:
        leaf = m.tensor(np.array(x), requires_grad=True)
        result = f(m, leaf)
        outputs = [y for y in (result if isinstance(result, (tuple, list)) else [result]) if y.is_floating_point()]
        weights = [m.tensor(np.cos(np.arange(y.numel(), dtype=np.float64)).reshape(tuple(y.shape))) for y in outputs]
        total = sum((y * w.to(y.dtype)).sum() for y, w in zip(outputs, weights, strict=True))
        total.backward()
        return result, leaf.grad

    same(run, kind, what)


def same_error(f: Callable[[Any], Any], *, what: str = "") -> None:
    """两个引擎都报错，且 ``except`` torch 那一类也接得住我们的。"""
    found: list[Any] = []
    for m in ENGINES:
        with pytest.raises(Exception) as caught:  # noqa: PT011  要比较的正是类型
            f(m)
        found.append(caught.value)
    ours, theirs = found
    # torch 用 NotImplementedError（RuntimeError 的子类）表示「这种 dtype 没有实现」
    expected: type[BaseException] = RuntimeError if isinstance(theirs, NotImplementedError) else type(theirs)
    assert isinstance(ours, expected), f"{what}: {ours!r} instead of {theirs!r}"


def plain(value: Any) -> Any:
    """两个引擎可以直接比较的样子：Tensor 变成（值，要不要梯度），小数留 9 位。"""
    if isinstance(value, (tg.Tensor, torch.Tensor)):
        return plain(value.tolist()), value.requires_grad
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def outcome(m: Any, program: Callable[[Any], Any]) -> Any:
    """一段程序的结果；报错也是一种结果，只看类型。"""
    try:
        return plain(program(m))
    except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
        return type(error).__name__


def table(cases: dict[str, Any], *marks: pytest.MarkDecorator) -> Iterable[Any]:
    """按名字排好的参数化列表，个个带着 ``marks``。"""
    return [pytest.param(case, id=name, marks=marks) for name, case in sorted(cases.items())]
