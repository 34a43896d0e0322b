"""Adadelta：步长由参数自己过去的改变量定标（Zeiler，2012）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, decayed, require, require_rate, scalar, start
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class Adadelta(Optimizer):
    """Adadelta：``Δ = g · √(D + ε)/√(s + ε)``，``s``、``D`` 是 ``g²``、``Δ²`` 的滑动平均，``θ ← θ - lr · Δ``。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        rho: 两个滑动平均的衰减率。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        foreach: 与 torch 同名；这里只有一种实现。
        capturable: 与 torch 同名；为真时不能 ``step``。
        maximize: 是否求最大。
        differentiable: 与 torch 同名；为真时不能 ``step``。

    Raises:
        ValueError: 超参数不合法。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        require_rate(lr)
        require(0 <= rho <= 1, "rho value", rho)
        require(eps >= 0, "epsilon value", eps)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        start(state, theta, "square_avg", "acc_delta")
        advance(state)
        rho, eps = group["rho"], group["eps"]
        grad = decayed(theta, grad, group["weight_decay"])
        squares, deltas = state["square_avg"].array, state["acc_delta"].array
        squares *= rho
        squares += grad * grad * (1 - rho)
        delta = np.sqrt(deltas + eps) / np.sqrt(squares + eps) * grad
        deltas *= rho
        deltas += delta * delta * (1 - rho)
        theta -= delta * scalar(group["lr"])
