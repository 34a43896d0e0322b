"""微调与强化学习的损失：偏好、蒸馏、策略梯度。

流入：logits 或对数概率；流出：每个样本（或每个 token）的损失，怎样平均由训练循环来定。
分界线以下与 ``torch_llm/losses.py`` 逐字相同，有测试逐行比较。优势怎样算，见 ``tinygrad_llm/common/advantages.py``。
"""

from __future__ import annotations

import tinygrad_llm as torch
from tinygrad_llm import Tensor
from tinygrad_llm.nn import functional as F

# ---- 以下两份文件逐字相同 ----


def target_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """每个目标 token 的对数概率 ``log softmax(z)[y]``，不计的位置为 0。

    Args:
        logits: ``(B, T, V)``。
        targets: ``(B, T)``，-100 表示不计。

    Returns:
        ``(B, T)``。
    """
    batch, length, vocab = logits.shape
    losses = F.cross_entropy(
        logits.reshape(batch * length, vocab), targets.reshape(batch * length), reduction="none", ignore_index=-100
    )
    return -losses.reshape(batch, length)


def sequence_logprobs(logits: Tensor, targets: Tensor, average: bool = False) -> Tensor:
    """每个回答的对数概率 ``log π(y|x) = Σ_t log π(y_t|x, y_<t)``。

    Args:
        logits: ``(B, T, V)``。
        targets: ``(B, T)``，提示与填充处为 -100。
        average: 除以回答的 token 数（IPO 与 ORPO 用）；一个有效 token 也没有的那一行为 0。

    Returns:
        ``(B,)``。
    """
    total = target_logprobs(logits, targets).sum(-1)
    if not average:
        return total
    return total / (targets != -100).sum(-1).clamp(min=1).to(total.dtype)


# ---- 偏好：一对回答，前一个更好 ----


def dpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_reference: Tensor, rejected_reference: Tensor, beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """DPO：``-log σ(β·(Δ_w - Δ_l))``，其中 ``Δ = log π(y|x) - log π_ref(y|x)``（Rafailov 等，2023）。

    带 KL 约束的最优策略满足 ``r(x, y) = β·log(π/π_ref) + β·log Z(x)``；代进 Bradley–Terry 的 ``σ(r_w - r_l)``，
    Z 消去，奖励模型也就不必另练。训练开始时两个 Δ 都是 0，损失恰为 ``ln 2``。标签有 ε 的可能是反的时，
    取 ``(1-ε)·ℓ(h) + ε·ℓ(-h)``。

    Args:
        chosen: 更好的回答的对数概率 ``(B,)``。
        rejected: 更差的回答的。
        chosen_reference: 参考模型给更好的回答的；常数。
        rejected_reference: 参考模型给更差的回答的；常数。
        beta: 奖励与 KL 的兑换率 β，越大离参考模型越近。
        label_smoothing: 标签反了的概率 ε。

    Returns:
        每一对的损失 ``(B,)``。
    """
    margin = beta * ((chosen - chosen_reference) - (rejected - rejected_reference))
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def ipo_loss(
    chosen: Tensor, rejected: Tensor, chosen_reference: Tensor, rejected_reference: Tensor, beta: float = 0.1
) -> Tensor:
    """IPO：``(Δ_w - Δ_l - 1/(2β))²``（Azar 等，2023）。

    DPO 在偏好毫无例外时会把差推向无穷；平方损失让它停在 ``1/(2β)``。

    Args:
        chosen: 更好的回答的对数概率 ``(B,)``；通常按长度平均。
        rejected: 更差的回答的。
        chosen_reference: 参考模型给更好的回答的。
        rejected_reference: 参考模型给更差的回答的。
        beta: 正则的强度 β。

    Returns:
        每一对的损失 ``(B,)``。
    """
    margin = (chosen - chosen_reference) - (rejected - rejected_reference)
    return (margin - 1 / (2 * beta)) ** 2


def kto_loss(
    logprobs: Tensor, reference: Tensor, desirable: Tensor, baseline: float, beta: float = 0.1,
    desirable_weight: float = 1.0, undesirable_weight: float = 1.0,
) -> Tensor:  # fmt: skip
    """KTO：不要成对，只要每个回答好或不好（Ethayarajh 等，2024）。

    好的取 ``λ_D·(1 - σ(β·(Δ - z₀)))``，不好的取 ``λ_U·(1 - σ(β·(z₀ - Δ)))``。``z₀`` 是策略与参考之间 KL 的估计，
    不求导：收益相对它来衡量，损失与收益各按自己的权重计，即前景理论里的价值函数。

    Args:
        logprobs: 回答的对数概率 ``(B,)``。
        reference: 参考模型的。
        desirable: ``(B,)`` 布尔，好为 ``True``。
        baseline: ``z₀ ≥ 0``，见 ``kto_baseline``。
        beta: β。
        desirable_weight: λ_D。
        undesirable_weight: λ_U。

    Returns:
        每个回答的损失 ``(B,)``。
    """
    gain = beta * (logprobs - reference - baseline)
    good = desirable_weight * (1 - F.sigmoid(gain))
    bad = undesirable_weight * (1 - F.sigmoid(-gain))
    return torch.where(desirable, good, bad)


