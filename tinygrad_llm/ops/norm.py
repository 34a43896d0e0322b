"""归一化：LayerNorm 与 RMSNorm，沿最后一轴。

流入与流出都是数组（或 Tensor）。下一站：``attention.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.blocks import as_rows, for_rows, sum_rows
from tinygrad_llm.ops.elementwise import cast, rsqrt
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.reduce import mean


def _layer_norm_vjp(g: Any, weight: Any, xhat: Any, rstd: Any, needs: tuple[bool, bool, bool]) -> tuple[Any, Any, Any]:
    """记 ``x̂ = (x - μ)/σ``，``t = g ⊙ w``。

    ``μ`` 与 ``σ`` 都依赖每个 ``xᵢ``，沿三条路径求和后整理得
    ``∂L/∂x = (t - mean(t) - x̂ · mean(t ⊙ x̂)) / σ``；``∂L/∂w = Σ g ⊙ x̂``，``∂L/∂b = Σ g``。
    两个均值都写成与 ``w/D`` 的内积：``mean(t) = g · w/D``，``mean(t ⊙ x̂) = (g ⊙ x̂) · w/D``。
    """
    width = xhat.shape[-1]
    gs, xs, dx = as_rows(g), as_rows(xhat), np.empty(xhat.shape, xhat.dtype)
    ds, share = as_rows(dx), _share(weight, xhat)

    def one(rows: slice, sums: Array) -> None:
        grad, x, out = gs[rows], xs[rows], ds[rows]
        t = grad * x
        ones = np.ones(len(t), t.dtype)
        sums[0] += ones.dot(t)
        sums[1] += ones.dot(grad)
        along = t.dot(share)[:, None]
        np.subtract(grad if weight is None else grad * weight, grad.dot(share)[:, None], out=out)
        np.multiply(x, along, out=t)
        out -= t
        out *= rstd[rows]

    dw, db = sum_rows(xs.shape, one, np.zeros((2, width), xhat.dtype))
    return dx if needs[0] else None, dw.copy() if needs[1] else None, db.copy() if needs[2] else None


def _share(weight: Any, like: Array) -> Array:
    """``w/D``；没有 ``w`` 就是 ``1/D``。"""
    width = like.shape[-1]
    return np.full(width, 1 / width, like.dtype) if weight is None else weight / like.dtype.type(width)


def _layer_norm_composed(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    last = (len(x.shape) - 1,)
    centered = x - mean(x, dim=last, keepdim=True)
    y = centered * rsqrt(mean(centered * centered, dim=last, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _scaled_and_shifted(xhat: Array, weight: Array | None, bias: Array | None) -> Array:
    """由 ``x̂`` 重算 ``y``。"""
    y = np.empty(xhat.shape, xhat.dtype)
    hs, ys = as_rows(xhat), as_rows(y)
    for_rows(hs.shape, lambda rows: _affine(hs[rows], weight, bias, ys[rows]))
    return y


@op(
    "y = (x - μ)/√(σ² + ε) ⊙ w + b",
    keeps="xhat rstd",
    joint=_layer_norm_vjp,
    wrt="x weight bias",
    composed=_layer_norm_composed,
    plain=lambda x, weight, bias, eps: _layer_norm(x, weight, bias, eps, keep=False)[0],
    rebuild=_scaled_and_shifted,
)
def layer_norm(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Any:
    """沿最后一轴标准化，再缩放平移。

    Args:
        x: ``(..., D)``。
        weight: ``(D,)``，可以没有。
        bias: ``(D,)``，可以没有。
        eps: 加在方差上的小数，防止除以 0。

    Returns:
        ``y``、标准化之后的 ``x̂`` 与各行 ``1/√(σ² + ε)`` ``(N, 1)``。
    """
    return _layer_norm(x, weight, bias, eps, keep=True)


def _layer_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, keep: bool
) -> tuple[Array, Array, Array]:
    y = np.empty(x.shape, x.dtype)
    xhat = np.empty(x.shape, x.dtype) if keep else y
    width = x.shape[-1]
    xs, hs, ys, average = as_rows(x), as_rows(xhat), as_rows(y), np.full(width, 1 / width, x.dtype)
    rstd = np.empty((len(xs), 1), x.dtype)

    def one(rows: slice) -> None:
        h = hs[rows]
        np.subtract(xs[rows], xs[rows].dot(average)[:, None], out=h)
        variance = np.vecdot(h, h) / width
        rstd[rows, 0] = 1 / np.sqrt(variance + eps)
        h *= rstd[rows]
        _affine(h, weight, bias, ys[rows])

    for_rows(xs.shape, one)
    return y, xhat, rstd


def _affine(h: Array, weight: Array | None, bias: Array | None, out: Array) -> None:
    """``out = h ⊙ w + b``，两者都可以没有。"""
    if weight is not None:
        np.multiply(h, weight, out=out)
    elif out is not h:
        out[...] = h
    if bias is not None:
        out += bias


def _rms_norm_vjp(g: Any, weight: Any, xhat: Any, rrms: Any, needs: tuple[bool, bool]) -> tuple[Any, Any]:
    """与 LayerNorm 同理，只是没有均值一路：``∂L/∂x = (t - x̂ · mean(t ⊙ x̂)) / rms``，``t = g ⊙ w``。"""
    gs, xs, dx = as_rows(g), as_rows(xhat), np.empty(xhat.shape, xhat.dtype)
    ds, share = as_rows(dx), _share(weight, xhat)

    def one(rows: slice, sums: Array) -> None:
        grad, x, out = gs[rows], xs[rows], ds[rows]
        t = grad * x
        sums += np.ones(len(t), t.dtype).dot(t)
        along = t.dot(share)[:, None]
        np.multiply(x, along, out=t)
        np.subtract(grad if weight is None else grad * weight, t, out=out)
        out *= rrms[rows]

    dw = sum_rows(xs.shape, one, np.zeros(xhat.shape[-1], xhat.dtype))
    return dx if needs[0] else None, dw if needs[1] else None


def _rms_norm_composed(x: Any, weight: Any, *, eps: float) -> Any:
    y = x * rsqrt(mean(x * x, dim=(len(x.shape) - 1,), keepdim=True) + eps)
    if weight is None:
        return y
    return y * weight if weight.dtype == x.dtype else cast(y * weight, dtype=x.array.dtype)  # 结果的 dtype 随 x


@op(
    "y = x/√(mean(x²) + ε) ⊙ w",
    keeps="xhat rrms",
    joint=_rms_norm_vjp,
    wrt="x weight",
    composed=_rms_norm_composed,
    plain=lambda x, weight, eps: _rms_norm(x, weight, eps, keep=False)[0],
    rebuild=lambda xhat, weight: _scaled_and_shifted(xhat, weight, None),
)
def rms_norm(x: Array, weight: Array | None, *, eps: float) -> Any:
    """沿最后一轴除以均方根，再缩放。

    Args:
        x: ``(..., D)``。
        weight: ``(D,)``，可以没有。
        eps: 加在均方上的小数。

    Returns:
        ``y``、缩放之前的 ``x̂`` 与各行 ``1/rms`` ``(N, 1)``。
    """
    return _rms_norm(x, weight, eps, keep=True)


def _rms_norm(x: Array, weight: Array | None, eps: float, keep: bool) -> tuple[Array, Array, Array]:
    y = np.empty(x.shape, x.dtype)
    xhat = np.empty(x.shape, x.dtype) if keep else y
    xs, hs, ys = as_rows(x), as_rows(xhat), as_rows(y)
    rrms = np.empty((len(xs), 1), x.dtype)

    def one(rows: slice) -> None:
        rrms[rows, 0] = 1 / np.sqrt(np.vecdot(xs[rows], xs[rows]) / x.shape[-1] + eps)
        np.multiply(xs[rows], rrms[rows], out=hs[rows])
        _affine(hs[rows], weight, None, ys[rows])

    for_rows(xs.shape, one)
    return y, xhat, rrms
