"""JAX：整步（前向、反向、裁剪、AdamW）由 XLA 编译成一个函数，参数与矩的内存交还复用。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from benchmarks.peers import gpt
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.train_config import TrainConfig


def trainer(config: GPTConfig, settings: TrainConfig) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """造好模型；返回的函数用一个批次更新一步，给出损失。"""
    dialect = gpt.Dialect(jnp.swapaxes, jax.nn.softmax, _layer_norm, jax.nn.gelu, _cross_entropy)
    update = jax.jit(_update(dialect, config, settings), donate_argnums=0)
    weights = {name: jnp.asarray(value) for name, value in initial_weights(config, settings.seed).items()}
    state = (weights, jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))

    def train(x: NDArray[Any], y: NDArray[Any]) -> float:
        nonlocal state
        state, loss = update(state, x, y)
        jax.block_until_ready(state)
        return float(loss)

    return train


def _update(dialect: gpt.Dialect, config: GPTConfig, settings: TrainConfig) -> Callable[..., Any]:
    def update(state: Any, x: Any, y: Any) -> Any:
        weights, first, second, steps = state
        loss, grads = jax.value_and_grad(lambda w: gpt.loss(dialect, config, w, x, y))(weights)
        steps = steps + 1
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
        clip = jnp.minimum(1.0, settings.grad_clip / (norm + 1e-6))
        grads = {name: g * clip for name, g in grads.items()}
        first = {name: m + (1 - settings.beta1) * (grads[name] - m) for name, m in first.items()}
        second = {name: v + (1 - settings.beta2) * (grads[name] ** 2 - v) for name, v in second.items()}
        rate = settings.lr / (1 - settings.beta1**steps)
        correction = jnp.sqrt(1 - settings.beta2**steps)
        decay = 1 - settings.lr * settings.weight_decay
        weights = {
            name: w * (decay if w.ndim >= 2 else 1.0)
            - rate * first[name] / (jnp.sqrt(second[name]) / correction + settings.eps)
            for name, w in weights.items()
        }
        return (weights, first, second, steps), loss

    return update


def _layer_norm(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps) * weight + bias


def _cross_entropy(logits: Any, targets: Any) -> Any:
    chosen = jnp.take_along_axis(logits, targets[:, None], 1)[:, 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()
