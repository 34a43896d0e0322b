"""SGD：带动量、Nesterov 与 L2 衰减。

流入：梯度；流出：更新后的参数。下一站：``lr_scheduler``。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.cores import split
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import blocks, decayed, require, require_one_kind, require_rate, scalar
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


def sgd_update(
    x: Array,
    g: Array,
    b: Array | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None:
    """一段参数的一步更新，就地；一段装得进缓存，只读写一遍内存。

    Args:
        x: 参数 θ。
        g: 梯度。
        b: 动量；没有动量时不用。
        lr: 学习率。
        momentum: 动量系数 μ。
        dampening: 阻尼 τ。
        nesterov: 是否用 Nesterov 动量。
        weight_decay: L2 系数。
        scale: 梯度先乘上它（裁剪）。
    """
    if scale != 1:
        g = g * scale
    g = decayed(x, g, weight_decay)
    if b is not None:
        b *= momentum
        b += g * (1 - dampening) if dampening else g
        g = g + b * momentum if nesterov else b
    x -= g * lr


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
        settings = {name: group[name] for name in ("momentum", "dampening", "nesterov")}
        settings |= {"lr": scalar(group["lr"]), "weight_decay": scalar(group["weight_decay"])}
        if group["momentum"] and "momentum_buffer" not in state:  # 首步 b = g
            state["momentum_buffer"] = Tensor.wrap(np.zeros(theta.shape, theta.dtype))
            settings["dampening"] = 0.0
        flats = [theta.reshape(-1), grad.reshape(-1)]
        if group["momentum"]:
            flats.append(state["momentum_buffer"].array.reshape(-1))

        def part(first: int, last: int) -> None:
            for arrays in blocks(*[flat[first:last] for flat in flats]):
                sgd_update(*arrays, **settings)

        split(part, theta.size, 8 * theta.size)
