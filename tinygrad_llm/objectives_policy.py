"""强化学习的方法：REINFORCE、PPO、GRPO 与它的简化（NumPy 版）。

流入：采好的回答与优势（``common/rl/rollouts.py``）；流出：损失。每一项的公式在 ``losses.py``，各方法用哪几项在
``common/rl/objective.py``。分界线以下与 ``torch_llm/objectives_policy.py`` 逐字相同，有测试逐行比较。
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

import tinygrad_llm as torch
from tinygrad_llm import Tensor, nn
from tinygrad_llm.common.rl.objective import NOTES, Objective
from tinygrad_llm.losses import kl_penalty, ppo_loss, reinforce_loss, value_loss
from tinygrad_llm.nn import functional as F

# ---- 以下两份文件逐字相同 ----

VALUE_HEAD = "value_head"


class PolicyGradient:
    """策略梯度的一种方法：批次是采好的回答，损失由 ``objective`` 的几项相加。

    批次的次序：``x``、``y``（不是回答的位置 y 为 -100）、``weights``（各 token 的权重）、``old``（采样时的对数概率）、
    ``reference``（参考模型的）、``advantages``，都是 ``(B, T)``；``notes``（``(B, 几样)``，逐列相加就是要记的和）；
    有价值头时还有 ``values`` 与 ``returns``。都是常数。

    Args:
        objective: 各项的系数。
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def attach(self, model: Any) -> dict[str, Any]:
        """全部参数；要价值头时添上一个全为 0 的，于是训练开始时每个价值都是 0。"""
        if self.objective.value_weight is not None and not hasattr(model, VALUE_HEAD):
            like = model.wte.weight
            head = nn.Linear(model.config.n_embd, 1, bias=False).to(like.device, like.dtype)
            nn.init.zeros_(head.weight)
            model.value_head = head
        return dict(model.named_parameters())

    def units(self, batch: Any) -> int:
        """权重之和：按回答平均时是回答数，按 token 平均时是 token 数。"""
        return round(float(batch[2].sum()))

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """各 token 的损失乘权重之和，与要记的数。"""
        x, y, weights, old, reference, advantages, notes, *critic = batch
        goal, chosen = self.objective, y != -100
        hidden = model.hidden(x)[chosen]
        logp, entropy = chosen_logprobs(model, hidden, y[chosen], goal)
        weights, old, reference, advantages = (one[chosen] for one in (weights, old, reference, advantages))
        if goal.clip is None:
            each = reinforce_loss(logp, advantages)
        else:
            each = ppo_loss(logp, old, advantages, goal.clip)
        distance = kl_penalty(logp, reference)
        if goal.kl_weight:
            each = each + goal.kl_weight * distance
        if goal.entropy_weight:
            each = each - goal.entropy_weight * entropy
        figures = {"kl": (weights * distance.detach()).sum(), "entropy": (weights * entropy.detach()).sum()}
        if goal.clip is not None:
            ratio = torch.exp(logp.detach() - old)
            outside = ((ratio - 1).abs() > goal.clip).to(weights.dtype)
            figures["clip_fraction"] = (weights * outside).sum()
        if goal.value_weight is not None:
            values, returns = (one[chosen] for one in critic)
            error = value_loss(model.value_head(hidden)[:, 0], values, returns, goal.value_clip)
            each = each + goal.value_weight * error
            figures["value_loss"] = (weights * error.detach()).sum()
        return (weights * each).sum(), {**figures, **dict(zip(NOTES, notes.sum(0), strict=True))}


def chosen_logprobs(model: Any, hidden: Tensor, targets: Tensor, goal: Objective) -> tuple[Tensor, Tensor]:
    """所选 token 在采样的分布 ``softmax(z/τ)`` 下的对数概率，与那个分布的熵。

    Args:
        model: 模型。
        hidden: 各位置的特征 ``(N, C)``。
        targets: 所选的 token ``(N,)``。
        goal: 用到温度与词表。

    Returns:
        对数概率与熵，各 ``(N,)``。
    """
    logits = model.logits(hidden)[:, : goal.vocab_size] / goal.temperature
    logprobs = F.log_softmax(logits, dim=-1)
    entropy = -(torch.exp(logprobs) * logprobs).sum(-1)
    return logprobs.gather(1, targets[:, None])[:, 0], entropy


class Scorer:
    """眼下的模型与参考模型怎样看一批采好的回答：逐 token 的对数概率与价值，不求导。

    Args:
        model: 正在学的模型。
        reference: 出发时的模型，不再变。
        objective: 用到温度与词表。
        rows: 一次前向几行。
        forward: 前向时所在的上下文，例如降精度的 ``autocast``。
    """

    def __init__(self, model: Any, reference: Any, objective: Objective, rows: int = 32, forward: Any = None) -> None:
        self.model, self.reference, self.objective = model, reference.eval(), objective
        self.rows, self.forward = rows, forward or contextlib.nullcontext

    def policy(self, x: Any, y: Any) -> tuple[Any, Any]:
        """对数概率与价值，各 ``(B, T)`` 的数组，不是回答的位置为 0；没有价值头时价值都是 0。"""
        self.model.eval()
        return self.scored(self.model, x, y)

    def base(self, x: Any, y: Any) -> Any:
        """参考模型的对数概率 ``(B, T)``。"""
        return self.scored(self.reference, x, y)[0]

    def scored(self, model: Any, x: Any, y: Any) -> tuple[Any, Any]:
        """几行一次，免得 logits 占太多内存。"""
        logprobs, values = np.zeros(x.shape), np.zeros(x.shape)
        device = model.wte.weight.device
        with torch.no_grad(), self.forward():
            for at in range(0, len(x), self.rows):
                mine = slice(at, at + self.rows)
                chosen = y[mine] != -100
                hidden = model.hidden(torch.from_numpy(x[mine]).to(device))[torch.from_numpy(chosen).to(device)]
                targets = torch.from_numpy(y[mine][chosen]).to(device)
                logprobs[mine][chosen] = array_of(chosen_logprobs(model, hidden, targets, self.objective)[0])
                if hasattr(model, VALUE_HEAD):
                    values[mine][chosen] = array_of(model.value_head(hidden)[:, 0])
        return logprobs, values


def array_of(tensor: Any) -> Any:
    """张量的值，float64 的数组。"""
    return tensor.detach().cpu().double().numpy()
