"""Adafactor：二阶矩只存行与列的平均，内存从 mn 降到 m + n（Shazeer 与 Stern，2018）。

流入：梯度；流出：更新后的参数。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import advance, lerp, require_rate, scalar, scalar_state, zeros_like
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class Adafactor(Optimizer):
    """Adafactor：``v ≈ r·c/mean(r)``，更新量 ``g/√v`` 的均方根不超过 ``d``，步长与参数的均方根成比例。

    Args:
        params: 参数或参数组。
        lr: 学习率的上限；实际步长还不超过 ``1/√t``。
        beta2_decay: 二阶矩的衰减率 ``1 - t^beta2_decay`` 里的幂。
        eps: ``(ε₁, ε₂)``：二阶矩的下限（缺省为 dtype 的机器精度）与参数均方根的下限。
        d: 更新量均方根的上限。
        weight_decay: 衰减系数 λ。
        foreach: 与 torch 同名；这里只有一种实现。
        maximize: 是否求最大。

    Raises:
        ValueError: 超参数不合法。
    """

    takes_complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        require_rate(lr)
        if beta2_decay > 0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if d < 1:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        for name, value in (("epsilon1", eps[0]), ("epsilon2", eps[1]), ("weight_decay", weight_decay)):
            if value is not None and value < 0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        _start(state, grad)
        t, lr, (eps1, eps2) = advance(state), scalar(group["lr"]), group["eps"]
        eps1 = float(np.finfo(theta.dtype).eps) if eps1 is None else eps1
        rate = max(eps2, _rms(theta)) * min(lr, 1 / t**0.5)
        theta *= 1 - lr * group["weight_decay"]
        weight = t ** group["beta2_decay"]
        estimate = _factored(state, grad, weight, eps1) if grad.ndim > 1 else _whole(state, grad, weight)
        step = grad / np.sqrt(np.maximum(estimate, eps1 * eps1))
        theta -= step * (rate / max(1.0, _rms(step) / group["d"]))


def _start(state: dict[str, Any], grad: Array) -> None:
    if state:
        return
    state["step"] = scalar_state(0.0)
    if grad.ndim > 1:
        state["row_var"], state["col_var"] = zeros_like(grad[..., :1]), zeros_like(grad[..., :1, :])
    else:
        state["variance"] = zeros_like(grad)


def _factored(state: dict[str, Any], grad: Array, weight: float, eps: float) -> Array:
    """矩阵的二阶矩：由行平均与列平均拼出来。"""
    rows, columns = state["row_var"].array, state["col_var"].array
    lerp(rows, np.mean(grad * grad, axis=-1, keepdims=True), weight)
    lerp(columns, np.mean(grad * grad, axis=-2, keepdims=True), weight)
    result: Array = rows @ columns / np.maximum(rows.mean(axis=-2, keepdims=True), eps)
    return result


def _whole(state: dict[str, Any], grad: Array, weight: float) -> Array:
    """向量的二阶矩：逐元素。"""
    variance: Array = state["variance"].array
    lerp(variance, grad * grad, weight)
    return variance


def _rms(x: Array) -> float:
    return float(np.sqrt(np.sum(x * x))) / x.size**0.5 if x.size else 0.0
