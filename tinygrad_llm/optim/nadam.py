"""NAdam：带 Nesterov 动量的 Adam（Dozat，2016）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import (
    advance,
    decayed,
    lerp,
    require,
    require_betas,
    require_rate,
    scalar,
    scalar_state,
    zeros_like,
)
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class NAdam(Optimizer):
    """NAdam：一阶矩里先用上这一步的梯度，动量系数 μ 逐步增大。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率 ``(β₁, β₂)``。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        momentum_decay: μ 增大的快慢。
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
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        require(momentum_decay >= 0, "momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        if not state:
            state.update(step=scalar_state(0.0), mu_product=scalar_state(1.0))
            state.update(exp_avg=zeros_like(theta), exp_avg_sq=zeros_like(theta))
        lr, eps, decay = scalar(group["lr"]), group["eps"], group["weight_decay"]
        (beta1, beta2), t = group["betas"], advance(state)
        if decay and group["decoupled_weight_decay"]:
            theta *= 1 - lr * decay
        else:
            grad = decayed(theta, grad, decay)
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (t, t + 1))
        state["mu_product"].array *= mu
        product = float(state["mu_product"].array)
        m, v = state["exp_avg"].array, state["exp_avg_sq"].array
        lerp(m, grad, 1 - beta1)
        v *= beta2
        v += grad * grad * (1 - beta2)
        root = np.sqrt(v / (1 - beta2**t)) + eps
        theta -= grad / root * (lr * (1 - mu) / (1 - product))
        theta -= m / root * (lr * mu_next / (1 - product * mu_next))
