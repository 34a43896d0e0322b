"""NumPy 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``common/loop.py``。
下一站：``generate.py``。
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common import loop
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.data import IGNORE_INDEX
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import Arrays, StepResult
from tinygrad_llm.common.profiling import profiled_step
from tinygrad_llm.common.report import training_report
from tinygrad_llm.common.session import micro_batches, prepare
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.cores import claim_workers
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
        parameters: 模型的全部参数。
        optimizer: AdamW。
        workers: 工作线程数：每个微批按数据切给它们，结果对给定的线程数逐位可复现。
    """

    name = "numpy"

    def __init__(self, config: GPTConfig, settings: TrainConfig) -> None:
        self.settings = settings
        self.model = build_model(config, initial_weights(config, settings.seed, settings.dtype))
        self.parameters = list(self.model.parameters())
        self.optimizer = AdamW(
            decay_groups(self.model, settings.weight_decay),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
        )
        # dropout 的掩码要按次序抽，不能由几个线程争着抽
        self.workers = claim_workers(settings.batch_size // settings.accumulate) if config.dropout == 0 else 1
        self.pool = ThreadPoolExecutor(self.workers)

    def train_step(self, step: int, x: NDArray[np.int64], y: NDArray[np.int64], lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的有效 token 数」，所以怎样切微批都一样。"""
        self.model.train()
        tg.manual_seed(loop.step_seed(self.settings.seed, step))  # dropout 的掩码也由步号决定，续训因此逐位相同
        valid = max(int((y != IGNORE_INDEX).sum()), 1)
        self.optimizer.zero_grad()
        total = 0.0
        for micro in micro_batches(self.settings, x, y):
            for loss, grads in self.pool.map(lambda part: self.gradients(part[0], part[1], valid), self.shards(*micro)):
                total += loss
                self.accumulate(grads)
        norm = clip_grad_norm_(self.parameters, self.settings.grad_clip).item()
        updated = math.isfinite(total) and math.isfinite(norm)
        if updated:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
        return StepResult(total, norm, updated)

    def shards(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """把一个微批分给各个工作线程。"""
        return list(zip(np.array_split(x, self.workers), np.array_split(y, self.workers), strict=True))

    def gradients(self, x: NDArray[np.int64], y: NDArray[np.int64], valid: int) -> tuple[float, tuple[Any, ...]]:
        """一份数据的损失与各参数的梯度；在工作线程里执行，不碰 ``.grad``。"""
        with np.errstate(over="ignore", invalid="ignore"):  # 这个开关每个线程各有一份
            loss = self.model.loss(tg.from_numpy(x), tg.from_numpy(y)) / valid
            return loss.item(), tg.autograd.grad(loss, self.parameters, allow_unused=True)

    def accumulate(self, grads: tuple[Any, ...]) -> None:
        """把一份梯度加到 ``.grad``；总按切分的次序相加，所以结果与哪个线程先做完无关。"""
        for p, g in zip(self.parameters, grads, strict=True):
            if p.grad is None:
                p.grad = g
            elif g is not None:
                p.grad.array += g.array

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""
        self.model.eval()
        return float(sum(self.pool.map(lambda part: self.total_loss(part[0], part[1]), self.shards(x, y))))

    def total_loss(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一份数据的损失之和；在工作线程里执行。"""
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
    from tinygrad_llm.profiler.training import measure_step  # 在这里才导入，``--help`` 因此立即可答

    keep_freed_memory()
    session = prepare(config)
    engine = NumpyEngine(session.model, config)
    with profiled_step(session, engine, measure_step):
        loop.train(session, engine)
    print(f"report: {training_report(config.folder)}")
