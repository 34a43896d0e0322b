"""在一台机器上起几个 gloo 进程，一道做几件事。

流入：几份设置与模块里的一个函数；流出：头一个进程的各个返回值。进程只起一次、接通一次，几件事接连做完：起一个进程要几秒。
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from numpy.typing import NDArray
from torch.multiprocessing.spawn import spawn

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.environment import Launch
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.loop import TorchEngine
from torch_llm.parallel.engine import ParallelEngine
from torch_llm.parallel.layout import choose_layout
from torch_llm.parallel.ranks import TorchRanks, joined

Case = tuple[GPTConfig, TorchConfig]
Job = Callable[[TorchRanks, GPTConfig, TorchConfig], Any]
Path = list[tuple[float, float]]
STEPS = 5
LR = 1e-2

GPT2 = GPTConfig(vocab_size=51, context=10, n_layer=2, n_head=4, n_embd=16)
LLAMA = replace(
    GPT2, n_kv_head=2, norm="rmsnorm", position="rope", mlp="swiglu", bias=False, qk_norm=True, tie_head=False,
    hidden=22, window=4,
)  # fmt: skip
"""两种模型：词表、上下文与中间宽度都有分不匀的。"""
SETTINGS = TorchConfig(batch_size=8, accumulate=2, dtype="float64", device="cpu", grad_clip=0.5)


def together(world: int, cases: Sequence[Case], job: Job) -> list[Any]:
    """``world`` 个进程一道，对每种情形做一遍 ``job``；返回头一个进程的各个结果，有谁出错就在这里抛出。"""
    results: SimpleQueue[Any] = mp.get_context("spawn").SimpleQueue()
    running = spawn(_one, (world, _free_port(), cases, job, results), world, join=False)
    found = []
    while not running.join(0.05):
        if not results.empty():  # 趁它们还在就取：管道装不下时，放的一方要等
            found.append(results.get())
    return [*found, *(results.get() for _ in range(len(cases) - len(found)))]


def _one(rank: int, world: int, port: int, cases: Sequence[Case], job: Job, results: SimpleQueue[Any]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    launch = Launch(rank, world, rank, world)
    with joined(choose_layout(cases[0][1], launch)):
        for config, settings in cases:
            result = job(TorchRanks(choose_layout(settings, launch)), config, settings)
            if rank == 0:
                results.put(result)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def batch(config: GPTConfig, settings: TorchConfig, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """第 ``step`` 步的全局批次；约三分之一的目标不计，第一行整行不计：各份的有效 token 数不同。"""
    rng = np.random.default_rng(step)
    x, y = rng.integers(0, config.vocab_size, (2, settings.batch_size, config.context))
    y[rng.random(y.shape) < 0.3] = -100
    y[0] = -100
    return x, y


def walk(engine: TorchEngine, steps: range, part: int = 0, parts: int = 1) -> Path:
    """走这几步；返回各步的损失与裁剪前的范数。"""
    rows = engine.settings.batch_size // parts
    mine = slice(part * rows, (part + 1) * rows)
    path = []
    for step in steps:
        x, y = batch(engine.config, engine.settings, step)
        result = engine.train_step(step, (x[mine], y[mine]), LR / (step + 1))
        path.append((result.loss, result.grad_norm))
    return path


def alone(config: GPTConfig, settings: TorchConfig) -> TorchEngine:
    """一个进程的引擎。"""
    return TorchEngine(config, replace(settings, parallel="auto", tp=None))


def walked(ranks: TorchRanks, config: GPTConfig, settings: TorchConfig) -> Any:
    """走几步：损失与范数、评估一个批次的损失、拼起来的参数与状态。"""
    engine = ParallelEngine(config, settings, ranks)
    path = walk(engine, range(STEPS), ranks.part, ranks.parts)
    return path, engine.evaluate(*batch(config, settings, STEPS)), engine.export()
