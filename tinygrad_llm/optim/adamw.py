"""AdamW 与 Adam：从公式写起。

流入：梯度；流出：更新后的参数。下一站：``sgd.py``。

Loshchilov 与 Hutter（2019）算法 2，第 t 步：

    θ ← θ - lr·λ·θ                       解耦的权重衰减：不经过矩估计
    m ← β₁ m + (1 - β₁) g                 一阶矩：梯度的滑动平均
    v ← β₂ v + (1 - β₂) g²                二阶矩：梯度平方的滑动平均
    m̂ = m/(1 - β₁ᵗ)，v̂ = v/(1 - β₂ᵗ)       矩从 0 起步，开头偏小，除以累计权重纠偏
    θ ← θ - lr · m̂/(√v̂ + ε)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.optimizer import Optimizer, blocks, require, zeros_like
from tinygrad_llm.tensor import Tensor


class AdamW(Optimizer):
    """AdamW。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率 ``(β₁, β₂)``。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        maximize: 是否求最大。
        foreach: 与 torch 同名；这里只有一种实现。
        fused: 与 torch 同名；这里总是分块融合的。

    Raises:
        ValueError: 超参数不合法。
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        require(lr >= 0, "learning rate", lr)
        require(eps >= 0, "epsilon value", eps)
        require(0 <= betas[0] < 1, "beta parameter at index 0", betas[0])
        require(0 <= betas[1] < 1, "beta parameter at index 1", betas[1])
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        if not state:
            state.update(
                step=Tensor.wrap(np.zeros((), np.float32)), exp_avg=zeros_like(theta), exp_avg_sq=zeros_like(theta)
            )
        state["step"].array += 1
        t, lr, decay, eps = int(state["step"].array), float(group["lr"]), group["weight_decay"], group["eps"]
        beta1, beta2 = group["betas"]
        step_size, root = lr / (1 - beta1**t), math.sqrt(1 - beta2**t)
        sign = -1.0 if group["maximize"] else 1.0
        for x, g, m, v in blocks(theta, grad, state["exp_avg"].array, state["exp_avg_sq"].array):
            g = g * sign if sign < 0 else g
            if decay and self.decoupled:
                x *= 1 - lr * decay
            elif decay:
                g = g + x * decay
            work = g - m
            work *= 1 - beta1
            m += work
            np.multiply(g, g, out=work)
            work *= 1 - beta2
            v *= beta2
            v += work
            np.sqrt(v, out=work)
            work /= root
            work += eps
            np.divide(m, work, out=work)
            work *= step_size
            x -= work


class Adam(AdamW):
    """Adam：权重衰减加在梯度上（L2 正则），缺省不衰减。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率。
        eps: 分母里的小数。
        weight_decay: L2 系数。
        maximize: 是否求最大。
        foreach: 与 torch 同名；这里只有一种实现。
        fused: 与 torch 同名；这里总是分块融合的。
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize, foreach=foreach, fused=fused)
