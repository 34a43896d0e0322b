"""工厂函数与随机数：形状、dtype 与数值同 torch；同一种子的随机数列也相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, table
from parity_tests.tolerances import assert_close

FACTORIES: dict[str, Callable[[Any], Any]] = {
    "zeros ones": lambda m: (m.zeros(2, 3), m.ones((2,)), m.zeros([]), m.zeros(()), m.ones(0, 2, dtype=m.int64)),
    "full": lambda m: (m.full((2,), 3), m.full((2,), 3.5), m.full((), True), m.full((1,), 3, dtype=m.float64)),
    "full_like": lambda m: (m.full_like(m.ones(2), 3), m.full_like(m.ones(2, dtype=m.int64), 3)),
    "empty": lambda m: [tuple(t.shape) for t in (m.empty(2, 3), m.empty((2,)), m.empty_like(m.ones(3)))],
    "like": lambda m: (m.zeros_like(m.ones(2, dtype=m.int8)), m.ones_like(m.zeros(2), dtype=m.bool)),
    "requires_grad": lambda m: (m.zeros(1, requires_grad=True), m.tensor(1.0, requires_grad=True), m.ones(1)),
    "arange": lambda m: (m.arange(5), m.arange(1, 5), m.arange(1, 10, 3), m.arange(5, 0, -2), m.arange(0)),
    "arange of floats": lambda m: (m.arange(5.0), m.arange(0, 1, 0.25), m.arange(3, dtype=m.float64), m.arange(2.5)),
    "linspace": lambda m: (m.linspace(0, 1, 5), m.linspace(-2, 3, 7, dtype=m.float64), m.linspace(1, 1, 1)),
    "eye": lambda m: (m.eye(3), m.eye(2, 4), m.eye(2, dtype=m.int64)),
    "device": lambda m: (m.zeros(1, device="cpu"), m.tensor([1], device=m.device("cpu")), m.arange(2, device="cpu")),
    "outer": lambda m: m.outer(m.arange(3), m.arange(2)),
    "constants": lambda m: [m.pi, m.e, m.inf, str(m.nan)],
}  # fmt: skip


@pytest.mark.parametrize("case", table(FACTORIES))
def test_factories_equal_torch(case: Callable[[Any], Any]) -> None:
    """工厂函数的形状、dtype 或数值与 torch 不同。"""
    same(case, "float32")


SIZES = [(0,), (1,), (2,), (3,), (15,), (16,), (17,), (31,), (32,), (100,), (5, 7), (3, 1, 6)]


@pytest.mark.parametrize("seed", [0, 1, 1234, 2**31, 2**40 + 5])
def test_uniform_numbers_are_torchs_bit_for_bit(seed: int) -> None:
    """同一种子的均匀数与 torch 有一位不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(seed)
        return [m.rand(s, dtype=d) for s in SIZES for d in (m.float32, m.float64)]

    same(run, "exact")


@pytest.mark.parametrize("seed", [0, 1, 1234, 2**40 + 5])
def test_normal_numbers_are_torchs(seed: int) -> None:
    """同一种子的正态数与 torch 不同：个数少于 16、不是 16 的倍数、前后两次之间留下的半对。"""

    def run(m: Any) -> Any:
        m.manual_seed(seed)
        return [m.randn(s, dtype=d) for s in SIZES for d in (m.float32, m.float64)]

    same(run, "random normal")


@pytest.mark.parametrize("seed", [0, 7])
def test_integers_and_permutations_are_torchs(seed: int) -> None:
    """同一种子的随机整数或排列与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(seed)
        integers = [m.randint(10, (20,)), m.randint(-5, 5, (3, 4)), m.randint(0, 2**40, (5,)), m.randint(0, 2, (0,))]
        return [*integers, m.randint(0, 9, (4,), dtype=m.int32), *[m.randperm(n) for n in (0, 1, 2, 5, 100)]]

    same(run, "exact")


def test_in_place_and_like_draws_are_torchs() -> None:
    """就地随机写入与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(3)
        x = m.zeros(4, 8)
        return x.uniform_(-2, 3).clone(), x.normal_(1.0, 0.5).clone(), m.rand_like(x), m.randn_like(x.double())

    same(run, "random normal")


def test_a_generator_is_independent_of_the_global_one() -> None:
    """自己的生成器动了全局的数列，或两者给出了同样的数。"""

    def run(m: Any) -> Any:
        m.manual_seed(1)
        own = m.Generator().manual_seed(2)
        mixed = [m.rand(3, generator=own), m.rand(3), m.randn(20, generator=own), m.randperm(5, generator=own)]
        return [*mixed, m.randint(0, 9, (4,), generator=own), m.rand(3), own.initial_seed(), m.initial_seed()]

    same(run, "random normal")


