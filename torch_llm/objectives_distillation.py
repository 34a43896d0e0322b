"""蒸馏：冻结的老师给出每个位置的整个分布，学生照着学（PyTorch 版）。

流入：语言模型的批次；流出：损失之和与要记录的数字。公式见 ``losses.py``，怎样备齐一次蒸馏见
``tinygrad_llm/common/tuning/distillation.py``。分界线以下与 ``tinygrad_llm/objectives_distillation.py`` 逐字相同。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tinygrad_llm.common.engine import Batch, valid_tokens
from torch_llm.losses import distillation_loss, target_logprobs

# ---- 以下两份文件逐字相同 ----


class DistillationMethod:
    """蒸馏：``(1-α)·交叉熵 + α·T²·KL``，一个单位是一个有效 token。

    Args:
        teacher: 老师；冻结，词表须与学生的相同。
        alpha: 听老师的占几成 α；其余的听数据。
        temperature: 温度 T，见 ``distillation_loss``。
        reverse: 用反向的 KL。
    """

    def __init__(self, teacher: Any, alpha: float, temperature: float, reverse: bool) -> None:
        self.teacher, self.alpha, self.temperature, self.reverse = teacher.eval(), alpha, temperature, reverse
        for p in teacher.parameters():
            p.requires_grad_(False)

    def attach(self, model: Any) -> Mapping[str, Any]:
        """学生的全部参数。"""
        return dict(model.named_parameters())

    def units(self, batch: Batch) -> int:
        """有效 token 数。"""
        return valid_tokens(batch)

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """各有效位置的损失之和；另外报告两项各自的和，与师生最看好同一个 token 的有几处。"""
        x, y = batch
        width = x.shape[0] * x.shape[1]
        where = torch.nonzero(y.reshape(width) != -100).reshape(-1)
        targets = y.reshape(width)[where][None]
        ours = _logits(model, x, where)
        with torch.no_grad():
            theirs = _logits(self.teacher, x, where)
        kl = distillation_loss(ours, theirs, targets, self.temperature, self.reverse)
        nll = -target_logprobs(ours, targets).sum()
        same = (ours.detach().argmax(-1) == theirs.argmax(-1)).to(ours.dtype)
        figures = {"nll": nll.detach(), "kl": kl.detach(), "agreement": same.sum()}
        return (1 - self.alpha) * nll + self.alpha * kl, figures


def _logits(model: Any, x: Tensor, where: Tensor) -> Tensor:
    """要学的各个位置的 logits ``(1, N, V)``。"""
    features = model.hidden(x)
    found: Tensor = model.logits(features.reshape(-1, features.shape[-1])[where][None])
    return found
