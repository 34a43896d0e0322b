"""tinygrad：惰性求值，整步由 TinyJit 记下后重放；CPU 后端要有 clang。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Context, Tensor, TinyJit
from tinygrad.nn.optim import AdamW, OptimizerGroup

from benchmarks.peers import gpt
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.train_config import TrainConfig


def trainer(config: GPTConfig, settings: TrainConfig) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """造好模型；返回的函数用一个批次更新一步，给出损失。"""
    dialect = gpt.Dialect(Tensor.transpose, Tensor.softmax, _layer_norm, Tensor.gelu, _cross_entropy, Tensor)
    arrays = initial_weights(config, settings.seed)
    weights = {name: Tensor(value).realize() for name, value in arrays.items()}
    optimizer = _optimizer(list(weights.values()), settings)

    @TinyJit  # type: ignore[untyped-decorator,unused-ignore]
    def update(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = gpt.loss(dialect, config, weights, x, y).backward()
        norm = sum((w.grad.square().sum() for w in optimizer.params), Tensor(0.0)).sqrt()
        clip = (settings.grad_clip / (norm + 1e-6)).minimum(1.0)
        for w in optimizer.params:
            w.grad = w.grad * clip
        return loss.realize(*optimizer.schedule_step())

    def train(x: NDArray[Any], y: NDArray[Any]) -> float:
        with Context(TRAINING=1):
            return float(update(*(Tensor(ids.astype(np.int32)).realize() for ids in (x, y))).item())

    return train


def _optimizer(parameters: list[Tensor], settings: TrainConfig) -> Any:
    groups = (
        ([w for w in parameters if w.ndim >= 2], settings.weight_decay),
        ([w for w in parameters if w.ndim < 2], 0.0),
    )
    rates = (settings.lr, settings.beta1, settings.beta2, settings.eps)
    return OptimizerGroup(*(AdamW(chosen, *rates, decay) for chosen, decay in groups))


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return x.layernorm(eps=eps) * weight + bias


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.sparse_categorical_crossentropy(targets)
