"""softmax 一族：沿一根轴归一化。

流入：logits；流出：概率（或它的对数），同形状。
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_llm.random import default_generator
from tinygrad_llm.tensor import Tensor


def _axis(name: str, dim: int | None, ndim: int) -> int:
    """不写 ``dim`` 是早期的写法：照旧猜一根轴，同时警告。"""
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """沿 ``dim`` 归一化成概率。"""
    return input.softmax(_axis("softmax", dim, input.ndim), dtype)  # type: ignore[no-any-return]


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """``softmax(-x)``：越小概率越大。"""
    return (-input).softmax(_axis("softmin", dim, input.ndim), dtype)  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax 的对数。"""
    return input.log_softmax(_axis("log_softmax", dim, input.ndim), dtype)  # type: ignore[no-any-return]


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, *, dim: int = -1) -> Tensor:
    """从 softmax 的分布里取可求导的样本（Jang 等，2017）。

    Args:
        logits: ``(..., C)``，未归一化的对数概率。
        tau: 温度；越小越接近独热。
        hard: 前向取独热，反向用软样本的梯度。
        dim: 类别轴。

    Returns:
        与 ``logits`` 同形状，沿 ``dim`` 和为 1。

    Raises:
        RuntimeError: 不是浮点。
    """
    if not logits.is_floating_point():
        raise RuntimeError(f"gumbel_softmax: expected floating point logits, got {logits.dtype}")
    race = default_generator.exponential(logits.array.shape).astype(logits.array.dtype)
    with np.errstate(divide="ignore"):
        noise = Tensor.wrap(-np.log(race))
    soft: Tensor = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    winner = np.expand_dims(soft.array.argmax(dim), dim)
    one_hot = np.zeros(soft.array.shape, soft.array.dtype)
    np.put_along_axis(one_hot, winner, 1, dim)
    return Tensor.wrap(one_hot) - soft.detach() + soft  # type: ignore[no-any-return]
