"""NumPy 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``common/loop.py``。
下一站：``generate.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common import loop
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.data import IGNORE_INDEX
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import Arrays, StepResult
from tinygrad_llm.common.report import training_report
from tinygrad_llm.common.session import micro_batches, prepare
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.generate import NumpyDecoder
from tinygrad_llm.gpt import GPT
from tinygrad_llm.memory import keep_freed_memory
from tinygrad_llm.nn.utils import clip_grad_norm_
from tinygrad_llm.optim import AdamW


def build_model(config: GPTConfig, weights: Arrays) -> GPT:
    """按给定的权重造一个模型；类型取自权重。"""
    model = GPT(config)
    model.to(tg.from_numpy(weights["wte.weight"]).dtype)
    model.load_state_dict({name: tg.from_numpy(array) for name, array in weights.items()})
    return model


def decay_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """矩阵衰减，偏置与归一化的缩放不衰减：把它们往 0 拉没有正则作用，只会妨碍训练。"""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


class NumpyEngine:
    """NumPy 引擎。

    Args:
        config: 模型配置。
        settings: 训练设置。

    Attributes:
        model: 模型。
        optimizer: AdamW。
    """

    name = "numpy"

    def __init__(self, config: GPTConfig, settings: TrainConfig) -> None:
        self.settings = settings
        self.model = build_model(config, initial_weights(config, settings.seed, settings.dtype))
        self.optimizer = AdamW(
            decay_groups(self.model, settings.weight_decay),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
        )

    def train_step(self, step: int, x: NDArray[np.int64], y: NDArray[np.int64], lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的有效 token 数」，所以怎样切微批都一样。"""
        self.model.train()
        tg.manual_seed(loop.step_seed(self.settings.seed, step))  # dropout 的掩码也由步号决定，续训因此逐位相同
        valid = int((y != IGNORE_INDEX).sum())
        self.optimizer.zero_grad()
        total = 0.0
        for xs, ys in micro_batches(self.settings, x, y):
            loss = self.model.loss(tg.from_numpy(xs), tg.from_numpy(ys)) / max(valid, 1)
            loss.backward()
            total += loss.item()
        norm = clip_grad_norm_(self.model.parameters(), self.settings.grad_clip).item()
        updated = math.isfinite(total) and math.isfinite(norm)
        if updated:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
        return StepResult(total, norm, updated)

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""
        self.model.eval()
        with tg.no_grad():
            return float(self.model.loss(tg.from_numpy(x), tg.from_numpy(y)).item())

    def decoder(self) -> NumpyDecoder:
        """带 KV 缓存的生成器。"""
        return NumpyDecoder(self.model)

    def export(self) -> tuple[Arrays, Arrays, int]:
        """参数、AdamW 的两个矩、优化器步数；尚未更新过时矩为 0。"""
        weights, moments, steps = {}, {}, 0
        for name, p in self.model.named_parameters():
            state = self.optimizer.state.get(p)
            weights[name] = p.array
            for kind in ("exp_avg", "exp_avg_sq"):
                moments[f"{kind}.{name}"] = state[kind].array if state else np.zeros_like(p.array)
            steps = int(state["step"].item()) if state else steps
        return weights, moments, steps

    def restore(self, model: Arrays, moments: Arrays, optimizer_step: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self.model.load_state_dict({name: tg.from_numpy(array) for name, array in model.items()})
        for name, p in self.model.named_parameters():
            self.optimizer.state[p] = {
                "step": tg.tensor(float(optimizer_step)),
                **{kind: tg.tensor(moments[f"{kind}.{name}"], dtype=p.dtype) for kind in ("exp_avg", "exp_avg_sq")},
            }


def main(config: TrainConfig) -> None:
    """``python -m tinygrad_llm train``：在 NumPy 上训练，写出运行文件夹与报告。"""
    keep_freed_memory()
    session = prepare(config)
    loop.train(session, NumpyEngine(session.model, config))
    print(f"report: {training_report(config.folder)}")
