"""torch 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``tinygrad_llm/common/loop.py``，
与 NumPy 引擎共用。下一站：``pretrain.py``。
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import Arrays, StepResult, step_seed
from tinygrad_llm.common.session import micro_batches
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import STATES, make_optimizers, update_rules
from torch_llm.engine import TorchDecoder
from torch_llm.gpt import GPT
from torch_llm.runtime import pick_device


def build_model(config: GPTConfig, weights: Arrays, device: torch.device | str = "cpu") -> GPT:
    """按给定的权重造一个模型；类型取自权重。"""
    model = GPT(config).to(dtype=torch.from_numpy(weights["wte.weight"]).dtype)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model.to(device)


class TorchEngine:
    """torch 引擎。

    Args:
        config: 模型配置。
        settings: 训练设置。
        device: 设备；缺省由 ``runtime.pick_device`` 决定。

    Attributes:
        model: 模型。
        optimizers: 一个优化器，或 Muon 与 AdamW 两个。
        updates: 更新过几步。
    """

    name = "torch"

    def __init__(self, config: GPTConfig, settings: TrainConfig, device: torch.device | None = None) -> None:
        self.settings = settings
        self.device = device or pick_device(settings.dtype)
        weights = initial_weights(config, settings.seed, settings.dtype)
        self.model = build_model(config, weights, self.device)
        self.optimizers = make_optimizers(torch.optim, self.model.named_parameters(), settings)
        self.updates = 0

    def train_step(self, step: int, x: NDArray[np.int64], y: NDArray[np.int64], lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的有效 token 数」，所以怎样切微批都一样。"""
        self.model.train()
        torch.manual_seed(step_seed(self.settings.seed, step))  # dropout 的掩码也由步号决定，续训因此逐位相同
        valid = int((y != IGNORE_INDEX).sum())
        self.model.zero_grad()
        total = 0.0
        for xs, ys in micro_batches(self.settings, x, y):
            loss = self.model.loss(self.tensor(xs), self.tensor(ys)) / max(valid, 1)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip).item()
        updated = math.isfinite(total) and math.isfinite(norm)
        if updated:
            self.updates += 1
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
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
        """参数、优化器的状态、更新过几步；尚未更新过时状态为 0。"""
        weights, states = {}, {}
        for name, p, optimizer, kinds in self._owned():
            weights[name] = p.detach().cpu().numpy()
            for kind in kinds:
                state = optimizer.state.get(p, {}).get(kind)
                states[f"{kind}.{name}"] = np.zeros_like(weights[name]) if state is None else state.cpu().numpy()
        return weights, states, self.updates

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self.updates = updates
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in model.items()})
        for name, p, optimizer, kinds in self._owned():
            optimizer.state[p] = {
                kind: torch.tensor(states[f"{kind}.{name}"], dtype=p.dtype, device=self.device) for kind in kinds
            }
            if isinstance(optimizer, torch.optim.AdamW):
                optimizer.state[p]["step"] = torch.tensor(float(updates), device=self.device)

    def _owned(self) -> Iterator[tuple[str, torch.nn.Parameter, torch.optim.Optimizer, tuple[str, ...]]]:
        """每个参数的名字、管它的优化器、它留下的状态。"""
        owners = {p: one for one in self.optimizers for group in one.param_groups for p in group["params"]}
        rules = update_rules(parameter_shapes(self.model.config), self.settings.optimizer)
        for name, p in self.model.named_parameters():
            yield name, p, owners[p], STATES[rules[name]]

    def tensor(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """数组搬到设备上。"""
        return torch.from_numpy(ids).to(self.device)
