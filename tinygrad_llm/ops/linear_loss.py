"""全连接接交叉熵：词表很大时 ``(N, C)`` 的 logits 是整个模型里最大的数组，这里不让它占两份内存。

流入 ``(N, D)`` 的特征与 ``(C, D)`` 的权重，流出损失。``linear_cross_entropy`` 分块计算，从不物化整张 logits，
代价是反向重算一遍；``token_loss`` 只算一遍，梯度就写在 logits 上：它只活在算子里，没有别人看得见。
下一站：``tinygrad_llm/autograd/``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.activation import log_softmax
from tinygrad_llm.ops.linear import linear, linear_vjp
from tinygrad_llm.ops.loss import cross_entropy, logits_gradient, row_losses
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import gather, permute, reshape


def _logits(x: Array, weight: Array, bias: Array | None) -> Any:
    z = x @ weight.T
    return z if bias is None else z + bias


def _linear_cross_entropy_vjp(
    g: Any,
    x: Any,
    weight: Any,
    bias: Any,
    target: Any,
    share: Any,
    top: Any,
    total: Any,
    chunk: int,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:
    """逐块重算 logits：``∂ℓ/∂z = softmax(z) - onehot(target)``，再乘 ``x`` 与 ``W`` 得出三个梯度。"""
    dx = np.zeros_like(x) if needs[0] else None
    dw = np.zeros_like(weight) if needs[1] else None
    db = np.zeros_like(bias) if needs[2] else None
    scale = (g * share).astype(x.dtype)
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        z = _logits(x[rows], weight, bias)
        logits_gradient(z, top[rows], total[rows], target[rows], scale[rows], z)
        if dx is not None:
            dx[rows] = z @ weight
        if dw is not None:
            dw += z.T @ x[rows]
        if db is not None:
            db += z.sum(0)
    return dx, dw, db, None, None


def _linear_cross_entropy_composed(x: Any, weight: Any, bias: Any, target: Any, share: Any, *, chunk: int) -> Any:
    target, share = (getattr(a, "array", a) for a in (target, share))
    z = x @ permute(weight, dims=(1, 0))
    z = z if bias is None else z + bias
    loss = -gather(log_softmax(z, dim=1), target[:, None], dim=1)
    return reshape(loss, shape=target.shape) * share


@op(
    "ℓ = s · (ln Σⱼ e^{zⱼ} - z[target])，z = W x + b",
    keeps="top total",
    joint=_linear_cross_entropy_vjp,
    wrt="x weight bias",
    composed=_linear_cross_entropy_composed,
)
def linear_cross_entropy(
    x: Array, weight: Array, bias: Array | None, target: Array, share: Array, *, chunk: int
) -> Any:
    """全连接接交叉熵，一次只算 ``chunk`` 行的 logits。

    Args:
        x: ``(N, D)``。
        weight: ``(C, D)``。
        bias: ``(C,)`` 或 ``None``。
        target: ``(N,)`` 整数类别。
        share: ``(N,)``，各行的权重；不计的行为 0。
        chunk: 一块的行数。

    Returns:
        各行的损失 ``(N,)``，以及各行的最大值 ``m`` 与 ``Σⱼ exp(zⱼ - m)`` ``(N, 1)``。
    """
    top, total = (np.empty((len(x), 1), x.dtype) for _ in range(2))
    loss = np.empty(len(x), x.dtype)
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        loss[rows], top[rows], total[rows] = row_losses(_logits(x[rows], weight, bias), target[rows])
    return loss * share.astype(x.dtype), top, total


def _token_loss_vjp(
    g: Any, x: Any, weight: Any, target: Any, z: Any, top: Any, total: Any, needs: tuple[bool, ...], into: Any,
    ignore_index: int,
) -> tuple[Any, ...]:  # fmt: skip
    """``∂ℓ/∂z = softmax(z) - onehot(target)``，再照 ``linear`` 求 ``x`` 与 ``W`` 的梯度；忽略的行为 0。"""
    flat = target.reshape(-1)
    valid = flat != ignore_index
    share = np.where(valid, g, 0).astype(z.dtype)
    out = z if into.may_overwrite else np.empty_like(z)
    dz = logits_gradient(z, top, total, np.where(valid, flat, 0), share, out)
    dx, dw, _ = linear_vjp(dz.reshape(*x.shape[:-1], -1), x, weight, (needs[0], needs[1], False), into)
    return dx, dw, None


def _token_loss_composed(x: Any, weight: Any, target: Any, *, ignore_index: int) -> Any:
    flat = getattr(target, "array", target).reshape(-1)
    z = reshape(linear(x, weight, None), shape=(flat.size, weight.shape[0]))
    return cross_entropy(z, flat, ignore_index=ignore_index, reduction="sum")


@op(
    "ℓ = Σ (ln Σⱼ e^{zⱼ} - z[target])，z = W x",
    keeps="z top total",
    joint=_token_loss_vjp,
    wrt="x weight",
    composed=_token_loss_composed,
)
def token_loss(x: Array, weight: Array, target: Array, *, ignore_index: int) -> Any:
    """语言模型的输出层与损失：各位置交叉熵之和。

    Args:
        x: ``(..., D)``。
        weight: ``(C, D)``。
        target: ``(...)`` 整数类别；等于 ``ignore_index`` 的位置不计入。
        ignore_index: 忽略的类别号。

    Returns:
        损失，以及反向要用的 logits ``(N, C)``、各行的最大值 ``m`` 与 ``Σⱼ exp(zⱼ - m)`` ``(N, 1)``。
    """
    flat = target.reshape(-1)
    valid = flat != ignore_index
    z = linear.forward(x.reshape(-1, x.shape[-1]), weight, None)
    each, *kept = row_losses(z, np.where(valid, flat, 0))
    return np.asarray(np.add.reduce(each, where=valid, dtype=np.float64), dtype=z.dtype), z, *kept
