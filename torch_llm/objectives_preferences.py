"""由偏好微调与奖励模型：批次里的一好一坏变成损失（PyTorch 版）。

流入：成对的回答与参考模型的对数概率；流出：损失之和与要记录的数字。公式见 ``losses.py``，批次从哪里来见
``tinygrad_llm/common/tuning/preferences.py``。分界线以下与 ``tinygrad_llm/objectives_preferences.py`` 逐字相同。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tinygrad_llm.common.engine import Batch
from torch_llm.losses import (
    dpo_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    orpo_loss,
    reward_loss,
    target_logprobs,
)

# ---- 以下两份文件逐字相同 ----

ODDS_LIMIT = -1e-6
"""ORPO 里平均对数概率的上限：再近 0 时 ``log(1 - e^ℓ)`` 没有有限的导数，而那样的回答也没有什么可学的了。"""


class Answers:
    """一批回答里要学的 token：只在这些位置上算 logits，提示与填充处的不算。

    Args:
        model: 模型。
        x: ``(B, K, T)``，每行 K 个回答。
        y: ``(B, K, T)``，提示与填充处为 -100。

    Attributes:
        where: 要学的 token 在摊平的 y 里的位置 ``(N,)``。
        tokens: 各个要学的 token 的对数概率 ``(N,)``，按行相接。
        rows: 它们各属于第几个回答 ``(N,)``，0 到 ``B·K - 1``。
        counts: 每个回答有几个 ``(B, K)``，至少按 1 算，可以作除数。
    """

    def __init__(self, model: Any, x: Tensor, y: Tensor) -> None:
        rows, answers, width = x.shape
        flat = y.reshape(rows * answers * width)
        self.where = torch.nonzero(flat != -100).reshape(-1)
        self.shape, self.rows = (rows, answers), self.where // width
        features = model.hidden(x.reshape(rows * answers, width))
        features = features.reshape(rows * answers * width, features.shape[-1])[self.where]
        self.tokens = target_logprobs(model.logits(features[None]), flat[self.where][None])[0]
        self.counts = self.total(torch.ones_like(self.tokens)).clamp(min=1)

    def picked(self, values: Tensor) -> Tensor:
        """与 y 同形状的数里，属于要学的 token 的那些 ``(N,)``。"""
        found: Tensor = values.reshape(-1)[self.where]
        return found

    def total(self, values: Tensor) -> Tensor:
        """每个 token 一个数 ``(N,)``，加成每个回答一个 ``(B, K)``。"""
        rows, answers = self.shape
        empty = torch.zeros(rows * answers, dtype=values.dtype, device=values.device)
        found: Tensor = empty.index_add(0, self.rows, values).reshape(rows, answers)
        return found

    def per_token(self, values: Tensor) -> Tensor:
        """同 ``total``，再除以各回答的 token 数。"""
        found: Tensor = self.total(values) / self.counts
        return found


def token_logprobs(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """各个目标 token 的对数概率 ``(N, T)``，不计的位置为 0；参考模型用它。

    Args:
        model: 模型。
        x: ``(N, T)``。
        y: ``(N, T)``，-100 表示不计。
    """
    found = Answers(model, x[:, None], y[:, None])
    empty = torch.zeros(x.shape[0] * x.shape[1], dtype=found.tokens.dtype, device=x.device)
    each: Tensor = empty.index_add(0, found.where, found.tokens).reshape(x.shape)
    return each


class PreferenceMethod:
    """由偏好微调：DPO、IPO、KTO、ORPO，一个单位是一对（KTO 是一个）回答。

    批次是 ``x``、``y`` ``(B, 2, T)``、参考模型给每个 token 的对数概率 ``(B, 2, T)``（ORPO 不用它，全是 0）与
    ``(B,)`` 的好坏（只有 KTO 用）。前三种里 ``[:, 0]`` 是更好的回答、``[:, 1]`` 是更差的；KTO 里 ``[:, 0]`` 是要判的
    回答，``[:, 1]`` 是同一个提示配上别处的回答，只用来估计 ``z₀``，不求导。

    Args:
        kind: ``"dpo"``、``"ipo"``、``"kto"`` 或 ``"orpo"``。
        beta: β。
        label_smoothing: DPO 的标签反了的概率。
        weights: KTO 里好的与不好的回答的权重 ``(λ_D, λ_U)``。
    """

    def __init__(
        self, kind: str, beta: float, label_smoothing: float = 0.0, weights: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        self.kind, self.beta, self.label_smoothing, self.weights = kind, beta, label_smoothing, weights

    def attach(self, model: Any) -> Mapping[str, Any]:
        """全部参数。"""
        return dict(model.named_parameters())

    def units(self, batch: Batch) -> int:
        """几对。"""
        return len(batch[0])

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """各对的损失之和，与奖励、差、KL 的估计之和。"""
        x, y, reference, desirable = batch
        if self.kind == "kto":
            return self._unpaired(model, x, y, reference, desirable)
        found = Answers(model, x, y)
        if self.kind == "orpo":
            return self._without_reference(found)
        theirs = found.picked(reference).to(found.tokens.dtype)
        averaged = self.kind == "ipo"
        ours, base = (found.per_token(one) if averaged else found.total(one) for one in (found.tokens, theirs))
        sides = ours[:, 0], ours[:, 1], base[:, 0], base[:, 1]
        losses = ipo_loss(*sides, self.beta) if averaged else dpo_loss(*sides, self.beta, self.label_smoothing)
        rewards = self.beta * (ours - base).detach()
        figures = {**_paired(rewards), "kl": _drift(found, theirs)[:, 0].sum()}
        return losses.sum(), figures

    def _unpaired(self, model: Any, x: Any, y: Any, reference: Any, desirable: Any) -> tuple[Any, dict[str, Any]]:
        found = Answers(model, x[:, :1], y[:, :1])
        theirs = found.picked(reference[:, :1]).to(found.tokens.dtype)
        with torch.no_grad():
            other = Answers(model, x[:, 1:], y[:, 1:])
            other_base = other.total(other.picked(reference[:, 1:]).to(other.tokens.dtype))[:, 0]
            baseline = kto_baseline(other.total(other.tokens)[:, 0], other_base)
        ours, base = found.total(found.tokens)[:, 0], found.total(theirs)[:, 0]
        losses = kto_loss(ours, base, desirable, baseline, self.beta, *self.weights)
        rewards = self.beta * (ours - base).detach()
        right = (rewards > self.beta * baseline) == desirable
        good, bad = (len(x) * _mean_where(rewards, one) for one in (desirable, ~desirable))
        figures = {
            "answer_accuracy": right.to(rewards.dtype).sum(),
            "margin": good - bad,
            "reward_good": good,
            "reward_bad": bad,
            "baseline": good * 0 + baseline * len(x),
            "kl": _drift(found, theirs).sum(),
        }
        return losses.sum(), figures

    def _without_reference(self, found: Answers) -> tuple[Any, dict[str, Any]]:
        mean = found.per_token(found.tokens)
        chosen, rejected = mean.clamp(max=ODDS_LIMIT)[:, 0], mean.clamp(max=ODDS_LIMIT)[:, 1]
        losses = orpo_loss(chosen, rejected, -mean[:, 0], self.beta)
        return losses.sum(), {**_paired(self.beta * mean.detach()), "nll": -mean[:, 0].detach().sum()}


class RewardMethod:
    """Bradley–Terry 的奖励模型：末一个真实 token 的特征经过一个标量的头，更好的回答得分更高。

    批次是完整的 ``ids`` ``(B, 2, T)`` 与各自末一个真实 token 的位置 ``(B, 2)``；``[:, 0]`` 是更好的回答。

    Args:
        margin: 要求至少高出多少。
    """

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def attach(self, model: Any) -> Mapping[str, Any]:
        """添上标量的头 ``reward_head``，权重为 0：开始时分不出好坏，损失恰为 ``ln 2``。"""
        like = model.head_weight()
        model.reward_head = nn.Linear(like.shape[1], 1, bias=False).to(like.device, like.dtype)
        with torch.no_grad():
            model.reward_head.weight.zero_()
        return {name: p for name, p in model.named_parameters() if not name.startswith("lm_head")}

    def units(self, batch: Batch) -> int:
        """几对。"""
        return len(batch[0])

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """各对的损失之和。"""
        rewards = answer_rewards(model, *batch)
        return reward_loss(rewards[:, 0], rewards[:, 1], self.margin).sum(), _paired(rewards.detach())


def answer_rewards(model: Any, ids: Tensor, last: Tensor) -> Tensor:
    """奖励 ``(B, K)``。

    Args:
        model: 添了 ``reward_head`` 的模型。
        ids: 提示与回答，含结束符 ``(B, K, T)``。
        last: 末一个真实 token 的位置 ``(B, K)``。
    """
    rows, answers, width = ids.shape
    features = model.hidden(ids.reshape(rows * answers, width))
    ends = features[torch.arange(rows * answers, device=ids.device), last.reshape(-1)]
    found: Tensor = model.reward_head(ends).reshape(rows, answers)
    return found


def _paired(rewards: Tensor) -> dict[str, Tensor]:
    """两边的奖励 ``(B, 2)`` → 各项之和；``pair_accuracy`` 数更好的回答得分更高的有几对。"""
    margin = rewards[:, 0] - rewards[:, 1]
    return {
        "margin": margin.sum(),
        "pair_accuracy": (margin > 0).to(rewards.dtype).sum(),
        "reward_chosen": rewards[:, 0].sum(),
        "reward_rejected": rewards[:, 1].sum(),
    }


def _mean_where(rewards: Tensor, chosen: Tensor) -> Tensor:
    """选中的奖励的平均；一个也没有为 0。"""
    picked = chosen.to(rewards.dtype)
    found: Tensor = (rewards * picked).sum() / picked.sum().clamp(min=1)
    return found


def _drift(found: Answers, reference: Tensor) -> Tensor:
    """每个回答里平均每个 token 的 KL 的估计 ``(B, K)``（纳特），每一项都不小于 0：``(log π - log π_ref)² / 2``。

    两个策略相近时，它与 KL 只差三阶的小量。回答不出自策略，无偏的估计不可用；``r - 1 - log r``（``r`` 是两个概率的比）
    在比值很大的一两个 token 上按指数增长，平均数便只剩它们。策略自己写的回答上的 KL 另量，见
    ``tinygrad_llm/common/tuning/policy_kl.py``。
    """
    gap = found.tokens.detach() - reference
    return found.per_token(gap * gap / 2)
