"""AdamW、SGD 与 Muon 在小 GPT 上走一百步：每一步之后的损失、参数与优化器状态，与 torch 的相对差都不过 1e-8。"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parity_tests.contract.cases import configs
from parity_tests.trajectories.rounding import ROUNDING, lockstep, without_bfloat16
from parity_tests.trajectories.walk import BOUND, RULES, Make, apart, sides, walk
from tinygrad_llm.common.config import GPTConfig

STEPS = 100
MUONS = [name for name in RULES if name.startswith("Muon")]
QUICK = ("AdamW", "SGD momentum", "SGD Nesterov", "Muon")
GPT2 = GPTConfig(vocab_size=13, context=8, n_layer=2, n_head=2, n_embd=16)
LLAMA = GPTConfig(
    vocab_size=13, context=8, n_layer=1, n_head=4, n_kv_head=2, n_embd=16, norm="rmsnorm", position="rope",
    mlp="swiglu", bias=False, tie_head=False, qk_norm=True,
)  # fmt: skip
MANY = settings(max_examples=settings().max_examples // 6)
FEWER = settings(max_examples=max(2, settings().max_examples // 30))
"""一百步每个例子约一秒：full 档 AdamW 走四份、每份五十个随机配置，别的优化器各十个。"""


def assert_followed(config: GPTConfig, make: Make, seed: int, steps: int = STEPS) -> None:
    """走完全程，没有一处超过 ``BOUND``。"""
    with without_bfloat16():
        for gap in walk(sides(config, make), config, steps, seed):
            assert gap.error <= BOUND, f"step {gap.step}: {gap.what} is {gap.error:.1e} apart"


@pytest.mark.parametrize(
    "rule", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in RULES]
)
def test_a_hundred_steps_of_a_gpt_leave_torchs_path(rule: str) -> None:
    """某一步之后，损失、某个参数或优化器的某个状态与 torch 相差超过 1e-8。"""
    assert_followed(LLAMA if rule in MUONS else GPT2, RULES[rule], seed=0)


def follow_random(config: GPTConfig, rule: str, seed: int) -> None:
    """随机的配置；宽度不到 4 的归一化把舍入误差放大 1/√ε 倍，训练又逐步放大，那不是引擎之间的差别，所以不取。"""
    assume(config.n_embd >= 4)
    assert_followed(config, RULES[rule], seed)


@pytest.mark.full
@pytest.mark.parametrize("part", range(4))
@MANY
@given(config=configs(), seed=st.integers(0, 1000))
def test_random_gpts_leave_torchs_path_under_adamw(part: int, config: GPTConfig, seed: int) -> None:
    """随机的配置上，AdamW 的某一步之后与 torch 相差超过 1e-8。"""
    follow_random(config, "AdamW", seed + 1000 * part)


@pytest.mark.full
@pytest.mark.parametrize("rule", [name for name in RULES if name != "AdamW"])
@FEWER
@given(config=configs(), seed=st.integers(0, 1000))
def test_random_gpts_leave_torchs_path(rule: str, config: GPTConfig, seed: int) -> None:
    """随机的配置上，别的优化器的某一步之后与 torch 相差超过 1e-8。"""
    follow_random(config, rule, seed)


MISTAKES: dict[str, Any] = {
    "AdamW": lambda optim, named: [optim.AdamW(list(named.values()), lr=3e-3, betas=(0.9, 0.95), eps=1.0001e-8)],
    "SGD Nesterov": lambda optim, named: [optim.SGD(list(named.values()), lr=0.01, momentum=0.9, nesterov=False)],
}
"""孪生：错得极轻的一处——ε 的第五位有效数字、没有 Nesterov 的那一步。"""


@pytest.mark.parametrize("rule", MISTAKES)
def test_a_slightly_wrong_optimizer_passes(rule: str) -> None:
    """超参数错了一点点，一百步的轨迹却仍算相同：界太松，什么也证明不了。"""

    def right(optim: Any, named: dict[str, Any]) -> list[Any]:
        params = list(named.values())
        if rule == "AdamW":
            return [optim.AdamW(params, lr=3e-3, betas=(0.9, 0.95))]
        return [optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True)]

    for ours, is_same in ((None, True), (MISTAKES[rule], False)):
        worst = max(gap.error for gap in walk(sides(GPT2, right, ours), GPT2, 20, 0))
        assert (worst <= BOUND) is is_same


def test_the_loss_does_not_fall() -> None:
    """三十步里什么也没有学到：轨迹停在原地，相同也说明不了什么。"""
    for rule in ("AdamW", "Muon"):
        start, end = sides(GPT2, RULES[rule]), sides(GPT2, RULES[rule])
        assert sum(1 for _ in walk(end, GPT2, 30, 0)) == 30
        ids = np.arange(8)[None] % 13
        first, last = (pair[0].step(ids, (3 * ids + 1) % 13) for pair in (start, end))
        assert last < 0.9 * first, rule


@pytest.mark.parametrize("steps", [pytest.param(STEPS, marks=pytest.mark.full), 20])
@pytest.mark.parametrize("rule", MUONS)
def test_rounding_to_bfloat16_moves_a_step_too_far(rule: str, steps: int) -> None:
    """保留 Muon 的 bfloat16：从同一处出发的一步，差出了几个末位；动量不经舍入，差别仍是 1e-12 以内。"""
    for config in (GPT2, LLAMA):
        found = list(lockstep(sides(config, RULES[rule]), config, steps, 0))
        assert max(momentum.error for momentum, _ in found) <= 1e-12
        moved = [update.error for _, update in found]
        assert max(moved) <= ROUNDING
        assert statistics.median(moved) <= 2.0**-8


def test_apart_hides_a_wrong_number() -> None:
    """该为 0 的不为 0、不是数的数，都要算作相差无穷。"""
    assert apart(np.zeros(2), np.zeros(2)) == 0.0
    assert apart(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert apart(np.array([1e-30]), np.zeros(1)) == float("inf")
    assert apart(np.array([float("nan")]), np.ones(1)) == float("inf")
