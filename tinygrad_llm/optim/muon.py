"""Muon：把矩阵的动量正交化之后再走一步（Jordan 等，2024）。

流入：二维参数的梯度；流出：更新后的参数。正交化在 bfloat16 里做，与 torch 相同：每步结果舍入到 8 位有效数字。
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import rounded, widened
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import lerp, require_rate, scalar, zeros_like
from tinygrad_llm.optim.optimizer import Optimizer

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_ADJUSTMENTS = (None, "original", "match_rms_adamw")


class Muon(Optimizer):
    """Muon：``θ ← (1 - lr·λ) θ - lr·s · 正交化(动量)``，``s`` 由形状而定。

    Args:
        params: 二维的参数或参数组。
        lr: 学习率。
        weight_decay: 衰减系数 λ。
        momentum: 动量系数。
        nesterov: 是否用 Nesterov 动量。
        ns_coefficients: 牛顿–舒尔茨迭代的三个系数。
        eps: 范数的下限。
        ns_steps: 迭代几步。
        adjust_lr_fn: ``"original"`` 按 ``√max(1, 行/列)``、``"match_rms_adamw"`` 按 ``0.2·√max(行, 列)`` 放大步长。

    Raises:
        ValueError: 超参数不合法，或参数不是二维。
    """

    takes_complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = _COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        require_rate(lr)
        for name, value in (("momentum", momentum), ("weight decay", weight_decay)):
            if value < 0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        for p in self._all():
            if p.ndim != 2:
                raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        buffer = state.setdefault("momentum_buffer", zeros_like(theta)).array
        settings = {name: value for name, value in group.items() if name != "params"}
        muon_update(theta, grad, buffer, **{**settings, "lr": scalar(group["lr"])})


def muon_update(
    theta: Array,
    grad: Array,
    buffer: Array,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = _COEFFICIENTS,
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    scale: float = 1.0,
) -> None:
    """一个矩阵的一步更新，就地；参数的含义见 ``Muon``。

    Args:
        theta: 参数 ``(m, n)``。
        grad: 梯度 ``(m, n)``。
        buffer: 动量 ``(m, n)``。
        lr: 学习率。
        weight_decay: 衰减系数 λ。
        momentum: 动量系数。
        nesterov: 是否用 Nesterov 动量。
        ns_coefficients: 牛顿–舒尔茨迭代的三个系数。
        eps: 范数的下限。
        ns_steps: 迭代几步。
        adjust_lr_fn: 步长按形状放大的办法。
        scale: 梯度先乘上它（裁剪）。
    """
    if scale != 1:
        grad = grad * scale
    lerp(buffer, grad, 1 - momentum)
    direction = np.array(grad) if nesterov else buffer
    if nesterov:
        lerp(direction, buffer, momentum)
    step = orthogonalized(direction, ns_coefficients, ns_steps, eps)
    theta *= 1 - lr * weight_decay
    theta -= step.astype(theta.dtype) * (lr * _ratio(adjust_lr_fn, *theta.shape))


def _ratio(adjustment: str | None, rows: int, columns: int) -> float:
    if adjustment == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def orthogonalized(matrix: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """牛顿–舒尔茨迭代：奇异值都推向 1 附近，奇异向量不变。

    Args:
        matrix: ``(m, n)``。
        coefficients: 五次多项式 ``a·x + b·x³ + c·x⁵`` 的系数。
        steps: 迭代几步。
        eps: 范数的下限。

    Returns:
        ``(m, n)`` 的 float32 数组。

    Raises:
        ValueError: 步数不小于 100，或系数不是三个。
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = _bfloat16(matrix.T if tall else matrix)
    norm = _bfloat16(np.sqrt(np.sum(x * x)))
    x = _bfloat16(x / np.maximum(norm, _bfloat16(np.asarray(eps))))
    for _ in range(steps):
        gram = _bfloat16(x @ x.T)
        x = _bfloat16(a * x + _bfloat16(b * gram + c * (gram @ gram)) @ x)
    return x.T if tall else x


def _bfloat16(x: Array) -> Array:
    """舍入到 bfloat16，仍以 float32 计算。"""
    result: Array = widened(rounded(np.asarray(x)))
    return result