@given(seed=st.integers(0, 2**63 - 1), normals=st.integers(0, 40), uniforms=st.integers(0, 1300))
def test_states_are_not_torchs(seed: int, normals: int, uniforms: int) -> None:
    """随机数状态与 torch 的不是逐字节相同，或从另一个引擎的状态接着抽，得到的数不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(seed)
        m.randn(normals), m.rand(uniforms)
        state = m.get_rng_state()
        expected = m.randn(5), m.rand(700)
        m.set_rng_state(state)
        again = m.randn(5), m.rand(700)
        return state[:5024], state[5032:], expected, again, m.initial_seed()  # 中间 8 个字节是留下的正态数

    same(run, "random normal")
    state = torch.Generator().manual_seed(seed).get_state()
    taken = tg.Generator().set_state(tg.from_numpy(state.numpy()))
    assert taken.initial_seed() == seed
    assert tg.rand(3, generator=taken).tolist() == torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()


STATES: dict[str, Callable[[Any], Any]] = {
    "a dictionary": lambda m: m.set_rng_state({}),
    "floats": lambda m: m.set_rng_state(m.zeros(5056)),
    "too few bytes": lambda m: m.set_rng_state(m.zeros(5048, dtype=m.uint8)),
    "zeros": lambda m: m.set_rng_state(m.zeros(5056, dtype=m.uint8)),
    "a generator's": lambda m: m.Generator().set_state([1]),
}


@pytest.mark.parametrize("restore", table(STATES))
def test_a_state_that_is_none_is_accepted(restore: Callable[[Any], Any]) -> None:
    """不是生成器状态的东西没有被拒绝，或报的是另一类错。"""
    same_error(restore)


def test_seeding_forgets_the_spare_normal() -> None:
    """重新设种子之后还用着上一条数列留下的半对。"""
    tg.manual_seed(0)
    first = tg.randn(3)
    tg.manual_seed(0)
    assert_close(tg.randn(3), first, "exact")


def _shares(draws: Any, classes: int) -> Any:
    return np.bincount(draws.array.reshape(-1), minlength=classes) / draws.array.size


def test_multinomial_follows_the_weights() -> None:
    """抽样的频率偏离权重，抽到权重为 0 的类，或不放回时重复。"""
    tg.manual_seed(0)
    weights = tg.tensor([[1.0, 0.0, 3.0, 6.0], [5.0, 5.0, 0.0, 0.0]])
    expected = weights.array / weights.array.sum(1, keepdims=True)
    many = weights[:1].expand(4000, 4)
    for replacement in (True, False):
        first = tg.multinomial(many, 2, replacement=replacement)[:, :1]
        np.testing.assert_allclose(_shares(first, 4), expected[0], atol=0.03)
    rows = tg.multinomial(weights[:1].expand(200, 4), 3)
    assert all(sorted(row) == [0, 2, 3] for row in rows.tolist())
    assert tg.multinomial(weights, 2).shape == (2, 2)
    assert tg.multinomial(weights[0], 5, replacement=True).shape == (5,)
    assert weights[0].multinomial(1, generator=tg.Generator()).dtype is tg.int64


def test_bernoulli_and_dropout_follow_the_probability() -> None:
    """伯努利或 dropout 的频率不对，或保留下来的没有放大。"""
    tg.manual_seed(0)
    p = tg.tensor([0.0, 0.2, 0.9, 1.0]).expand(5000, 4)
    np.testing.assert_allclose(tg.bernoulli(p).mean(0).array, [0.0, 0.2, 0.9, 1.0], atol=0.02)
    x = tg.ones(100, 100, requires_grad=True)
    y = tg.nn.functional.dropout(x, 0.25)
    assert sorted(set(y.reshape(-1).tolist())) == [0.0, np.float32(4 / 3)]
    assert abs(y.mean().item() - 1) < 0.02
    y.sum().backward()
    assert x.grad is not None
    assert_close(x.grad, y.detach(), "exact")
    again = tg.nn.functional.dropout(x, 0.25)
    assert not tg.equal(again, y), "each call draws a new mask"


def test_dropout_edges_equal_torch() -> None:
    """``p`` 为 0 或 1、评估状态、就地时，dropout 与 torch 不同。"""

    def run(m: Any) -> Any:
        F = m.nn.functional
        x = m.tensor([1.0, float("inf")])
        inplace = m.ones(3)
        F.dropout(inplace, 1.0, inplace=True)
        return F.dropout(x, 0.0), F.dropout(m.ones(2), 1.0), F.dropout(x, 0.9, training=False), inplace

    same(run)


def test_the_seed_repeats_dropout_and_initialisation() -> None:
    """同一种子之下，两次运行不同。"""

    def run() -> Any:
        tg.manual_seed(5)
        layer = tg.nn.Linear(3, 4)
        return tg.nn.functional.dropout(layer(tg.randn(2, 3)), 0.5)

    assert_close(run(), run(), "exact")
    assert torch.initial_seed() is not None
