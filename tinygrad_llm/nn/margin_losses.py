"""间隔的损失：对的要比错的好出一个间隔，好够了就不再罚。

流入：得分或向量；流出：损失。
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_llm.autograd.precision import full_precision
from tinygrad_llm.joining import where
from tinygrad_llm.nn.activations import logsigmoid
from tinygrad_llm.nn.distances import pairwise_distance
from tinygrad_llm.nn.losses import need_float, reduced
from tinygrad_llm.tensor import Tensor


@full_precision
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """``max(0, -t (x₁ - x₂) + margin)``：``t = 1`` 时 ``x₁`` 应当排在前面。

    Raises:
        RuntimeError: 维数不同。
        ValueError: 未知的 ``reduction``。
    """
    if not input1.ndim == input2.ndim == target.ndim:
        sizes = [tuple(t.array.shape) for t in (input1, input2, target)]
        raise RuntimeError(f"margin_ranking_loss: all tensors should have the same dimension, got {sizes}")
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


@full_precision
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean") -> Tensor:
    """相似的一对（``t = 1``）罚距离本身，不相似的（``t = -1``）罚 ``max(0, margin - x)``。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    apart = where(target != 1, (margin - input).clamp(min=0), 0)
    return reduced(apart + where(target != -1, input, 0), reduction)


@full_precision
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """相似的一对罚 ``1 - cos``，不相似的罚 ``max(0, cos - margin)``。

    Args:
        input1: ``(N, D)`` 或 ``(D,)``。
        input2: 同 ``input1``。
        target: ``(N,)`` 或标量，1 或 -1。
        margin: 不相似的一对，夹角余弦不该超过它。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时与 ``target`` 同形状。

    Raises:
        RuntimeError: 维数不合。
        ValueError: 未知的 ``reduction``。
    """
    axis = target.ndim
    if axis > 1 or input1.ndim != axis + 1 or input2.ndim != axis + 1:
        sizes = [tuple(t.array.shape) for t in (input1, input2, target)]
        raise RuntimeError(f"cosine_embedding_loss: inputs need one dimension more than a 0D or 1D target, got {sizes}")
    tiny = float(np.float32(1e-12))
    square1, square2 = ((x * x).sum(axis) + tiny for x in (input1, input2))
    cos = (input1 * input2).sum(axis) / (square1 * square2).sqrt()
    alike = where(target == 1, 1 - cos, 0.0)
    return reduced(alike + where(target == -1, (cos - margin).clamp(min=0), 0.0), reduction)


@full_precision
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(a, +) - d(a, -) + margin)``，``d`` 是 p-范数距离。

    Raises:
        ValueError: ``margin`` 不是正数，或未知的 ``reduction``。
        RuntimeError: 维数不同。
    """
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """三元组损失，距离自选。

    Args:
        anchor: 锚点，``(N, D)``。
        positive: 与锚点同类。
        negative: 与锚点异类。
        distance_function: 距离；缺省为 ``pairwise_distance``。
        margin: 异类应当比同类远多少。
        swap: 异类的距离取「到锚点」与「到正例」中较小的。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时为 ``(N,)``。

    Raises:
        ValueError: ``margin`` 不是正数，或未知的 ``reduction``。
        RuntimeError: 维数不同。
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        sizes = [tuple(t.array.shape) for t in (anchor, positive, negative)]
        raise RuntimeError(f"triplet loss: anchor, positive and negative need as many dimensions each, got {sizes}")
    distance = distance_function or pairwise_distance
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + distance(anchor, positive) - far).clamp(min=0), reduction)


@full_precision
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """多分类的间隔损失 ``Σⱼ max(0, margin - x[t] + x[j])ᵖ / C``，``j`` 取遍别的类。

    Args:
        input: 得分，``(N, C)`` 或 ``(C,)``。
        target: 类别，``(N,)`` 或标量。
        p: 1 或 2。
        margin: 间隔。
        weight: ``(C,)``，各类别的权重。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时与 ``target`` 同形状。

    Raises:
        ValueError: ``p`` 不是 1 或 2，``weight`` 不是一维，或未知的 ``reduction``。
        RuntimeError: 形状不合，或类别越界。
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: only p == 1 and p == 2 supported, got {p}")
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"multi_margin_loss: weight must be one-dimensional, got shape {weight.array.shape}")
    classes = _classes("multi_margin_loss", input, target)
    labels = target.array.reshape(-1)
    if input.array.size != labels.size * classes or target.ndim > 1:
        raise RuntimeError(f"multi_margin_loss: input {input.array.shape} does not fit target {target.array.shape}")
    if weight is not None and (len(weight.array) != classes or weight.dtype is not input.dtype):
        raise RuntimeError(
            f"multi_margin_loss: {weight.dtype} weight {weight.array.shape} does not fit {classes} classes"
        )
    if ((labels < 0) | (labels >= classes)).any():
        raise RuntimeError(f"multi_margin_loss: target out of range, there are {classes} classes")
    rows = input.reshape(-1, classes)
    picked = Tensor.wrap(labels[:, None])
    short = (margin - rows.gather(1, picked) + rows).relu()
    short = short.masked_fill(Tensor.wrap(labels[:, None] == np.arange(classes)), 0.0)
    value = short if p == 1 else short * short
    if weight is not None:
        value = value * weight[picked]
    return reduced((value.sum(1) / classes).reshape(target.array.shape), reduction)


@full_precision
def multilabel_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """多标签的间隔损失：每个标签都该比每个非标签高出 1。

    Args:
        input: 得分，``(N, C)`` 或 ``(C,)``。
        target: 同形状的类别表，第一个 -1 之后的不看。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时为 ``(N,)``。

    Raises:
        RuntimeError: 形状不同，或类别越界。
        ValueError: 未知的 ``reduction``。
    """
    classes = _classes("multilabel_margin_loss", input, target)
    if target.array.shape != input.array.shape:
        raise RuntimeError(f"multilabel_margin_loss: target {target.array.shape} needs shape {input.array.shape}")
    labels = target.array.reshape(-1, classes)
    if ((labels < -1) | (labels >= classes)).any():
        raise RuntimeError(f"multilabel_margin_loss: target out of range, there are {classes} classes")
    listed = np.logical_and.accumulate(labels >= 0, axis=1)
    safe = np.where(listed, labels, 0)
    is_label = (listed[:, :, None] & (safe[:, :, None] == np.arange(classes))).any(1)
    counted = listed[:, :, None] & ~is_label[:, None, :]  # N × 标签 × 非标签
    rows = input.reshape(-1, classes)
    short = (1 - rows.gather(1, Tensor.wrap(safe)).unsqueeze(2) + rows.unsqueeze(1)).relu()
    value = short.masked_fill(Tensor.wrap(~counted), 0.0).sum((1, 2)) / classes
    return reduced(value.reshape(input.array.shape[:-1]), reduction)


def _classes(name: str, input: Tensor, target: Tensor) -> int:
    need_float(name, input)
    if target.array.dtype != np.int64:
        raise RuntimeError(f"{name}: expected int64 targets, got {target.dtype}")
    if input.ndim > 2 or (input.ndim and not input.array.shape[-1]):
        raise RuntimeError(f"{name}: expected input of shape (N, C) or (C,) with C > 0, got {input.array.shape}")
    return input.array.shape[-1] if input.ndim else 1


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """多标签的二元交叉熵：每一类各判一次，沿类别轴平均。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    value = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        value = value * weight
    return reduced(value.sum(-1) / input.array.shape[-1], reduction)
