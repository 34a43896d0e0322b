"""NumPy 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``common/loop.py``。
下一站：``generate.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common import loop
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.engine import Arrays, Batch, Examined, StepResult, micro_batches, valid_tokens
from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.guard import is_finite
from tinygrad_llm.common.initial import each_initial_weight
from tinygrad_llm.common.midtraining import MidtrainConfig, prepare_midtraining
from tinygrad_llm.common.profiling import profiled_step
from tinygrad_llm.common.report import training_report
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.session import Session, prepare
from tinygrad_llm.common.system import peak_memory_bytes
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.tuning.outcome import outcome
from tinygrad_llm.common.update_rules import make_optimizers
from tinygrad_llm.decoding import NumpyDecoder, NumpySlots
from tinygrad_llm.gpt import GPT
from tinygrad_llm.memory import keep_freed_memory
from tinygrad_llm.ops import cores
from tinygrad_llm.parallel.team import Share, Team, claim_workers

OnStep = Callable[[int, StepResult], None]


def build_model(config: GPTConfig, weights: Arrays, *, adopt: bool = False) -> GPT:
    """按给定的权重造一个模型；类型取自权重。

    Args:
        config: 模型配置。
        weights: 参数名到数组。
        adopt: 数组从此就是模型的参数，不再拷贝一份；生成时内存里于是只有一份权重。
    """
    if adopt:
        with tg.device("meta"):  # 只有形状，不分配，也不抽初值
            model = GPT(config)
        model.load_state_dict({name: tg.from_numpy(array) for name, array in weights.items()}, assign=True)
        return model
    model = GPT(config)
    model.to(tg.from_numpy(weights["wte.weight"]).dtype)
    model.load_state_dict({name: tg.from_numpy(array) for name, array in weights.items()})
    return model


class NumpyEngine:
    """NumPy 引擎。

    Args:
        config: 模型配置。
        settings: 训练设置。

    Attributes:
        model: 模型；参数与梯度在几个工作进程共享的内存里（见 ``parallel/flat.py``）。
        optimizers: 一个优化器，或 Muon 与 AdamW 两个；状态在共享的内存里。一步更新由各进程分段执行，
            结果与它们的 ``step`` 相同。
        updates: 更新过几步。
        accepts: 看过损失与梯度范数之后，答应不答应更新。
        threads: 生成样本时 BLAS 用几个线程。
        workers: 工作进程数：每个微批按数据切给它们，结果对给定的进程数逐位可复现。
    """

    name = "numpy"

    def __init__(self, config: GPTConfig, settings: TrainConfig) -> None:
        self.settings = settings
        self.threads = cores.threads()
        self.workers = claim_workers(settings.workers, self._most(config))
        self.team = Team(config, settings.dtype, settings.optimizer, self.workers)
        self.model, self.state = self.team.local.model, self.team.local.state
        self.optimizers = make_optimizers(tg.optim, self.model.named_parameters(), settings)
        self.state.adopt(self.optimizers, self.model)
        self.updates = 0
        self.loss_scale: dict[str, float] = {}  # float16 才用得着
        self.accepts: Callable[[float, float], bool] = is_finite
        self._load(each_initial_weight(config, settings.seed, settings.dtype))
        keep_freed_memory()  # 造模型时用过的不必留

    def _most(self, config: GPTConfig) -> int:
        """一个微批至多分给几个进程；dropout 的掩码要按次序抽，不能由几个进程各抽各的。"""
        return self.settings.batch_size // self.settings.accumulate if config.dropout == 0 else 1

    def describe(self) -> str:
        """几个工作进程、什么类型。"""
        return f"device cpu, {self.settings.dtype} ({self.workers} worker process{'es' if self.workers > 1 else ''})"

    def train_step(self, step: int, batch: Batch, lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的有效 token 数」，所以怎样切微批都一样。"""
        from tinygrad_llm.profiler.annotations import record_function  # 用到才加载，``--help`` 因此立即可答

        valid = max(valid_tokens(batch), 1)
        seed = loop.step_seed(self.settings.seed, step)  # dropout 的掩码也由步号决定，续训因此逐位相同
        shards = self.shards(micro_batches(batch, self.settings.accumulate))
        total = sum(self.team.call("gradients", shards, valid=valid, seed=seed))
        norm = math.sqrt(sum(self.team.call("squares")))
        updated = self.accepts(total, norm)
        if updated:
            self._count(self.updates + 1)
            with record_function(f"Optimizer.step#{type(self.optimizers[0]).__name__}.step"):
                self.team.call(
                    "update",
                    step=self.updates,
                    scale=min(1.0, self.settings.grad_clip / (norm + 1e-6)),
                    lr=lr,
                    weight_decays=self._decays(),
                    betas=(self.settings.beta1, self.settings.beta2),
                    eps=self.settings.eps,
                    momentum=self.settings.momentum,
                )
        return StepResult(total, norm, updated)

    def _decays(self) -> list[float]:
        """矩阵与向量各自的衰减系数，以优化器的参数组为准。"""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        decays = {group["params"][0].ndim >= 2: group["weight_decay"] for group in groups}
        return [decays.get(is_matrix, 0.0) for is_matrix in (True, False)]

    def _count(self, updates: int) -> None:
        """更新过几步；AdamW 的偏差修正要用。"""
        self.updates = updates
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                if "step" in state:
                    state["step"].array[...] = updates

    def shards(self, micro: Iterable[Batch]) -> list[Share]:
        """各进程分到的数据：每个微批都切成 ``workers`` 份。"""
        parts = [zip(np.array_split(x, self.workers), np.array_split(y, self.workers), strict=True) for x, y in micro]
        return [list(one) for one in zip(*parts, strict=True)]

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""
        return float(sum(self.team.call("evaluate", self.shards([(x, y)]))))

    def examine(self, batch: Batch) -> Examined:
        """语言模型的损失，不求导。"""
        x, y = batch
        return Examined(self.evaluate(x, y), {}, valid_tokens(batch))

    def decoder(self) -> NumpyDecoder:
        """带 KV 缓存的生成器。"""
        return NumpyDecoder(self.model, self.threads)

    def slots(self, count: int, context: int | None = None) -> NumpySlots:
        """同时写几个序列的生成器。"""
        return NumpySlots(self.model, count, context, threads=self.threads)

    def export(self) -> tuple[Arrays, Arrays, int]:
        """参数、优化器的状态、更新过几步；尚未更新过时状态为 0。"""
        return self.state.layout.views(self.state.theta), self.state.state_views(), self.updates

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self._load(model.items())
        for name, view in self.state.state_views().items():
            view[...] = states[name]
        self._count(updates)

    def _load(self, weights: Iterable[tuple[str, NDArray[Any]]]) -> None:
        views = self.state.layout.views(self.state.theta)
        for name, array in weights:
            views[name][...] = array

    def product(self, size: int) -> Callable[[], object]:
        """备好两个 ``size × size`` 的矩阵，返回「用全部的核乘一次」。"""
        a = np.random.default_rng(0).standard_normal((size, size)).astype(self.settings.dtype)
        out = np.empty_like(a)

        def multiply() -> None:
            with cores.blas_threads(self.workers):
                np.dot(a, a, out=out)

        return multiply

    def memory_bytes(self) -> int:
        """本进程的内存峰值；工作进程另有各自的。"""
        return peak_memory_bytes()

    def close(self) -> None:
        """让工作进程退出。"""
        self.team.close()


