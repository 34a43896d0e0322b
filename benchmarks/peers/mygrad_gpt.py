"""MyGrad：NumPy 上的动态图，用它自带的 softmax 与交叉熵；按它的文档，测速时关掉写保护。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
from mygrad.nnet.activations import softmax
from mygrad.nnet.losses import softmax_crossentropy
from numpy.typing import NDArray

from benchmarks.peers import gpt
from benchmarks.peers.adamw import adamw
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.train_config import TrainConfig


def trainer(config: GPTConfig, settings: TrainConfig) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """造好模型；返回的函数用一个批次更新一步，给出损失。"""
    mg.turn_memory_guarding_off()
    dialect = gpt.Dialect(mg.swapaxes, softmax, _layer_norm, _gelu, softmax_crossentropy)
    arrays = initial_weights(config, settings.seed)
    weights = {name: mg.tensor(value, copy=False) for name, value in arrays.items()}
    update = adamw(arrays, settings)

    def train(x: NDArray[Any], y: NDArray[Any]) -> float:
        loss = gpt.loss(dialect, config, weights, x, y)
        loss.backward()
        update({name: w.grad for name, w in weights.items()})
        return float(loss)

    return train


def _layer_norm(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / mg.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * weight + bias


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + mg.tanh(gpt.GELU * (x + 0.044715 * x * x * x)))
