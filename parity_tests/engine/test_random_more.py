"""随机数：每种分布、dtype 与内存布局的数列都与 torch 的 CPU 生成器相同，抽完之后的下一个数也相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, table

Draw = Callable[[Any], Any]
FLOATS, INTEGERS = ["float16", "float32", "float64"], ["int8", "uint8", "int16", "int32", "int64", "bool"]


def _seeded(m: Any, draw: Draw) -> Any:
    """抽一次，再看生成器走到了哪里。"""
    m.manual_seed(11)
    return draw(m), m.rand(2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3,), (5, 4), (16,), (17,), (40,)])
@pytest.mark.parametrize("name", ["uniform_", "normal_", "exponential_", "log_normal_", "cauchy_"])
def test_continuous_draws_are_torchs(name: str, shape: tuple[int, ...], dtype: str) -> None:
    """某种连续分布的数列与 torch 不同，或多抽、少抽了数。"""
    options = {"uniform_": [(), (-2, 3)], "normal_": [(), (1, 2)]}.get(name, [()])
    for arguments in options:
        same(
            lambda m, arguments=arguments: _seeded(  # type: ignore[misc]
                m, lambda m: getattr(m.empty(*shape, dtype=getattr(m, dtype)), name)(*arguments)
            ),
            "random normal",
        )


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_discrete_draws_are_torchs(dtype: str) -> None:
    """随机整数、伯努利或几何分布的数列与 torch 不同。"""

    def run(m: Any, name: str, *arguments: Any) -> Any:
        return _seeded(m, lambda m: getattr(m.empty(7, dtype=getattr(m, dtype)), name)(*arguments))

    calls: list[tuple[Any, ...]] = [("random_",), ("random_", 2), ("bernoulli_", 0.3)]
    if dtype != "bool":
        calls += [("random_", 0, 100), ("geometric_", 0.3)]
    if dtype not in ("bool", "uint8"):
        calls.append(("random_", -5, 5))
    for call in calls:
        same(lambda m, call=call: run(m, *call), "exact", str(call))  # type: ignore[misc]


LAYOUTS: dict[str, Draw] = {
    "transposed": lambda m: m.zeros(4, 5).t(),
    "strided": lambda m: m.zeros(4, 6)[:, ::2],
    "permuted": lambda m: m.zeros(2, 3, 4).permute(2, 0, 1),
}


@pytest.mark.parametrize("layout", table(LAYOUTS))
def test_draws_into_other_layouts_are_torchs(layout: Draw) -> None:
    """写进不连续的张量时，没有按内存的次序写。"""
    calls = [("uniform_",), ("normal_",), ("exponential_",), ("bernoulli_", 0.5), ("random_", 9), ("log_normal_",)]
    for name, *arguments in calls:

        def run(m: Any, name: Any = name, arguments: Any = arguments) -> Any:
            return _seeded(m, lambda m: getattr(layout(m), name)(*arguments))

        same(run, "random normal", str(name))


FACTORIES: dict[str, Draw] = {
    "bernoulli": lambda m: (m.bernoulli(m.rand(4, 5)), m.bernoulli(m.rand(4, 5, dtype=m.float64).t())),
    "bernoulli with p": lambda m: (m.bernoulli(m.rand(3, 4), 0.3), m.bernoulli(m.arange(6), 0.3)),
    "bernoulli_ with a tensor": lambda m: [x.bernoulli_(m.rand(5)) for x in (m.zeros(4, 5), m.zeros(5, 4).t())],
    "multinomial": lambda m: (m.multinomial(m.rand(3, 9), 4), m.rand(9, dtype=m.float64).multinomial(9)),
    "multinomial with replacement": lambda m: (m.multinomial(m.rand(3, 9), 40, True), m.rand(9).multinomial(1, True)),
    "normal": lambda m: (m.normal(m.arange(20.0), 2.0), m.normal(1.0, m.ones(2, 9) * 2), m.normal(1.0, 2.0, (3, 7)),
        m.normal(m.arange(3.0), m.ones(2, 1) * 2), m.normal(m.arange(3.0, dtype=m.float64), m.ones(3))),
    "samples have gradients of zero": lambda m: (
        m.normal(m.ones(3, requires_grad=True), m.ones(3)), m.bernoulli(m.ones(3, requires_grad=True))),
    "like": lambda m: (m.rand_like(m.zeros(3, 4).t()), m.randn_like(m.zeros(5, 4).t()), m.randint_like(m.zeros(3), 9),
        m.randint_like(m.zeros(3, 4).t(), 2, 9, dtype=m.int64), m.rand_like(m.arange(3), dtype=m.float64)),
    "wide integers": lambda m: [m.randint(*r, (5,)) for r in ((-(2**40), 2**40), (0, 2**28), (0, 2**28 - 1))],
    "permutations": lambda m: (m.randperm(9, dtype=m.int32), m.randperm(5, dtype=m.float32), m.randperm(1)),
    "keywords": lambda m: (m.rand(size=(2,)), m.randint(low=1, high=9, size=(2,)), m.randint(high=9, size=(2,)),
        m.rand(2, requires_grad=True), m.randn(()), m.rand(0), m.rand(2, generator=m.Generator().manual_seed(-1))),
}  # fmt: skip


@pytest.mark.parametrize("draw", table(FACTORIES))
def test_samples_are_torchs(draw: Draw) -> None:
    """抽样函数的样本、dtype 或 requires_grad 与 torch 不同。"""
    same(lambda m: _seeded(m, draw), "random normal")


MISTAKES: dict[str, Draw] = {
    "an empty range": lambda m: m.randint(5, 5, (2,)),
    "a range beyond the dtype": lambda m: m.randint(0, 300, (2,), dtype=m.uint8),
    "negative bytes": lambda m: m.empty(2, dtype=m.uint8).random_(-1, 5),
    "a fractional bound": lambda m: m.randint(5.5, (2,)),
    "integers that need gradients": lambda m: m.randint(5, (2,), requires_grad=True),
    "a negative permutation": lambda m: m.randperm(-1),
    "a permutation beyond the dtype": lambda m: m.randperm(300, dtype=m.uint8),
    "uniform integers": lambda m: m.rand_like(m.arange(3)),
    "normal integers": lambda m: m.empty(2, dtype=m.int64).normal_(),
    "exponential integers": lambda m: m.empty(2, dtype=m.int64).exponential_(),
    "a negative standard deviation": lambda m: m.normal(m.ones(2), -1.0),
    "negative standard deviations": lambda m: m.normal(0.0, m.tensor([1.0, -2])),
    "shapes that do not broadcast": lambda m: m.normal(m.ones(2), m.ones(3)),
    "normal without a size": lambda m: m.normal(0.0, 1.0),
    "a probability above one": lambda m: m.bernoulli(m.tensor([1.5])),
    "integer probabilities": lambda m: m.bernoulli(m.tensor([1])),
    "a rate of zero": lambda m: m.empty(2).exponential_(0.0),
    "a certain success": lambda m: m.empty(2).geometric_(1.0),
    "a negative width": lambda m: m.empty(2).cauchy_(sigma=-1),
    "a crossed interval": lambda m: m.empty(2).uniform_(1, 0),
    "writing to a leaf": lambda m: m.zeros(2, requires_grad=True).uniform_(),
    "too many samples": lambda m: m.multinomial(m.ones(2), 3),
    "a negative weight": lambda m: m.multinomial(m.tensor([1.0, -2]), 1),
    "no weight at all": lambda m: m.multinomial(m.zeros(2), 1),
    "weights of three axes": lambda m: m.multinomial(m.ones(2, 2, 2), 1),
    "no samples": lambda m: m.multinomial(m.ones(2), 0),
    "a seed beyond 64 bits": lambda m: m.Generator().manual_seed(2**64),
    "a fractional seed": lambda m: m.Generator().manual_seed(3.5),
    "a generator elsewhere": lambda m: m.Generator("xpu"),
}


@pytest.mark.parametrize("draw", table(MISTAKES))
def test_draws_that_make_no_sense_are_refused(draw: Draw) -> None:
    """torch 拒绝的抽样这里放过了，或报的是另一类错。"""
    same_error(draw)


def test_a_fresh_seed_changes_the_numbers_and_a_fork_does_not() -> None:
    """``seed()`` 给出重复的数列，或 ``fork_rng`` 之后数列没有回到原处。"""
    first, second = tg.random.seed(), tg.random.seed()
    assert first != second == tg.initial_seed()
    source = tg.Generator().manual_seed(7)
    twin = source.clone_state()
    assert tg.rand(3, generator=source).tolist() == tg.rand(3, generator=twin).tolist()
    tg.manual_seed(3)
    with tg.random.fork_rng():
        inside = tg.rand(3)
    assert tg.rand(3).tolist() == inside.tolist()
