"""优势：一串奖励怎样变成「这一步比平常好多少」。都是常数，不求导，所以只用 NumPy。

流入：奖励与价值估计；流出：优势与回报的目标。下一站：两边的 ``losses.py``。
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError

__all__ = ["Scale", "baseline_advantages", "generalized_advantages", "group_advantages", "pass_at_k", "token_rewards"]

Scale = Literal["std", "none"]


def generalized_advantages(
    rewards: NDArray[Any], values: NDArray[Any], mask: NDArray[np.bool_], gamma: float = 1.0, lam: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """GAE：``A_t = Σ_k (γλ)^k·δ_{t+k}``，``δ_t = r_t + γ·V_{t+1} - V_t``（Schulman 等，2015）。

    从后往前一遍：``A_t = δ_t + γλ·A_{t+1}``。λ = 1 时是「回报减价值」，无偏而方差大；λ = 0 时只看一步，偏而稳。
    有效的位置须是每行里连续的一段；一段之后没有价值，即 ``V = 0``（说完就结束）。

    Args:
        rewards: ``(B, T)``。
        values: 每个位置（做动作之前）的价值 ``(B, T)``。
        mask: 有效的位置 ``(B, T)``。
        gamma: 折扣 γ。
        lam: λ。

    Returns:
        优势与回报的目标 ``A + V``，各 ``(B, T)``，无效处为 0。

    Raises:
        UserError: 形状不合，或 γ、λ 不在 [0, 1] 内。
    """
    if not (rewards.shape == values.shape == mask.shape and rewards.ndim == 2):
        raise UserError(f"rewards {rewards.shape}, values {values.shape} and mask {mask.shape} must be (B, T) alike")
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise UserError(f"gamma and lambda must be from 0 to 1, got {gamma} and {lam}", fix="use 1 and 0.95")
    rewards, values = np.where(mask, rewards, 0).astype(np.float64), np.where(mask, values, 0).astype(np.float64)
    advantages = np.zeros_like(values)
    after, value_after = np.zeros(len(values)), np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * value_after - values[:, t]
        after = np.where(mask[:, t], delta + gamma * lam * after, 0)
        advantages[:, t], value_after = after, values[:, t]
    return advantages, advantages + values


def baseline_advantages(rewards: NDArray[Any]) -> NDArray[np.float64]:
    """REINFORCE 的基线：每个回答减去**其余**回答的平均，``A_i = r_i - mean(r_j, j≠i)``（Kool 等，2019）。

    基线里没有自己的奖励，与自己的动作无关，所以期望不变；等于 ``n/(n-1)·(r_i - mean(r))``。

    Args:
        rewards: ``(n,)``，至少两个。

    Returns:
        ``(n,)``。

    Raises:
        UserError: 少于两个。
    """
    if rewards.ndim != 1 or rewards.size < 2:
        raise UserError(f"a baseline needs two or more rewards, got {rewards.size}", fix="sample more answers")
    n = rewards.size
    centred: NDArray[np.float64] = rewards.astype(np.float64) - rewards.mean(dtype=np.float64)
    return centred * (n / (n - 1))


def group_advantages(rewards: NDArray[Any], group: int, scale: Scale = "std", eps: float = 1e-4) -> NDArray[np.float64]:
    """GRPO：同一个提示采 G 个回答，``A_i = (r_i - mean(r)) / (std(r) + ε)``（Shao 等，2024）。

    组内的均值就是基线，不必另练价值函数。除以标准差会偏爱「几乎全对」与「几乎全错」的题，
    ``scale="none"`` 不除（Dr. GRPO，Liu 等，2025）。标准差除以 G - 1；一组里全都一样时优势为 0。

    Args:
        rewards: ``(N·G,)``，同组的相邻。
        group: 每组几个 G。
        scale: 除不除以标准差。
        eps: 分母里的小数 ε。

    Returns:
        ``(N·G,)``。

    Raises:
        UserError: 个数不是 G 的倍数，或 G 小于 2。
    """
    if group < 2 or rewards.ndim != 1 or rewards.size % group:
        raise UserError(f"{rewards.size} rewards do not make groups of {group}", fix="use groups of two or more")
    grouped = rewards.astype(np.float64).reshape(-1, group)
    centred: NDArray[np.float64] = grouped - grouped.mean(1, keepdims=True)
    if scale == "std":
        centred /= grouped.std(1, ddof=1, keepdims=True) + eps
    return centred.reshape(-1)


def token_rewards(
    scores: NDArray[Any], kl: NDArray[Any], mask: NDArray[np.bool_], kl_weight: float
) -> NDArray[np.float64]:
    """PPO 的逐 token 奖励：每个 token 扣 ``β·KL``，最后一个 token 加上整个回答的分数。

    Args:
        scores: 每个回答的分数 ``(B,)``。
        kl: 逐 token 的 KL 估计 ``(B, T)``。
        mask: 回答所在的位置 ``(B, T)``；一个也没有的那一行得不到分数。
        kl_weight: β。

    Returns:
        ``(B, T)``，无效处为 0。
    """
    rewards = np.where(mask, -kl_weight * kl, 0.0)
    rows = np.flatnonzero(mask.any(1))
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    rewards[rows, last] += scores[rows]
    return rewards


def pass_at_k(correct: int, samples: int, k: int) -> float:
    """采 n 个、对了 c 个，估计「采 k 个至少对一个」的概率 ``1 - C(n-c, k)/C(n, k)``，无偏（Chen 等，2021）。

    Args:
        correct: 对了几个 c。
        samples: 采了几个 n。
        k: k，不大于 n。

    Returns:
        概率。

    Raises:
        UserError: 不满足 ``0 ≤ c ≤ n``、``1 ≤ k ≤ n``。
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise UserError(f"pass@{k} of {correct} correct in {samples} samples makes no sense", fix="use 1 <= k <= n")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)
