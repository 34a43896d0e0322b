"""逐元素的损失：两个同形状的 Tensor，比较、再归约。

流入：预测与目标；流出：损失。
"""

from __future__ import annotations

from tinygrad_llm.tensor import Tensor


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """均方误差。"""
    return reduced((input - target) ** 2, reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """平均绝对误差。"""
    return reduced((input - target).abs(), reduction)


def reduced(value: Tensor, reduction: str) -> Tensor:
    """按 ``reduction`` 归约：均值、总和，或原样。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return value.mean() if reduction == "mean" else value.sum() if reduction == "sum" else value
