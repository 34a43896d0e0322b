"""HIPS autograd：在 NumPy 的函数上逐个记图，没有现成的层，公式用它的 NumPy 写出。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad
from autograd.tracer import getval
from numpy.typing import NDArray

from benchmarks.peers import gpt
from benchmarks.peers.adamw import adamw
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.train_config import TrainConfig


def trainer(config: GPTConfig, settings: TrainConfig) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """造好模型；返回的函数用一个批次更新一步，给出损失。"""
    dialect = gpt.Dialect(anp.swapaxes, _softmax, _layer_norm, _gelu, _cross_entropy)
    weights = initial_weights(config, settings.seed)
    update = adamw(weights, settings)
    gradient = value_and_grad(lambda w, x, y: gpt.loss(dialect, config, w, x, y))

    def train(x: NDArray[Any], y: NDArray[Any]) -> float:
        loss, grads = gradient(weights, x, y)
        update(grads)
        return float(loss)

    return train


def _softmax(scores: Any) -> Any:
    powers = anp.exp(scores - getval(scores).max(-1, keepdims=True))  # 减去的数不影响结果，也就不必求导
    return powers / powers.sum(-1, keepdims=True)


def _layer_norm(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / anp.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(eps)) * weight + bias


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + anp.tanh(gpt.GELU * (x + 0.044715 * x * x * x)))


def _cross_entropy(logits: Any, targets: NDArray[Any]) -> Any:
    shifted = logits - getval(logits).max(-1, keepdims=True)
    return (anp.log(anp.exp(shifted).sum(-1)) - shifted[np.arange(len(targets)), targets]).mean()
