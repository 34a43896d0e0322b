"""全连接接交叉熵：分块计算，从不物化整张 logits。

流入 ``(N, D)`` 的特征与 ``(C, D)`` 的权重，流出各行的损失。词表很大时 ``(N, C)`` 的 logits 比参数还占内存。
下一站：``tinygrad_llm/autograd/``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import logsumexp
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
    lse: Any,
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
        z -= lse[rows]
        np.exp(z, out=z)
        z[np.arange(len(z)), target[rows]] -= 1
        z *= scale[rows, None]
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
    loss = logsumexp(z, dim=(1,), keepdim=True) - gather(z, target[:, None], dim=1)
    return reshape(loss, shape=target.shape) * share


@op(
    "ℓ = s · (ln Σⱼ e^{zⱼ} - z[target])，z = W x + b",
    keeps="lse",
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
        各行的损失 ``(N,)``，以及各行的 log-sum-exp ``(N, 1)``。
    """
    lse = np.empty((len(x), 1), x.dtype)
    loss = np.empty(len(x), x.dtype)
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        z = _logits(x[rows], weight, bias)
        lse[rows] = logsumexp.forward(z, dim=(1,), keepdim=True)
        loss[rows] = lse[rows, 0] - z[np.arange(len(z)), target[rows]]
    return loss * share.astype(x.dtype), lse
