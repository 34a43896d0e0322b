"""分类的损失：交叉熵与负对数似然。类别轴是第 1 轴（一维输入时是第 0 轴）。

流入：logits（或对数概率）与类别；流出：损失。最常用的写法走融合算子。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.precision import full_precision
from tinygrad_llm.methods.shaping import shaped
from tinygrad_llm.nn.losses import need_float, reduced
from tinygrad_llm.ops import loss
from tinygrad_llm.ops.bfloat16 import is_low
from tinygrad_llm.ops.op import Array
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
        target: 整数类别，形状为去掉类别轴之后的形状，等于 ``ignore_index`` 的不计；或者与 ``input`` 同形状的概率。
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        label_smoothing: 匀给所有类别的比例。

    Returns:
        标量；``"none"`` 时是去掉类别轴之后的形状。

    Raises:
        ValueError: 未知的 ``reduction``，或批大小不等。
        RuntimeError: 其它的形状或 dtype 不合，或 ``label_smoothing`` 不在 ``[0, 1]``。
        IndexError: 类别号越界。
    """
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
    need_float("cross_entropy", input)
    if input.array.shape == target.array.shape:
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    rows, labels, shape = _by_rows("cross_entropy", input, target, weight, ignore_index, reduction)
    stepwise = is_low(input.array.dtype) and switch.autocast is None  # torch 在 16 位里先舍入 log_softmax
    if weight is None and label_smoothing == 0 and not stepwise:
        attrs = {"ignore_index": ignore_index, "reduction": reduction}
        y: Tensor = apply(loss.cross_entropy, (rows, target.reshape(-1)), attrs)
        return shaped(y, shape) if reduction == "none" else y
    log_p = rows.log_softmax(1)
    hard = _picked(log_p, labels, weight, ignore_index, reduction, shape)
    if label_smoothing == 0:
        return hard
    evened = -(log_p if weight is None else log_p * weight).sum(1).masked_fill(Tensor.wrap(labels == ignore_index), 0.0)
    share = label_smoothing / rows.array.shape[1]
    return (1 - label_smoothing) * hard + settled(evened, labels, weight, ignore_index, reduction, shape) * share  # type: ignore[no-any-return]


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    """目标是各类别的概率。"""
    if target.array.dtype.kind != "f" or ignore_index >= 0:
        raise RuntimeError(
            f"cross_entropy: class probabilities must be floating point, without ignore_index; got {target.dtype}, "
            f"ignore_index={ignore_index}"
        )
    axis = 0 if input.ndim == 1 else 1
    classes = input.array.shape[axis]
    check_weight("cross_entropy", weight, classes, input)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    value = input.log_softmax(axis) * target
    if weight is not None:
        value = value * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    each = -value.sum(axis)
    if reduction == "mean" and classes == 0:
        return each.sum() * float("nan")  # type: ignore[no-any-return]
    return reduced(each, reduction)


@full_precision
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """负对数似然。

    Args:
        input: 对数概率，``(N, C)``、``(C,)`` 或 ``(N, C, d₁, …)``。
        target: 整数类别，形状为去掉类别轴之后的形状；等于 ``ignore_index`` 的不计。
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时与 ``target`` 同形状。

    Raises:
        ValueError: 未知的 ``reduction``，零维，或批大小不等。
        RuntimeError: 其它的形状或 dtype 不合。
        IndexError: 类别号越界。
    """
    need_float("nll_loss", input)
    rows, labels, shape = _by_rows("nll_loss", input, target, weight, ignore_index, reduction)
    return _picked(rows, labels, weight, ignore_index, reduction, shape)


def _by_rows(
    name: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> tuple[Tensor, Array, tuple[int, ...]]:
    """检查，并把类别轴之外的轴并成一根：``(M, C)``、``(M,)`` 与结果的形状。"""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if input.ndim == 0:
        raise ValueError(f"{name}: expected 1 or more dimensions, got a 0-d input")
    axis = 0 if input.ndim == 1 else 1
    classes = input.array.shape[axis]
    expected = tuple(n for i, n in enumerate(input.array.shape) if i != axis)
    if target.array.shape != expected:
        other_batch = input.ndim > 1 and target.ndim > 0 and len(target.array) != len(input.array)
        raise (ValueError if other_batch else RuntimeError)(
            f"{name}: input {input.array.shape} needs target of shape {expected}, got {target.array.shape}"
        )
    check_weight(name, weight, classes, input)
    rows = input.unsqueeze(0) if input.ndim == 1 else input
    if input.ndim > 2:
        rows = input.permute(0, *range(2, input.ndim), 1).reshape(-1, classes)
    return rows, class_rows(name, target, classes, ignore_index), expected


def class_rows(name: str, target: Tensor, classes: int, ignore_index: int) -> Array:
    """检查类别号，摊成一维的 int64。

    Raises:
        RuntimeError: 不是 int64 或 uint8。
        IndexError: 越界。
    """
    if target.array.dtype not in (np.int64, np.uint8):
        raise RuntimeError(f"{name}: target must hold int64 (or uint8) class ids, got {target.dtype}")
    labels: Array = target.array.reshape(-1).astype(np.int64, copy=False)
    bad = labels[(labels != ignore_index) & ((labels < 0) | (labels >= classes))]
    if bad.size:
        raise IndexError(f"Target {int(bad[0])} is out of bounds: there are {classes} classes")
    return labels


def check_weight(name: str, weight: Tensor | None, classes: int, input: Tensor) -> None:
    """各类别的权重须是 ``(C,)``，dtype 与 ``input`` 相同。

    Raises:
        RuntimeError: 不是。
    """
    if weight is not None and weight.array.shape != (classes,):
        raise RuntimeError(
            f"{name}: weight tensor should be defined for all {classes} classes, got {weight.array.shape}"
        )
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(f"{name}: expected {input.dtype} weight, got {weight.dtype}")


def _picked(
    log_p: Tensor, labels: Array, weight: Tensor | None, ignore_index: int, reduction: str, shape: tuple[int, ...]
) -> Tensor:
    """取出各行目标类别的对数概率，取负、加权、归约。"""
    skipped = labels == ignore_index
    safe = np.where(skipped, 0, labels)
    if not log_p.array.shape[1]:  # 一个类别也没有：只可能全被忽略
        each = log_p.sum(1)
    else:
        each = -log_p.gather(1, Tensor.wrap(safe[:, None])).squeeze(1)
    if weight is not None:
        each = each * weight.array[safe]
    return settled(each.masked_fill(Tensor.wrap(skipped), 0.0), labels, weight, ignore_index, reduction, shape)


def settled(
    each: Tensor, labels: Array, weight: Tensor | None, ignore_index: int, reduction: str, shape: tuple[int, ...]
) -> Tensor:
    """归约；均值除以没被忽略的各行的权重之和。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    if reduction != "mean":
        return reduced(shaped(each, shape), reduction)
    counted = labels[labels != ignore_index]
    total: Any = len(counted) if weight is None else weight.array[counted].sum()
    return each.sum() / float(total)  # type: ignore[no-any-return]
