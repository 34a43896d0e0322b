"""SGD：带动量、Nesterov 与 L2 衰减。

流入：梯度；流出：更新后的参数。下一站：``lr_scheduler``。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import decayed, require, require_one_kind, require_rate, scalar
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class SGD(Optimizer):
    """随机梯度下降。

    动量为 μ 时 ``b ← μ b + (1 - τ) g``，``θ ← θ - lr · b``；首步 ``b = g``。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        momentum: 动量 μ。
        dampening: 阻尼 τ。
        weight_decay: L2 系数，加在梯度上。
        nesterov: 是否用 Nesterov 动量。
        maximize: 是否求最大。
        foreach: 与 torch 同名；这里只有一种实现。
        differentiable: 与 torch 同名；为真时不能 ``step``。
        fused: 与 torch 同名；这里只有一种实现。

    Raises:
        ValueError: 超参数不合法。
        RuntimeError: 几种执行方式互相矛盾。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        require_rate(lr)
        require(momentum >= 0, "momentum value", momentum)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
            "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        require_one_kind(fused, foreach, differentiable)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        momentum = group["momentum"]
        g = decayed(theta, grad, scalar(group["weight_decay"]))
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = Tensor.wrap(np.array(g))
            else:
                buffer.array *= momentum
                buffer.array += g * (1 - group["dampening"])
            g = g + buffer.array * momentum if group["nesterov"] else buffer.array
        theta -= g * scalar(group["lr"])
