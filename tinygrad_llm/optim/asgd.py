"""ASGD：参数的滑动平均收敛得更快（Polyak 与 Juditsky，1992）。

流入：梯度；流出：更新后的参数与它的平均 ``ax``。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, decayed, require, require_rate, scalar, scalar_state, zeros_like
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class ASGD(Optimizer):
    """ASGD：``θ ← (1 - λη) θ - η g``，``η = lr/(1 + λ·lr·t)^α``；``t > t₀`` 之后累计平均。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        lambd: 衰减 λ。
        alpha: 步长的幂 α。
        t0: 从哪一步起累计平均。
        weight_decay: L2 系数，加在梯度上。
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
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        require_rate(lr)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        lr, lambd = scalar(group["lr"]), group["lambd"]
        if not state:
            state.update(step=scalar_state(0.0), eta=scalar_state(lr), mu=scalar_state(1.0), ax=zeros_like(theta))
        t, eta, mu = advance(state), float(state["eta"].array), float(state["mu"].array)
        grad = decayed(theta, grad, group["weight_decay"])
        theta *= 1 - lambd * eta
        theta -= grad * eta
        average = state["ax"].array
        average[...] = theta if mu == 1 else average + (theta - average) * mu
        state["eta"].array[...] = lr / (1 + lambd * lr * t) ** group["alpha"]
        state["mu"].array[...] = 1 / max(1, t - group["t0"])