def main(config: TrainConfig) -> None:
    """``python -m tinygrad_llm train``：在 NumPy 上训练，写出运行文件夹与报告。"""
    run_session(prepare(config), config)
    if not config.dry_run:
        finish(config)


def midtrain(config: MidtrainConfig) -> None:
    """``python -m tinygrad_llm midtrain``：换一种数据接着训练，掺一份旧数据，量忘了多少。"""
    run_session(prepare_midtraining(config), config)
    if not config.dry_run:
        finish(config)


def finish(config: TrainConfig) -> None:
    """写出报告，说明结果如何、它在哪里。"""
    lines = outcome(read_metrics(config.folder), config.folder)
    print(*lines, f"report: {training_report(config.folder)}", sep="\n")


def run_session(session: Session, config: TrainConfig, on_step: OnStep | None = None) -> None:
    """跑完备好的一次训练。"""
    from tinygrad_llm import dry_run
    from tinygrad_llm.profiler.training import measure_step  # 在这里才导入，``--help`` 因此立即可答

    if launched().world > 1:
        raise UserError(
            "the NumPy engine does not train under torchrun",
            where=f"{launched().world} processes",
            fix="start it once, with --workers N, or use python -m torch_llm pretrain",
        )

    print(*config.dials, sep="\n", end="\n" if config.dials else "")
    if config.dry_run:
        dry_run.dry_run(session, config)
        return
    dry_run.check_memory(session, config)
    try:
        with closing(NumpyEngine(session.model, config)) as engine, profiled_step(session, engine, measure_step):
            loop.train(session, engine, on_step)
    except MemoryError as error:
        raise dry_run.out_of_memory(config, error) from error
