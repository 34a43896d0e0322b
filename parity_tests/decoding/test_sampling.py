"""采样：与朴素参考逐例一致，频率符合概率，随机数只由 (seed, position, row) 决定。"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.sampling import kept, sample_token, uniform_at
from tinygrad_llm.common.errors import DivergedError, UserError

Floats = npt.NDArray[np.float64]

GOLDEN_UNIFORMS = [0.1596595317499252, 0.9998734213183036, 0.4853230597262529]
# 一半取自少数几个值，使并列常常出现
LOGITS = st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]) | st.floats(-30, 30), min_size=1, max_size=40)


def reference(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None, uniform: float
) -> int | None:
    """照定义逐步写出的采样，精确有理数运算；结果取决于舍入时返回 None。"""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if temperature == 0:
        return order[0]
    order = order[:top_k]
    top = max(logits)
    weight = {i: Fraction(float(np.exp((logits[i] - top) / temperature))) for i in order}
    order.sort(key=lambda i: (-weight[i], i))  # 概率相同就是并列，哪怕 logit 差一点点
    if top_p is not None and top_p < 1:
        kept: list[int] = []
        for i in order:
            kept.append(i)
            mass = sum((weight[j] for j in kept), Fraction(0)) / sum(weight.values()) - Fraction(top_p)
            if 0 < abs(mass) < 1e-9:
                return None
            if mass >= 0:
                break
        weight = {i: weight[i] for i in kept}
    target, running = Fraction(uniform) * sum(weight.values()), Fraction(0)
    for i in sorted(weight):
        running += weight[i]
        if 0 < abs(running - target) < 1e-9:
            return None
        if running > target:
            return i
    return None


@given(
    LOGITS,
    st.sampled_from([0.0, 1.0]) | st.floats(0.05, 5),
    st.none() | st.integers(1, 50),
    st.none() | st.sampled_from([0.5, 1.0]) | st.floats(0.01, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_agrees_with_a_naive_reference(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None, uniform: float
) -> None:
    """任意参数组合都与朴素实现选出同一个 token。"""
    expected = reference(logits, temperature, top_k, top_p, uniform)
    assume(expected is not None)
    got = sample_token(np.array(logits), temperature=temperature, top_k=top_k, top_p=top_p, uniform=uniform)
    assert got == expected


def support(logits: list[float], top_k: int | None = None, top_p: float | None = None) -> set[int]:
    """细细扫过 [0, 1)，得到可能被选中的 token。"""
    array = np.array(logits)
    grid = np.linspace(0, 1, 2000, endpoint=False)
    return {sample_token(array, temperature=1.0, top_k=top_k, top_p=top_p, uniform=float(u)) for u in grid}


def test_top_k_keeps_exactly_k_even_on_ties() -> None:
    """并列时留 id 小的，个数不多不少。"""
    assert support([1.0, 2.0, 1.0, 2.0, 1.0], top_k=3) == {0, 1, 3}
    assert support([1.0, 2.0], top_k=9) == {0, 1}


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    """概率 0.1、0.4、0.5：p 刚好达到时不再多留一个，至少留一个。"""
    logits = [math.log(0.1), math.log(0.4), math.log(0.5)]
    assert support(logits, top_p=0.45) == {2}
    assert support(logits, top_p=0.85) == {1, 2}
    assert support(logits, top_p=0.95) == {0, 1, 2}
    assert support(logits, top_p=1e-12) == {2}
    assert support([0.0, 0.0, 0.0, 0.0], top_p=0.5) == {0, 1}


def test_top_p_prefers_low_ids_among_many_equals() -> None:
    """两百个 token 分成两档、交错排列：并列者取 id 小的。"""
    logits = np.where(np.arange(200) % 2 == 0, 0.0, 1.0)
    half_of_high = 0.5 * 100 * math.e / (100 * math.e + 100)
    expected = list(range(1, 100, 2))
    grid = (np.arange(50) + 0.5) / 50
    got = [sample_token(logits, temperature=1.0, top_k=None, top_p=half_of_high - 1e-9, uniform=u) for u in grid]
    assert got == expected


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
def test_top_p_of_a_large_vocabulary_keeps_other_tokens(spread: float) -> None:
    """词表很大时只排最大的一批：留下的与把全部排一遍的不同（平的分布上那一批不够，尖的上足够，另有并列）。"""
    logits = np.round(np.random.default_rng(0).normal(size=5000) * spread, 2)
    weights = np.exp(logits - logits.max())
    order = np.argsort(-weights, kind="stable")
    for p in (0.1, 0.5, 0.9, 0.999):
        count = int(np.searchsorted(np.cumsum(weights[order]), p * weights.sum())) + 1
        assert kept(logits, Sampling(1.0, top_p=p))[0].tolist() == sorted(order[:count].tolist())


def test_the_inverse_cdf_runs_in_id_order_after_top_p() -> None:
    """概率大的 token 排在后面时，uniform = 0 仍选留下的最小 id。"""
    logits = np.log(np.array([0.1, 0.4, 0.5]))
    assert sample_token(logits, temperature=1.0, top_k=None, top_p=0.85, uniform=0.0) == 1


def test_top_p_is_measured_after_top_k() -> None:
    """先 top-k 再 top-p：p 相对于 top-k 之后重新归一的分布。"""
    logits = [math.log(0.4), math.log(0.3), math.log(0.3)]
    assert support(logits, top_k=2, top_p=0.55) == {0}  # 0.4 / 0.7 > 0.55；若不归一，0.4 < 0.55


def test_greedy_takes_the_lowest_id_on_ties_and_ignores_the_random_number() -> None:
    """温度 0 与 uniform 无关。"""
    logits = np.array([0.0, 7.0, 7.0, 1.0], dtype=np.float32)
    assert {sample_token(logits, temperature=0, top_k=None, top_p=None, uniform=u) for u in (0.0, 0.5, 0.999)} == {1}


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_tiny_temperatures_do_not_overflow(temperature: float) -> None:
    """极低温度等同于贪心，不出现 NaN，也不发警告。"""
    logits = np.array([-1e308, 3.0, 2.0, 1e308])
    assert sample_token(logits, temperature=temperature, top_k=None, top_p=0.9, uniform=0.99) == 3


def test_a_token_of_zero_probability_is_never_chosen() -> None:
    """uniform 为 0 或贴近 1 时，都不落在概率下溢为 0 的 token 上。"""
    logits = np.array([-2000.0, 0.0, -2000.0])
    for uniform in (0.0, np.nextafter(1.0, 0.0)):
        assert sample_token(logits, temperature=1.0, top_k=None, top_p=None, uniform=float(uniform)) == 1


def test_frequencies_match_the_softmax() -> None:
    """两万次抽样的卡方统计量（7 个自由度）低于 0.1% 分位点 24.3。"""
    logits = np.array([0.0, 1.0, 2.0, -1.0, 0.5, 0.5, 1.5, -2.0])
    draws = 20_000
    ids = [
        sample_token(logits, temperature=0.7, top_k=None, top_p=None, uniform=uniform_at(7, n)) for n in range(draws)
    ]
    expected = np.exp(logits / 0.7)
    expected *= draws / expected.sum()
    observed = np.bincount(ids, minlength=logits.size)
    assert float(((observed - expected) ** 2 / expected).sum()) < 24.3


def test_random_numbers_are_fixed_by_their_three_integers() -> None:
    """与调用次序无关，三个整数各自都起作用；具体数值写死，换平台或换 NumPy 版本会被发现。"""
    assert uniform_at(1, 2, 3) == uniform_at(1, 2, 3)
    assert len({uniform_at(1, 2, 3), uniform_at(2, 2, 3), uniform_at(1, 3, 3), uniform_at(1, 2, 4)}) == 4
    assert uniform_at(2**64 - 1, 2**64 - 1, 2**64 - 1) < 1
    assert [uniform_at(1234, n) for n in range(3)] == GOLDEN_UNIFORMS


def test_random_numbers_are_uniform_along_positions_and_rows() -> None:
    """沿位置、沿行各取一万个：均值在 1/2 的四个标准差内，相邻者不相关。"""
    for values in (
        np.array([uniform_at(5, n) for n in range(10_000)]),
        np.array([uniform_at(5, 9, n) for n in range(10_000)]),
    ):
        assert abs(values.mean() - 0.5) < 4 * math.sqrt(1 / 12 / values.size)
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(values.size)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"uniform": 1.0},
        {"uniform": -0.1},
        {"uniform": math.nan},
        {"logits": np.zeros((2, 3))},
        {"logits": np.zeros(0)},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    """每个越界参数都报 UserError（退出码 2）。"""
    good: dict[str, Any] = {"logits": np.zeros(4), "temperature": 1.0, "top_k": None, "top_p": None, "uniform": 0.5}
    with pytest.raises(UserError) as caught:
        sample_token(**(good | wrong))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_non_finite_logits_are_named(value: float, temperature: float) -> None:
    """NaN 与无穷不参与采样，报错指出是哪个 token。"""
    logits = np.zeros(4)
    logits[2] = value
    with pytest.raises(DivergedError, match="not finite") as caught:
        sample_token(logits, temperature=temperature, top_k=None, top_p=None, uniform=0.5)
    assert caught.value.where == "token id 2"


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (0, -1, 0), (0, 0, 2**64)])
def test_integers_outside_64_bits_are_refused(arguments: tuple[int, int, int]) -> None:
    """负数与过大的整数报 UserError，而不是悄悄回绕。"""
    with pytest.raises(UserError):
        uniform_at(*arguments)
