"""按名字造一个会训练的引擎：自己的、torch 的，与装了的别家。

流入：引擎名与模型配置；流出：「用一个批次更新一步」的函数与收尾的函数。在子进程里用，所以各家的库在用到时才导入。
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig

OURS = ("numpy", "torch", "torch-compile")
PEERS = ("jax", "mygrad", "autograd", "tinygrad")
ENGINES = (*OURS, *PEERS)
SLOW = ("mygrad", "autograd", "tinygrad")
"""没有点名时，这几家只量 T，``--quick`` 时不量：别的规模要几十秒一步，内存也要十几 GB。"""

Train = Callable[[NDArray[np.int64], NDArray[np.int64]], float]


def build(name: str, model: GPTConfig, settings: TrainConfig) -> tuple[Train, Callable[[], None]]:
    """造一个引擎。

    Args:
        name: ``ENGINES`` 之一。
        model: 模型配置。
        settings: 批大小与优化器的设置。

    Returns:
        （一步训练：批次到损失，收尾的函数）。

    Raises:
        ModuleNotFoundError: 没有安装。
    """
    if name in PEERS:
        from benchmarks.peers import gpt

        gpt.check(model)
        return importlib.import_module(f"benchmarks.peers.{name}_gpt").trainer(model, settings), _nothing
    engine = _numpy(model, settings) if name == "numpy" else _torch(model, settings, compiled=name == "torch-compile")
    steps = 0

    def train(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        nonlocal steps
        steps += 1
        return float(engine.train_step(steps, (x, y), settings.lr).loss)

    return train, getattr(engine, "close", _nothing)


def _numpy(model: GPTConfig, settings: TrainConfig) -> Any:
    from tinygrad_llm.train import NumpyEngine

    return NumpyEngine(model, settings)


def _torch(model: GPTConfig, settings: TrainConfig, *, compiled: bool) -> Any:
    from torch_llm.loop import TorchEngine

    return TorchEngine(model, replace(TorchConfig.of(settings, "cpu"), compile=compiled))


def _nothing() -> None:
    """没有要收的尾。"""
