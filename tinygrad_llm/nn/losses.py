"""回归的损失：两个同形状的 Tensor，逐元素比较，再归约。

流入：预测与目标；流出：损失。``matched`` 与 ``reduced`` 也供别的损失使用。
"""

from __future__ import annotations

import warnings

from tinygrad_llm.autograd.precision import full_precision
from tinygrad_llm.joining import where
from tinygrad_llm.tensor import Tensor


def reduced(value: Tensor, reduction: str) -> Tensor:
    """按 ``reduction`` 归约：均值、总和，或原样。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return value.mean() if reduction == "mean" else value.sum() if reduction == "sum" else value


def matched(name: str, input: Tensor, target: Tensor) -> Tensor:
    """``input - target``；形状不同时照样广播，但像 torch 那样警告：多半是写错了。"""
    if target.array.shape != input.array.shape:
        warnings.warn(
            f"{name}: using a target size ({target.array.shape}) that is different to the input size "
            f"({input.array.shape}). This will likely lead to incorrect results due to broadcasting.",
            stacklevel=3,
        )
    return input - target  # type: ignore[no-any-return]


def need_float(name: str, *given: Tensor) -> None:
    """至少有一个是浮点。

    Raises:
        RuntimeError: 都不是。
    """
    if all(t.array.dtype.kind != "f" for t in given):
        raise RuntimeError(f"{name}: expected a floating point tensor, got {[t.dtype for t in given]}")


def _weighted(value: Tensor, weight: Tensor | None, reduction: str, input: Tensor) -> Tensor:
    """乘上逐元素的权重再归约；均值除以权重的总和。"""
    if weight is None:
        return reduced(value, reduction)
    if weight.array.shape != input.array.shape:
        raise ValueError(f"weights {weight.array.shape} and input {input.array.shape} must have the same size")
    total = value * weight
    return total.sum() / weight.sum() if reduction == "mean" else reduced(total, reduction)


@full_precision
def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """均方误差。

    Raises:
        RuntimeError: 都不是浮点。
        ValueError: 未知的 ``reduction``，或 ``weight`` 的形状不同。
    """
    need_float("mse_loss", input, target)
    return _weighted(matched("mse_loss", input, target) ** 2, weight, reduction, input)


@full_precision
def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """平均绝对误差。

    Raises:
        ValueError: 未知的 ``reduction``，或 ``weight`` 的形状不同。
    """
    return _weighted(matched("l1_loss", input, target).abs(), weight, reduction, input)


@full_precision
def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """``|d| < β`` 时为 ``d²/2β``，否则为 ``|d| - β/2``。

    Raises:
        RuntimeError: ``beta`` 为负，或都不是浮点。
        ValueError: 未知的 ``reduction``。
    """
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    need_float("smooth_l1_loss", input, target)
    apart = matched("smooth_l1_loss", input, target)
    gap = apart.abs()
    if beta == 0:
        return reduced(gap, reduction)
    near = apart.clamp(-beta, beta)  # 带符号，0 处的二阶导才对；没被选中的一支不出 inf，否则 0 · inf 会把梯度变成 NaN
    return reduced(where(gap < beta, 0.5 * near * near / beta, gap - 0.5 * beta), reduction)


@full_precision
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """``|d| ≤ δ`` 时为 ``d²/2``，否则为 ``δ(|d| - δ/2)``。

    Raises:
        RuntimeError: ``delta`` 不是正数，或都不是浮点。
        ValueError: 未知的 ``reduction``，或 ``weight`` 的形状不同。
    """
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    need_float("huber_loss", input, target)
    apart = matched("huber_loss", input, target)
    gap, near = apart.abs(), apart.clamp(-delta, delta)  # 同 smooth_l1_loss
    value = where(gap < delta, 0.5 * near * near, delta * (gap - 0.5 * delta)).to(input.dtype)
    if weight is None:
        return reduced(value, reduction)
    if weight.array.shape != input.array.shape:
        raise ValueError(f"weights {weight.array.shape} and input {input.array.shape} must have the same size")
    return reduced(value * weight, reduction)
