"""Rprop：只看梯度的符号（Riedmiller 与 Braun，1993）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, require, require_rate, scalar, start
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class Rprop(Optimizer):
    """Rprop：每个元素各有步长；梯度与上一步同号就放大 η⁺ 倍，异号就缩小 η⁻ 倍并停走一步。

    Args:
        params: 参数或参数组。
        lr: 步长的初值。
        etas: ``(η⁻, η⁺)``。
        step_sizes: 步长的下限与上限。
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
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        require_rate(lr)
        require(0 < etas[0] < 1 < etas[1], "eta values", f"{etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        if not state:
            start(state, theta, "prev")
            state["step_size"] = Tensor.wrap(np.full_like(grad, scalar(group["lr"])))
        advance(state)
        down, up = group["etas"]
        previous, size = state["prev"].array, state["step_size"].array
        agreement = grad * previous
        size *= np.where(agreement > 0, up, np.where(agreement < 0, down, 1.0)).astype(size.dtype)
        np.clip(size, *group["step_sizes"], out=size)
        previous[...] = np.where(agreement < 0, 0, grad)
        theta -= np.sign(previous) * size
