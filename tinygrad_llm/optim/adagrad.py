"""Adagrad：按梯度平方的累计和缩放步长（Duchi 等，2011）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, decayed, require, require_one_kind, require_rate, scalar, scalar_state
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class Adagrad(Optimizer):
    """Adagrad：``s ← s + g²``，``θ ← θ - lr/(1 + (t-1)·d) · g/(√s + ε)``。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        lr_decay: 学习率的衰减 d。
        weight_decay: 衰减系数 λ。
        initial_accumulator_value: 累计和 s 的初值。
        eps: 分母里的小数 ε。
        foreach: 与 torch 同名；这里只有一种实现。
        maximize: 是否求最大。
        differentiable: 与 torch 同名；为真时不能 ``step``。
        fused: 与 torch 同名；这里只有一种实现。

    Raises:
        ValueError: 超参数不合法。
        RuntimeError: 几种执行方式互相矛盾。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        require_rate(lr)
        require(lr_decay >= 0, "lr_decay value", lr_decay)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        start = initial_accumulator_value
        require(start >= 0, "initial_accumulator_value value", start)
        require(eps >= 0, "epsilon value", eps)
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        require_one_kind(fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self._start(p.array, self.state[p])

    def _start(self, theta: Array, state: dict[str, Any]) -> None:
        """状态在构造时就有；后加的组到第一步才有。"""
        if not state:
            total = np.full_like(theta, self.defaults["initial_accumulator_value"])
            state.update(step=scalar_state(0.0), sum=Tensor.wrap(total))

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        self._start(theta, state)
        grad = decayed(theta, grad, group["weight_decay"])
        rate = scalar(group["lr"]) / (1 + (advance(state) - 1) * group["lr_decay"])
        total = state["sum"].array
        total += grad * grad
        theta -= grad / (np.sqrt(total) + group["eps"]) * rate
