"""RMSprop：梯度除以它的均方根（Hinton 的课程讲义，2012）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, decayed, lerp, require, require_rate, scalar, start
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class RMSprop(Optimizer):
    """RMSprop：``s`` 是 ``g²`` 的滑动平均，``θ ← θ - lr · g/(√s + ε)``；可减去均值的平方，可加动量。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        alpha: 滑动平均的衰减率。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        momentum: 动量系数。
        centered: 除以方差的根而不是均方根。
        capturable: 与 torch 同名；为真时不能 ``step``。
        foreach: 与 torch 同名；这里只有一种实现。
        maximize: 是否求最大。
        differentiable: 与 torch 同名；为真时不能 ``step``。

    Raises:
        ValueError: 超参数不合法。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        require_rate(lr)
        require(eps >= 0, "epsilon value", eps)
        require(momentum >= 0, "momentum value", momentum)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        require(alpha >= 0, "alpha value", alpha)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        momentum, centered = group["momentum"], group["centered"]
        extra = ["momentum_buffer"] * (momentum > 0) + ["grad_avg"] * centered
        start(state, theta, "square_avg", *extra)
        advance(state)
        lr, alpha = scalar(group["lr"]), group["alpha"]
        grad = decayed(theta, grad, group["weight_decay"])
        square = state["square_avg"].array
        square *= alpha
        square += grad * grad * (1 - alpha)
        if centered:
            mean = state["grad_avg"].array
            lerp(mean, grad, 1 - alpha)
            square = square - mean * mean
        root = np.sqrt(square) + group["eps"]
        if momentum <= 0:
            theta -= grad / root * lr
            return
        buffer = state["momentum_buffer"].array
        buffer *= momentum
        buffer += grad / root
        theta -= buffer * lr
