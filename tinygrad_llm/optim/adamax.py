"""Adamax：二阶矩换成梯度的无穷范数的 Adam（Kingma 与 Ba，2015，第 7 节）。

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


class Adamax(Optimizer):
    """Adamax：``u ← max(β₂ u, |g| + ε)``，``θ ← θ - lr/(1 - β₁ᵗ) · m/u``。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率 ``(β₁, β₂)``。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        foreach: 与 torch 同名；这里只有一种实现。
        maximize: 是否求最大。
        differentiable: 与 torch 同名；为真时不能 ``step``。
        capturable: 与 torch 同名；为真时不能 ``step``。

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
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        require_rate(lr)
        require(eps >= 0, "epsilon value", eps)
        require_betas(betas)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        start(state, theta, "exp_avg", "exp_inf")
        (beta1, beta2), t = group["betas"], advance(state)
        grad = decayed(theta, grad, group["weight_decay"])
        m, u = state["exp_avg"].array, state["exp_inf"].array
        lerp(m, grad, 1 - beta1)
        u *= beta2
        np.maximum(u, np.abs(grad) + group["eps"], out=u)
        theta -= m / u * (scalar(group["lr"]) / (1 - beta1**t))
