"""分类的损失：交叉熵与负对数似然。

流入：logits（或对数概率）与类别；流出：损失。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.losses import reduced
from tinygrad_llm.ops import loss
from tinygrad_llm.tensor import Tensor


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """交叉熵。

    Args:
        input: logits，``(N, C)``、``(C,)`` 或 ``(N, C, d₁, …)``。
        target: 整数类别，形状为去掉类别轴之后的形状；等于 ``ignore_index`` 的不计。
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        label_smoothing: 匀给所有类别的比例。

    Returns:
        标量；``"none"`` 时与 ``target`` 同形状。

    Raises:
        ValueError: 未知的 ``reduction``，或批大小不等。
        RuntimeError: 其它的形状不合。
        IndexError: 类别号越界。
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    classes_axis = 0 if input.ndim == 1 else 1
    classes = input.array.shape[classes_axis]
    expected = tuple(n for i, n in enumerate(input.array.shape) if i != classes_axis)
    if target.array.shape != expected:
        other_batch = input.ndim > 1 and target.ndim > 0 and len(target.array) != len(input.array)
        raise (ValueError if other_batch else RuntimeError)(
            f"cross_entropy: input {input.array.shape} needs target of shape {expected}, got {target.array.shape}"
        )
    rows = input.unsqueeze(0) if input.ndim == 1 else input.permute(0, *range(2, input.ndim), 1).reshape(-1, classes)
    labels = target.array.reshape(-1)
    _check_labels(labels, classes, ignore_index)
    if weight is None and label_smoothing == 0:
        attrs = {"ignore_index": ignore_index, "reduction": reduction}
        y: Tensor = apply(loss.cross_entropy, (rows, target.reshape(-1)), attrs)
        return y.reshape(expected) if reduction == "none" else y
    return _weighted_cross_entropy(rows, labels, weight, ignore_index, reduction, label_smoothing, expected)


def _check_labels(labels: Any, classes: int, ignore_index: int) -> None:
    if labels.dtype.kind not in "iu":
        raise RuntimeError(f"cross_entropy: target must hold integer class ids, got {labels.dtype}")
    bad = labels[(labels != ignore_index) & ((labels < 0) | (labels >= classes))]
    if bad.size:
        raise IndexError(f"Target {int(bad[0])} is out of bounds: there are {classes} classes")


def _weighted_cross_entropy(
    rows: Tensor, labels: Any, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float, shape_: Any
) -> Tensor:
    valid = labels != ignore_index
    safe = Tensor.wrap(np.where(valid, labels, 0))
    log_p = rows.log_softmax(1)
    scaled = log_p if weight is None else log_p * weight
    picked = -scaled.gather(1, safe.unsqueeze(1)).squeeze(1)
    share = np.ones(len(labels), rows.array.dtype) if weight is None else weight.array[safe.array]
    total = (1 - smoothing) * picked - (smoothing / rows.array.shape[1]) * scaled.sum(1)
    total = total.masked_fill(Tensor.wrap(~valid), 0.0)
    if reduction == "none":
        return total.reshape(shape_)  # type: ignore[no-any-return]
    summed = total.sum()
    return summed / float(share[valid].sum()) if reduction == "mean" else summed  # type: ignore[no-any-return]


def nll_loss(input: Tensor, target: Tensor, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """负对数似然；输入是对数概率 ``(N, C)``。"""
    labels = target.array
    _check_labels(labels, input.array.shape[1], ignore_index)
    valid = Tensor.wrap(labels != ignore_index)
    picked = -input.gather(1, Tensor.wrap(np.where(valid.array, labels, 0)).unsqueeze(1)).squeeze(1)
    kept = picked.masked_fill(valid.logical_not(), 0.0)
    return kept.sum() / int(valid.array.sum()) if reduction == "mean" else reduced(kept, reduction)
