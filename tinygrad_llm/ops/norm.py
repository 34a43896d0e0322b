"""归一化：LayerNorm 与 RMSNorm，沿最后一轴。

流入与流出都是数组（或 Tensor）。下一站：``attention.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.blocks import as_rows, row_blocks
from tinygrad_llm.ops.elementwise import rsqrt
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import mean


def _layer_norm_vjp(
    g: Any, x: Any, weight: Any, mu: Any, rstd: Any, needs: tuple[bool, bool, bool]
) -> tuple[Any, Any, Any]:
    """记 ``x̂ = (x - μ)/σ``，``t = g ⊙ w``。

    ``μ`` 与 ``σ`` 都依赖每个 ``xᵢ``，沿三条路径求和后整理得
    ``∂L/∂x = (t - mean(t) - x̂ · mean(t ⊙ x̂)) / σ``；``∂L/∂w = Σ g ⊙ x̂``，``∂L/∂b = Σ g``。
    """
    width = x.shape[-1]
    gs, xs, dx = as_rows(g), as_rows(x), np.empty(x.shape, x.dtype)
    ds, average = as_rows(dx), np.full(width, 1 / width, x.dtype)
    dw, db = np.zeros(width, x.dtype), np.zeros(width, x.dtype)
    for rows in row_blocks(*xs.shape):
        grad, xhat, out = gs[rows], xs[rows] - mu[rows], ds[rows]
        xhat *= rstd[rows]
        ones = np.ones(len(grad), x.dtype)
        np.multiply(grad, xhat, out=out)
        dw += ones @ out
        db += ones @ grad
        t = grad if weight is None else grad * weight
        xhat *= (np.vecdot(t, xhat) / width).astype(x.dtype)[:, None]
        np.subtract(t, (t @ average)[:, None], out=out)
        out -= xhat
        out *= rstd[rows]
    return dx if needs[0] else None, dw if needs[1] else None, db if needs[2] else None


def _layer_norm_composed(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    last = (len(x.shape) - 1,)
    centered = x - mean(x, dim=last, keepdim=True)
    y = centered * rsqrt(mean(centered * centered, dim=last, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@op(
    "y = (x - μ)/√(σ² + ε) ⊙ w + b",
    keeps="mu rstd",
    joint=_layer_norm_vjp,
    wrt="x weight bias",
    composed=_layer_norm_composed,
)
def layer_norm(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Any:
    """沿最后一轴标准化，再缩放平移。

    Args:
        x: ``(..., D)``。
        weight: ``(D,)``，可以没有。
        bias: ``(D,)``，可以没有。
        eps: 加在方差上的小数，防止除以 0。

    Returns:
        ``y``、各行均值 ``(N, 1)`` 与各行 ``1/√(σ² + ε)`` ``(N, 1)``。
    """
    y = np.empty(x.shape, x.dtype)
    width = x.shape[-1]
    xs, ys, average = as_rows(x), as_rows(y), np.full(width, 1 / width, x.dtype)
    mu, rstd = np.empty((len(xs), 1), x.dtype), np.empty((len(xs), 1), x.dtype)
    for rows in row_blocks(*xs.shape):
        out = ys[rows]
        np.matmul(xs[rows], average, out=mu[rows, 0])
        np.subtract(xs[rows], mu[rows], out=out)
        variance = np.vecdot(out, out) / width
        rstd[rows, 0] = 1 / np.sqrt(variance + eps)
        out *= rstd[rows]
        if weight is not None:
            out *= weight
        if bias is not None:
            out += bias
    return y, mu, rstd


def _rms_norm_vjp(g: Any, x: Any, weight: Any, rrms: Any, needs: tuple[bool, bool]) -> tuple[Any, Any]:
    """与 LayerNorm 同理，只是没有均值一路：``∂L/∂x = (t - x̂ · mean(t ⊙ x̂)) / rms``，``t = g ⊙ w``。"""
    width = x.shape[-1]
    gs, xs, dx = as_rows(g), as_rows(x), np.empty(x.shape, x.dtype)
    ds, dw = as_rows(dx), np.zeros(width, x.dtype)
    for rows in row_blocks(*xs.shape):
        grad, out = gs[rows], ds[rows]
        xhat = xs[rows] * rrms[rows]
        np.multiply(grad, xhat, out=out)
        dw += np.ones(len(grad), x.dtype) @ out
        t = grad if weight is None else grad * weight
        xhat *= (np.vecdot(t, xhat) / width).astype(x.dtype)[:, None]
        np.subtract(t, xhat, out=out)
        out *= rrms[rows]
    return dx if needs[0] else None, dw if needs[1] else None


def _rms_norm_composed(x: Any, weight: Any, *, eps: float) -> Any:
    y = x * rsqrt(mean(x * x, dim=(len(x.shape) - 1,), keepdim=True) + eps)
    return y if weight is None else y * weight


@op("y = x/√(mean(x²) + ε) ⊙ w", keeps="rrms", joint=_rms_norm_vjp, wrt="x weight", composed=_rms_norm_composed)
def rms_norm(x: Array, weight: Array | None, *, eps: float) -> Any:
    """沿最后一轴除以均方根，再缩放。

    Args:
        x: ``(..., D)``。
        weight: ``(D,)``，可以没有。
        eps: 加在均方上的小数。

    Returns:
        ``y`` 与各行 ``1/rms`` ``(N, 1)``。
    """
    y = np.empty(x.shape, x.dtype)
    width = x.shape[-1]
    xs, ys = as_rows(x), as_rows(y)
    rrms = np.empty((len(xs), 1), x.dtype)
    for rows in row_blocks(*xs.shape):
        rrms[rows, 0] = 1 / np.sqrt(np.vecdot(xs[rows], xs[rows]) / width + eps)
        np.multiply(xs[rows], rrms[rows], out=ys[rows])
        if weight is not None:
            ys[rows] *= weight
    return y, rrms
