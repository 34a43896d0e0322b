"""NumPy 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``common/loop.py``。
下一站：``generate.py``。
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common import loop
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import each_initial_weight
from tinygrad_llm.common.loop import Arrays, StepResult
from tinygrad_llm.common.profiling import profiled_step
from tinygrad_llm.common.report import training_report
from tinygrad_llm.common.session import micro_batches, prepare
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.generate import NumpyDecoder
from tinygrad_llm.gpt import GPT
from tinygrad_llm.memory import keep_freed_memory
from tinygrad_llm.ops import cores
from tinygrad_llm.optim import AdamW
from tinygrad_llm.parallel.team import Batch, Team, claim_workers


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
        model: 模型；参数与梯度在几个工作进程共享的内存里（见 ``parallel/flat.py``）。
        optimizer: AdamW；超参数与各个矩在这里，矩也在共享的内存里。一步更新由各进程分段执行，结果与它的 ``step`` 相同。
        threads: 生成样本时 BLAS 用几个线程。
        workers: 工作进程数：每个微批按数据切给它们，结果对给定的进程数逐位可复现。
    """

    name = "numpy"

    def __init__(self, config: GPTConfig, settings: TrainConfig) -> None:
        self.settings = settings
        self.threads = cores.threads()
        self.workers = claim_workers(settings.workers, self._most(config))
        self.team = Team(config, settings.dtype, self.workers)
        self.model, self.state = self.team.local.model, self.team.local.state
        self.optimizer = AdamW(
            decay_groups(self.model, settings.weight_decay),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
        )
        self.state.adopt(self.optimizer, self.model)
        self._load(each_initial_weight(config, settings.seed, settings.dtype))
        keep_freed_memory()  # 造模型时用过的不必留

    def _most(self, config: GPTConfig) -> int:
        """一个微批至多分给几个进程；dropout 的掩码要按次序抽，不能由几个进程各抽各的。"""
        return self.settings.batch_size // self.settings.accumulate if config.dropout == 0 else 1

    def train_step(self, step: int, x: NDArray[np.int64], y: NDArray[np.int64], lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的有效 token 数」，所以怎样切微批都一样。"""
        from tinygrad_llm.profiler.annotations import record_function  # 用到才加载，``--help`` 因此立即可答

        valid = max(int((y != IGNORE_INDEX).sum()), 1)
        seed = loop.step_seed(self.settings.seed, step)  # dropout 的掩码也由步号决定，续训因此逐位相同
        shards = self.shards(micro_batches(self.settings, x, y))
        total = sum(self.team.call("gradients", shards, valid=valid, seed=seed))
        norm = math.sqrt(sum(self.team.call("squares")))
        updated = math.isfinite(total) and math.isfinite(norm)
        if updated:
            groups = self.optimizer.param_groups
            for group in groups:
                group["lr"] = lr
            for state in self.optimizer.state.values():
                state["step"].array += 1
            with record_function("Optimizer.step#AdamW.step"):
                self.team.call(
                    "update",
                    step=self.steps,
                    scale=min(1.0, self.settings.grad_clip / (norm + 1e-6)),
                    lr=lr,
                    weight_decays=[group["weight_decay"] for group in groups],
                    betas=groups[0]["betas"],
                    eps=groups[0]["eps"],
                )
        return StepResult(total, norm, updated)

    @property
    def steps(self) -> int:
        """优化器走过的步数。"""
        return int(next(iter(self.optimizer.state.values()))["step"].item())

    def shards(self, micro: Batch) -> list[Batch]:
        """各进程分到的数据：每个微批都切成 ``workers`` 份。"""
        parts = [zip(np.array_split(x, self.workers), np.array_split(y, self.workers), strict=True) for x, y in micro]
        return [list(one) for one in zip(*parts, strict=True)]

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""
        return float(sum(self.team.call("evaluate", self.shards([(x, y)]))))

    def decoder(self) -> NumpyDecoder:
        """带 KV 缓存的生成器。"""
        return NumpyDecoder(self.model, self.threads)

    def export(self) -> tuple[Arrays, Arrays, int]:
        """参数、AdamW 的两个矩、优化器步数；尚未更新过时矩为 0。"""
        layout = self.state.layout
        moments = {"exp_avg": self.state.exp_avg, "exp_avg_sq": self.state.exp_avg_sq}
        named = {f"{kind}.{name}": view for kind, flat in moments.items() for name, view in layout.views(flat).items()}
        return layout.views(self.state.theta), named, self.steps

    def restore(self, model: Arrays, moments: Arrays, optimizer_step: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self._load(model.items())
        _, views, _ = self.export()
        for name, view in views.items():
            view[...] = moments[name]
        for state in self.optimizer.state.values():
            state["step"].array[...] = optimizer_step

    def _load(self, weights: Iterable[tuple[str, NDArray[Any]]]) -> None:
        views = self.state.layout.views(self.state.theta)
        for name, array in weights:
            views[name][...] = array

    def close(self) -> None:
        """让工作进程退出。"""
        self.team.close()


def main(config: TrainConfig) -> None:
    """``python -m tinygrad_llm train``：在 NumPy 上训练，写出运行文件夹与报告。"""
    from tinygrad_llm.profiler.training import measure_step  # 在这里才导入，``--help`` 因此立即可答

    session = prepare(config)
    with closing(NumpyEngine(session.model, config)) as engine, profiled_step(session, engine, measure_step):
        loop.train(session, engine)
    print(f"report: {training_report(config.folder)}")
