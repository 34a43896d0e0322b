"""torch 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``tinygrad_llm/common/loop.py``，
与 NumPy 引擎共用。下一站：``pretrain.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import Arrays, StepResult, step_seed
from tinygrad_llm.common.session import micro_batches
from tinygrad_llm.common.train_config import TrainConfig
from torch_llm.engine import TorchDecoder
from torch_llm.gpt import GPT
from torch_llm.runtime import pick_device


def build_model(config: GPTConfig, weights: Arrays, device: torch.device | str = "cpu") -> GPT:
    """按给定的权重造一个模型；类型取自权重。"""
    model = GPT(config).to(dtype=torch.from_numpy(weights["wte.weight"]).dtype)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model.to(device)


def decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """矩阵衰减，偏置与归一化的缩放不衰减。"""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


class TorchEngine:
    """torch 引擎。

    Args:
        config: 模型配置。
        settings: 训练设置。
        device: 设备；缺省由 ``runtime.pick_device`` 决定。

    Attributes:
        model: 模型。
        optimizer: AdamW。
    """

    name = "torch"

    def __init__(self, config: GPTConfig, settings: TrainConfig, device: torch.device | None = None) -> None:
        self.settings = settings
        self.device = device or pick_device(settings.dtype)
        weights = initial_weights(config, settings.seed, settings.dtype)
        self.model = build_model(config, weights, self.device)
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.model, settings.weight_decay),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            fused=True,
        )

    def train_step(self, step: int, x: NDArray[np.int64], y: NDArray[np.int64], lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的有效 token 数」，所以怎样切微批都一样。"""
        self.model.train()
        torch.manual_seed(step_seed(self.settings.seed, step))  # dropout 的掩码也由步号决定，续训因此逐位相同
        valid = int((y != IGNORE_INDEX).sum())
        self.optimizer.zero_grad()
        total = 0.0
        for xs, ys in micro_batches(self.settings, x, y):
            loss = self.model.loss(self.tensor(xs), self.tensor(ys)) / max(valid, 1)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip).item()
        updated = math.isfinite(total) and math.isfinite(norm)
        if updated:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
        return StepResult(total, norm, updated)

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""
        self.model.eval()
        with torch.no_grad():
            return float(self.model.loss(self.tensor(x), self.tensor(y)).item())

    def decoder(self) -> TorchDecoder:
        """带 KV 缓存的生成器。"""
        return TorchDecoder(self.model)

    def export(self) -> tuple[Arrays, Arrays, int]:
        """参数、AdamW 的两个矩、优化器步数；尚未更新过时矩为 0。"""
        weights, moments, steps = {}, {}, 0
        for name, p in self.model.named_parameters():
            state = self.optimizer.state.get(p)
            weights[name] = p.detach().cpu().numpy()
            for kind in ("exp_avg", "exp_avg_sq"):
                moments[f"{kind}.{name}"] = state[kind].cpu().numpy() if state else np.zeros_like(weights[name])
            steps = int(state["step"].item()) if state else steps
        return weights, moments, steps

    def restore(self, model: Arrays, moments: Arrays, optimizer_step: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in model.items()})
        for name, p in self.model.named_parameters():
            self.optimizer.state[p] = {
                "step": torch.tensor(float(optimizer_step), device=self.device),
                **{
                    kind: torch.tensor(moments[f"{kind}.{name}"], dtype=p.dtype, device=self.device)
                    for kind in ("exp_avg", "exp_avg_sq")
                },
            }

    def tensor(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """数组搬到设备上。"""
        return torch.from_numpy(ids).to(self.device)
