"""裁剪与 AdamW，逐个参数就地更新；给没有优化器的引擎用，公式与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.train_config import TrainConfig


def adamw(weights: Mapping[str, NDArray[Any]], settings: TrainConfig) -> Callable[[Mapping[str, NDArray[Any]]], None]:
    """造一个优化器。

    Args:
        weights: 名字到参数；就地更新。
        settings: 学习率、衰减与裁剪的上限。

    Returns:
        收下一份梯度、更新一步的函数。
    """
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    steps = 0

    def update(grads: Mapping[str, NDArray[Any]]) -> None:
        nonlocal steps
        steps += 1
        norm = float(np.sqrt(sum(float(np.vdot(g, g)) for g in grads.values())))
        clip = min(1.0, settings.grad_clip / (norm + 1e-6))
        rate = settings.lr / (1 - settings.beta1**steps)
        correction = float(np.sqrt(1 - settings.beta2**steps))
        for name, w in weights.items():
            g, m, v = grads[name] * np.float32(clip), first[name], second[name]
            m += (1 - settings.beta1) * (g - m)
            v += (1 - settings.beta2) * (g * g - v)
            if w.ndim >= 2:  # 矩阵衰减，偏置与归一化的缩放不衰减
                w *= 1 - settings.lr * settings.weight_decay
            w -= rate * m / (np.sqrt(v) / correction + settings.eps)

    return update
