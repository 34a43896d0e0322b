"""被核对的实现：两个引擎用同一套动作，性质只认识这些动作；弄坏的孪生就是改写了其中一个动作的子类。

流入：引擎名、设备与浮点类型；流出：``Implementation``。下一站：``forward.py``。
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import tinygrad_llm
import tinygrad_llm.decoding
import tinygrad_llm.gpt
import tinygrad_llm.train
import torch_llm.engine
import torch_llm.gpt
import torch_llm.loop
from parity_tests.contract.cases import Ids, weights
from parity_tests.contract.gaps import unit_of
from parity_tests.tolerances import as_array
from tinygrad_llm.common.batches import IGNORE_INDEX, Batch, evaluation_batches
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.single import Decoder
from tinygrad_llm.common.engine import Arrays, StepResult
from tinygrad_llm.common.torch_config import Device, TorchConfig
from tinygrad_llm.common.train_config import TrainConfig

ENGINES = ("numpy", "torch")
"""两个引擎的名字。"""

State = tuple[Arrays, Arrays, int]
"""参数、AdamW 的两个矩、优化器步数。"""


class Implementation:
    """一个引擎的全部动作，都是产品自己的代码。

    Args:
        engine: ``"numpy"`` 或 ``"torch"``。
        device: torch 引擎的设备；NumPy 引擎总在 CPU 上。
        dtype: ``"float64"`` 或 ``"float32"``。

    Attributes:
        m: ``tinygrad_llm`` 或 ``torch``。
        gpt: 模型所在的模块。
        functional: 模型用的函数库。
        trainer: 训练引擎所在的模块。
    """

    def __init__(self, engine: str, device: Device = "cpu", dtype: str = "float64") -> None:
        self.engine, self.dtype = engine, dtype
        self.device = device if engine == "torch" else "cpu"
        numpy = engine == "numpy"
        self.m: Any = tinygrad_llm if numpy else torch
        self.gpt: Any = tinygrad_llm.gpt if numpy else torch_llm.gpt
        self.functional: Any = self.gpt.F  # 先记下：孪生会把 ``gpt.F`` 换掉
        self.trainer: Any = tinygrad_llm.train if numpy else torch_llm.loop

    # ---- 模型 ----

    def tensor(self, array: NDArray[Any]) -> Any:
        """数组 → 设备上的张量。"""
        found = self.m.tensor(np.ascontiguousarray(array))
        return found if self.engine == "numpy" else found.to(self.device)

    def leaf(self, array: NDArray[Any]) -> Any:
        """需要梯度的张量。"""
        return self.tensor(array.astype(self.dtype)).requires_grad_()

    def weights(self, config: GPTConfig, *, nudged: bool = False) -> Arrays:
        """权重；``nudged`` 时每个都随机地改动 ``±√u``，用来量舍入被放大多少。"""
        return weights(config, self.dtype, math.sqrt(unit_of(self.dtype)) if nudged else 0.0)

    def model(self, config: GPTConfig, *, nudged: bool = False) -> Any:
        """装着 ``weights`` 的模型。"""
        where = {} if self.engine == "numpy" else {"device": self.device}
        return self.trainer.build_model(config, self.weights(config, nudged=nudged), **where)

    def running(self) -> AbstractContextManager[Any]:
        """模型在其中运行；孪生在这里换掉模型用到的函数。"""
        return nullcontext()

    def logits(self, model: Any, ids: Ids) -> NDArray[Any]:
        """``(B, T) → (B, T, V)``。"""
        with self.running(), self.m.no_grad():
            return np.array(as_array(model(self.tensor(ids))))

    def loss_and_gradients(self, model: Any, ids: Ids, targets: Ids) -> tuple[NDArray[Any], Arrays]:
        """损失之和与全部参数的梯度。"""
        model.zero_grad()
        with self.running():
            loss = model.loss(self.tensor(ids), self.tensor(targets))
            loss.backward()
        return as_array(loss), {name: self.gradient(p) for name, p in model.named_parameters()}

    def gradient(self, leaf: Any) -> NDArray[Any]:
        """一个叶子的梯度；没有用到的为 0。"""
        return np.zeros_like(as_array(leaf)) if leaf.grad is None else np.array(as_array(leaf.grad))

    # ---- 批次 ----

    def pad(self, rows: Sequence[Ids]) -> Batch:
        """把参差的几行右侧补齐：``(B, T)`` 的输入与目标；补上的位置不计损失。"""
        width = max(map(len, rows)) - 1
        x, y = np.zeros((len(rows), width), np.int64), np.full((len(rows), width), IGNORE_INDEX)
        for i, row in enumerate(rows):
            x[i, : len(row) - 1], y[i, : len(row) - 1] = row[:-1], row[1:]
        return x, y

    def windows(self, ids: Ids, context: int, batch: int) -> Iterator[Batch]:
        """产品切评估批次的办法；最后一行的空位不计损失。"""
        return evaluation_batches(ids, context, batch)

    # ---- 训练 ----

    def start(self, config: GPTConfig, settings: TrainConfig, state: State | None = None) -> Any:
        """造一个训练引擎，装上状态；缺省从 ``fresh`` 开始。"""
        if self.engine == "numpy":
            engine = self.trainer.NumpyEngine(config, settings)
        else:
            engine = self.trainer.TorchEngine(config, TorchConfig.of(settings, self.device))
        if state is None:
            state = self.fresh(config)
        self.restore(engine, state)
        return engine

    def fresh(self, config: GPTConfig, *, nudged: bool = False) -> State:
        """还没有训练过的状态。"""
        model = self.weights(config, nudged=nudged)
        moments = {f"{kind}.{n}": np.zeros_like(w) for kind in ("exp_avg", "exp_avg_sq") for n, w in model.items()}
        return model, moments, 0

    def restore(self, engine: Any, state: State) -> None:
        """装回状态。"""
        engine.restore(*state)

    def step(self, engine: Any, step: int, x: Ids, y: Ids, lr: float) -> StepResult:
        """一步训练：产品自己的前向、反传、裁剪、更新。"""
        found: StepResult = engine.train_step(step, (x, y), lr)
        return found

    def state(self, engine: Any) -> State:
        """此刻的状态，另存一份。"""
        model, moments, steps = engine.export()
        return {n: np.array(a) for n, a in model.items()}, {n: np.array(a) for n, a in moments.items()}, steps

    def saved(self, engine: Any, step: int) -> State:
        """存成检查点，再从磁盘读回来。"""
        model, moments, optimizer_step = self.state(engine)
        with tempfile.TemporaryDirectory() as folder:
            state = {"optimizer_step": optimizer_step}
            save_checkpoint(Path(folder), Checkpoint(step, model, moments, state))
            found = load_checkpoint(Path(folder))
        return found.model, found.optim, int(found.state["optimizer_step"])

    # ---- 生成 ----

    def cache(self, model: Any, batch: int) -> Any:
        """空的 KV 缓存。"""
        return self.gpt.KVCache(model, batch, model.config.context)

    def feed(self, model: Any, cache: Any, ids: Ids) -> NDArray[Any]:
        """接在缓存之后喂进 ``(B, n)`` 个 token，返回各位置的 logits。"""
        with self.running(), self.m.no_grad():
            return np.array(as_array(model(self.tensor(ids), cache)))

    def decoder(self, model: Any) -> Decoder:
        """产品的逐个生成。"""
        if self.engine == "numpy":
            return tinygrad_llm.decoding.NumpyDecoder(model)
        return torch_llm.engine.TorchDecoder(model)

    # ---- 零件 ----

    def document_mask(self, lengths: Sequence[int]) -> NDArray[np.bool_]:
        """几篇文档排成一行时的掩码 ``(T, T)``：只看得见同一篇里、不在自己之后的位置。"""
        document = np.repeat(np.arange(len(lengths)), lengths)
        return np.tril(document[:, None] == document[None, :])

    def chunks(self, total: int, size: int) -> list[slice]:
        """把 ``total`` 行切成每块 ``size`` 行，最后一块可以不足。"""
        return [slice(start, min(start + size, total)) for start in range(0, total, size)]

    def chunk_loss(self, hidden: Any, weight: Any, targets: Any) -> Any:
        """一块的交叉熵之和：产品的 ``token_loss``。"""
        return self.gpt.token_loss(hidden, weight, targets)


class Functions:
    """模型用的函数库，其中几个换掉了；孪生用它替下 ``gpt.F``。

    Args:
        real: 原来的函数库。
        **changed: 换上的函数。
    """

    def __init__(self, real: Any, **changed: Any) -> None:
        self._real = real
        self.__dict__.update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