def kto_baseline(mismatched: Tensor, mismatched_reference: Tensor) -> float:
    """KTO 的 ``z₀``：把别的提示的回答配给这个提示，``max(0, mean(log π - log π_ref))``；不求导。

    Args:
        mismatched: 配错的回答的对数概率 ``(B,)``。
        mismatched_reference: 参考模型的。

    Returns:
        ``z₀``。
    """
    return max(0.0, float((mismatched - mismatched_reference).detach().mean().item()))


def orpo_loss(chosen: Tensor, rejected: Tensor, nll: Tensor, beta: float = 0.1) -> Tensor:
    """ORPO：``nll - β·log σ(log odds(y_w) - log odds(y_l))``，不要参考模型（Hong 等，2024）。

    ``odds(y) = p/(1-p)``，p 是按长度平均的概率 ``exp(mean log π)``；
    ``log odds = ℓ - log(1 - e^ℓ)``，ℓ 近 0 时用 ``log1p(-e^ℓ)`` 才不失精度。

    Args:
        chosen: 更好的回答按长度平均的对数概率 ``(B,)``，小于 0。
        rejected: 更差的回答的。
        nll: 更好的回答的负对数似然 ``(B,)``，即监督微调的损失。
        beta: 偏好一项的权重。

    Returns:
        每一对的损失 ``(B,)``。
    """
    log_odds = (chosen - rejected) - (torch.log1p(-torch.exp(chosen)) - torch.log1p(-torch.exp(rejected)))
    return nll - beta * F.logsigmoid(log_odds)


def reward_loss(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """Bradley–Terry 的奖励模型：``-log σ(r_w - r_l - m)``。

    Args:
        chosen: 更好的回答的奖励 ``(B,)``。
        rejected: 更差的回答的。
        margin: 要求至少高出多少。

    Returns:
        每一对的损失 ``(B,)``。
    """
    return -F.logsigmoid(chosen - rejected - margin)


# ---- 蒸馏 ----


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, temperature: float = 1.0, reverse: bool = False
) -> Tensor:
    """学生与老师逐 token 的 KL，乘 ``T²``，各有效位置之和（Hinton 等，2015）。

    温度为 T 时 logits 的梯度缩小到 ``1/T²``，乘回来，换温度就不必换学习率。正向 ``KL(老师‖学生)`` 处处都要照顾到，
    反向 ``KL(学生‖老师)`` 只求自己说的老师也认可。

    Args:
        student: 学生的 logits ``(B, T, V)``。
        teacher: 老师的 logits，形状相同；常数。
        targets: ``(B, T)``，-100 处不计。
        temperature: 温度 T。
        reverse: 用反向的 KL。

    Returns:
        标量：各有效位置之和；除以有效 token 数由训练循环来做。
    """
    ours = F.log_softmax(student / temperature, dim=-1)
    theirs = F.log_softmax(teacher.detach() / temperature, dim=-1)
    if reverse:
        ours, theirs = theirs, ours
    divergence = (torch.exp(theirs) * (theirs - ours)).sum(-1)
    return (divergence * (targets != -100).to(divergence.dtype)).sum() * temperature**2


# ---- 强化学习：逐 token ----


def reinforce_loss(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """REINFORCE：``-A·log π(a|s)``；它的梯度的期望就是期望回报的梯度的相反数（Williams，1992）。

    ``∇E[R] = Σ_a π(a)·R(a)·∇log π(a) = E[R·∇log π]``，而 ``E[∇log π] = ∇Σπ = 0``，所以减去任何与动作无关的基线，
    期望不变，方差变小。

    Args:
        logprobs: 所选动作的对数概率，任意形状。
        advantages: 优势，可广播；常数。

    Returns:
        与 ``logprobs`` 同形状。
    """
    return -advantages * logprobs


def ppo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float = 0.2) -> Tensor:
    """PPO：``-min(ρA, clip(ρ, 1-ε, 1+ε)·A)``，``ρ = π/π_old``（Schulman 等，2017）。

    取两者之小，即悲观的一个：ρ 已经朝着有利的方向走出 ε 之外，梯度便为 0，同一批样本因此可以多用几次；
    朝不利的方向走出去的不截断，错了还能拉回来。

    Args:
        logprobs: 现在的对数概率，任意形状。
        old_logprobs: 采样时的；常数。
        advantages: 优势，可广播；常数。
        clip: ε。

    Returns:
        与 ``logprobs`` 同形状。
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None = None) -> Tensor:
    """价值函数的平方误差 ``½(V - R)²``；给了 ``clip`` 就取它与截断后的较大者，与 PPO 的截断同一个道理。

    Args:
        values: 现在的估计，任意形状。
        old_values: 采样时的估计；常数。
        returns: 目标 ``A + V_old``；常数。
        clip: 离采样时的估计至多多远。

    Returns:
        与 ``values`` 同形状。
    """
    error = (values - returns) ** 2
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns) ** 2)
    return 0.5 * error


def kl_penalty(logprobs: Tensor, reference: Tensor) -> Tensor:
    """逐 token 的 ``KL(π‖π_ref)`` 的估计 ``e^d - d - 1``，``d = log π_ref - log π``（Schulman 的 k3）。

    样本出自 π 时它无偏（``E[e^d] = 1``），而且每一项都不小于 0；两个策略相等时为 0，梯度也为 0。

    Args:
        logprobs: 所选 token 的对数概率，任意形状。
        reference: 参考模型的；常数。

    Returns:
        与 ``logprobs`` 同形状。
    """
    gap = reference - logprobs
    return torch.exp(gap) - gap - 1
