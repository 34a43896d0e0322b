"""交叉熵：softmax 与负对数似然合成一个算子；以及概率上的二元交叉熵。

流入 logits（或概率）与目标，流出损失。算子到此为止；下一站：``tinygrad_llm/autograd/``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.activation import log_softmax
from tinygrad_llm.ops.blocks import for_rows
from tinygrad_llm.ops.elementwise import clamp, log, where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import sum
from tinygrad_llm.ops.shape import gather, reshape


def _reduction_weight(reduction: str, valid: int) -> float:
    return 1.0 / valid if reduction == "mean" and valid else 1.0 if reduction != "mean" else float("nan")


def _cross_entropy_vjp(
    g: Any, logits: Any, target: Any, top: Any, total: Any, ignore_index: int, reduction: str
) -> tuple[Any, None]:
    """``ℓ = ln Σⱼ eˣʲ - x[target]``，故 ``∂ℓ/∂x = softmax(x) - onehot(target)``；忽略的行为 0。"""
    valid = target != ignore_index
    weight = np.where(valid, g * _reduction_weight(reduction, int(valid.sum())), 0).astype(logits.dtype)
    out = np.empty(logits.shape, logits.dtype)
    return logits_gradient(logits, top, total, np.where(valid, target, 0), weight, out), None


def logits_gradient(logits: Array, top: Array, total: Array, target: Array, weight: Array, out: Array) -> Array:
    """``(softmax(x) - onehot(target))`` 各行乘以 ``weight``，写进 ``out``；可以就写在 ``logits`` 上。"""

    def one(rows: slice) -> None:
        part = out[rows]
        np.subtract(logits[rows], top[rows], out=part)
        np.exp(part, out=part)
        part *= weight[rows, None] / total[rows]
        part[np.arange(len(part)), target[rows]] -= weight[rows]

    for_rows(logits.shape, one)
    return out


def row_losses(logits: Array, target: Array) -> tuple[Array, Array, Array]:
    """各行的 ``ln Σⱼ eˣʲ - x[target]``。

    最大值 ``m`` 与 ``Σⱼ exp(xⱼ - m)`` 分开留，不合成一个 log-sum-exp：logits 大时，那样连同 ``m`` 一起舍入，
    float32 要丢一两位有效数字。

    Returns:
        损失 ``(N,)``，各行的 ``m`` 与 ``Σⱼ exp(xⱼ - m)`` ``(N, 1)``。
    """
    top, total = (np.empty((len(logits), 1), logits.dtype) for _ in range(2))

    def one(rows: slice) -> None:
        x = logits[rows]
        top[rows] = np.maximum.reduce(x, axis=1, keepdims=True)
        e = x - top[rows]
        np.exp(e, out=e)
        total[rows] = e @ np.ones((e.shape[1], 1), e.dtype)

    for_rows(logits.shape, one)
    picked = logits[np.arange(len(logits)), target] - top[:, 0]
    return -(picked - np.log(total[:, 0])), top, total  # 取负：概率恰为 1 时损失是 -0，与 torch 相同


def _cross_entropy_composed(logits: Any, target: Any, *, ignore_index: int, reduction: str) -> Any:
    target = getattr(target, "array", target)
    valid = target != ignore_index
    picked = gather(log_softmax(logits, dim=1), np.where(valid, target, 0)[:, None], dim=1)
    loss = where(valid[:, None], -picked, 0.0)
    loss = reshape(loss, shape=target.shape)
    if reduction == "none":
        return loss
    return sum(loss, dim=(0,)) * _reduction_weight(reduction, int(valid.sum()))


@op(
    "ℓ = ln Σⱼ eˣʲ - x[target]",
    keeps="top total",
    joint=_cross_entropy_vjp,
    wrt="logits",
    composed=_cross_entropy_composed,
)
def cross_entropy(logits: Array, target: Array, *, ignore_index: int, reduction: str) -> Any:
    """softmax 与负对数似然合成一个算子，数值稳定且不物化概率。

    Args:
        logits: ``(N, C)``。
        target: ``(N,)`` 整数类别；等于 ``ignore_index`` 的行不计入。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``（除以有效行数）、``"sum"`` 或 ``"none"``。

    Returns:
        损失，以及各行的最大值 ``m`` 与 ``Σⱼ exp(xⱼ - m)`` ``(N, 1)``。
    """
    valid = target != ignore_index
    each, *kept = row_losses(logits, np.where(valid, target, 0))
    loss = np.where(valid, each, 0).astype(logits.dtype)
    if reduction == "none":
        return loss, *kept
    reduced = np.add.reduce(loss, dtype=np.float64) * _reduction_weight(reduction, int(valid.sum()))
    return np.asarray(reduced, dtype=logits.dtype), *kept


_TINY = float(np.float32(1e-12))
"""torch 的这个常数是单精度的，float64 也不例外。"""


@op(
    "ℓ = -(t ln x + (1 - t) ln(1 - x))",
    x=lambda g, x, target: g * (x - target) / clamp((1 - x) * x, min=_TINY),
    target=lambda g, x: g * (log(1 - x) - log(x)),
)
def binary_cross_entropy(x: Array, target: Array) -> Any:
    """概率 ``x`` 与目标的二元交叉熵；对数截断在 -100，``x`` 为 0 或 1 时仍有限。"""
    with np.errstate(divide="ignore"):
        return (target - 1) * np.maximum(np.log1p(-x), -100) - target * np.maximum(np.log(x), -100)
