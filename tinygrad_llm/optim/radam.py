"""RAdam：方差还估不准时退回动量法的 Adam（Liu 等，2020）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, decayed, lerp, require, require_betas, require_rate, scalar, start
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class RAdam(Optimizer):
    """RAdam：ρ 是二阶矩相当于多少个样本的平均，超过 5 才用它作分母，并乘上方差的修正 r。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率 ``(β₁, β₂)``。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        decoupled_weight_decay: 权重衰减不经过矩估计。
        foreach: 与 torch 同名；这里只有一种实现。
        maximize: 是否求最大。
        capturable: 与 torch 同名；为真时不能 ``step``。
        differentiable: 与 torch 同名；为真时不能 ``step``。

    Raises:
        ValueError: 超参数不合法。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        require_rate(lr)
        require(eps >= 0, "epsilon value", eps)
        require_betas(betas)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        start(state, theta, "exp_avg", "exp_avg_sq")
        lr, decay = scalar(group["lr"]), group["weight_decay"]
        (beta1, beta2), t = group["betas"], advance(state)
        if decay and group["decoupled_weight_decay"]:
            theta *= 1 - lr * decay
        else:
            grad = decayed(theta, grad, decay)
        m, v = state["exp_avg"].array, state["exp_avg_sq"].array
        lerp(m, grad, 1 - beta1)
        v *= beta2
        v += grad * grad * (1 - beta2)
        unbiased = m / (1 - beta1**t)
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho <= 5:
            theta -= unbiased * lr
            return
        r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
        theta -= unbiased * lr * ((1 - beta2**t) ** 0.5 / (np.sqrt(v) + group["eps"])) * r
