"""归约算子：沿若干轴求和、求积、求均值与方差、取最值、求范数。

``dim`` 一律是「非负轴号的元组」，由 Tensor 方法整理好再传进来；``keepdim`` 决定是否保留长度为 1 的轴。
梯度要先补回被归约掉的轴，再广播成输入的形状。下一站：``shape.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import abs, exp, masked_fill, pow_scalar, sign, where, zeros
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.scan import accumulator, cumprod, narrowed
from tinygrad_llm.ops.shape import cat, expand, flip, index, reshape

Dims = tuple[int, ...]
Shapes = tuple[tuple[int, ...], ...]


def keep(g: Any, shape: tuple[int, ...], dim: Dims, keepdim: bool) -> Any:
    """补回被归约掉的轴（长度 1），使 ``g`` 能与输入广播。"""
    if keepdim or len(dim) == len(shape):  # 全部归约成了标量，不补也能广播
        return g
    return reshape(g, shape=tuple(1 if i in dim else n for i, n in enumerate(shape)))


def _spread(g: Any, shapes: Shapes, dim: Dims, keepdim: bool) -> Any:
    return expand(keep(g, shapes[0], dim, keepdim), shape=shapes[0])


def count(shape: tuple[int, ...], dim: Dims) -> int:
    """被归约的元素个数。"""
    total = 1
    for axis in dim:
        total *= shape[axis]
    return total


def _total(x: Array, dim: Dims | None, keepdim: bool) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        if dim is None and x.dtype.char in "fd":  # 损失函数几乎都以它收尾，少绕一圈
            return np.add.reduce(x, None)
        return narrowed(x.sum(axis=dim, keepdims=keepdim, dtype=accumulator(x)), x)


@op("y = Σ x", x=lambda g: g)
def sum_all(x: Array) -> Any:
    """``y = Σ x``，加成一个标量：和对每一项的导数都是 1，所以每一项都收到 ``g``；广播由引擎完成。"""
    return _total(x, None, False)


@op("y = Σ x", x=lambda g, shapes, dim, keepdim: _spread(g, shapes, dim, keepdim))
def sum(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = Σ x``：和对每一项的导数都是 1，所以梯度原样广播回去。"""
    return _total(x, dim, keepdim)


@op(
    "y = Σ x（跳过 NaN）",
    x=lambda g, x, shapes, dim, keepdim: _spread(g, shapes, dim, keepdim) * (x == x),
)
def nansum(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = Σ x``，NaN 当作 0；NaN 处梯度为 0。"""
    return _total(np.where(np.isnan(x), np.zeros((), x.dtype), x), dim, keepdim)


@op(
    "y = (1/n) Σ x",
    x=lambda g, shapes, dim, keepdim: _spread(g, shapes, dim, keepdim) * (1 / max(count(shapes[0], dim), 1)),
)
def mean(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = (1/n) Σ x``。"""
    with np.errstate(all="ignore"):
        total = x.sum(axis=dim, keepdims=keepdim, dtype=accumulator(x))
        return narrowed(total / np.asarray(count(x.shape, dim), dtype=total.dtype), x)


def _others(x: Any, dim: int) -> Any:
    """除自己以外的积：前面的累积乘以后面的累积。"""
    lead = (slice(None),) * dim
    ones = where(True, 1.0, index(x, key=(*lead, slice(0, 1))))
    before = cumprod(cat(ones, index(x, key=(*lead, slice(0, -1))), dim=dim), dim=dim)
    later = flip(index(x, key=(*lead, slice(1, None))), dim=(dim,))
    return before * flip(cumprod(cat(ones, later, dim=dim), dim=dim), dim=(dim,))


def _prod_vjp(g: Any, x: Any, y: Any, shapes: Shapes, dim: int, keepdim: bool) -> Any:
    g = keep(g, shapes[0], (dim,), keepdim)
    if shapes[0][dim] == 1:  # 只有一个：不必先除后乘，二阶导恰为 0
        return g
    if (x == 0).any():  # 有零就不能除：逐个算出其余各项的积
        return g * _others(x, dim)
    return g * (keep(y, shapes[0], (dim,), keepdim) / x)


@op("y = Π x", x=_prod_vjp)
def prod(x: Array, *, dim: int, keepdim: bool = False) -> Any:
    """``y = Π x``，沿一根轴；``∂y/∂xᵢ`` 是其余各项的积，没有零时就是 ``y / xᵢ``。"""
    with np.errstate(all="ignore"):
        return narrowed(x.prod(axis=dim, keepdims=keepdim, dtype=accumulator(x)), x)


def _tie_share(g: Any, x: Any, y: Any, shapes: Shapes, dim: Dims, keepdim: bool) -> Any:
    """极值由并列者平分：每个得 1/个数。"""
    ties = x == keep(y, shapes[0], dim, keepdim)
    return keep(g, shapes[0], dim, keepdim) / sum(ties, dim=dim, keepdim=True) * ties


@op("y = max x", x=lambda g, x, y, shapes, dim, keepdim: _tie_share(g, x, y, shapes, dim, keepdim))
def amax(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = max x``；并列的最大值平分梯度，与 ``torch.amax`` 一致。"""
    return np.asarray(x.max(axis=dim, keepdims=keepdim), order="C")


@op("y = min x", x=lambda g, x, y, shapes, dim, keepdim: _tie_share(g, x, y, shapes, dim, keepdim))
def amin(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = min x``；并列的最小值平分梯度。"""
    return np.asarray(x.min(axis=dim, keepdims=keepdim), order="C")


def _lower_median(x: Array) -> Any:
    """偶数个时取中间两个里较小的一个；空的或有 NaN 则为 NaN。"""
    flat = x.reshape(-1)
    if x.dtype.kind == "f" and (x.size == 0 or np.isnan(flat).any()):
        return x.dtype.type(np.nan)
    middle = (x.size - 1) // 2
    return np.partition(flat, middle)[middle]


_PICKS: dict[str, Callable[[Array], Any]] = {
    "max": np.max,
    "min": np.min,
    "median": _lower_median,
    "nanmedian": lambda x: _lower_median(x[x == x]),
}


def _even_share(g: Any, x: Any, y: Any, shapes: Shapes) -> Any:
    """与结果相等的元素平分梯度；结果是 NaN 时由各个 NaN 平分。"""
    ties = (x == y) if (y == y).all() else (x != x)
    return g / sum(ties, dim=tuple(range(len(shapes[0])))) * ties


@op("y = x 中的一个", x=_even_share)
def pick(x: Array, *, which: str) -> Any:
    """全体元素的最大值、最小值或（下）中位数。"""
    return _PICKS[which](x)


@op(
    "y = ln Σ eˣ",
    x=lambda g, x, y, shapes, dim, keepdim: (
        keep(g, shapes[0], dim, keepdim) * exp(x - keep(y, shapes[0], dim, keepdim))
    ),
)
def logsumexp(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = ln Σ eˣ``：先减去最大值防止上溢；导数就是 softmax。"""
    top = np.maximum.reduce(x, axis=dim, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore", over="ignore"):
        y = np.log(np.add.reduce(np.exp(x - top), axis=dim, keepdims=True)) + top
    return np.asarray(y if keepdim else np.squeeze(y, axis=dim), order="C")


def _variance(x: Array, dim: Dims, keepdim: bool, correction: float) -> Any:
    """先减均值再平方：不会像「平方的均值减均值的平方」那样丢掉有效数字。"""
    with np.errstate(all="ignore"):
        wide = x.astype(accumulator(x), copy=False)
        centered = np.asarray(wide - mean.forward(wide, dim=dim, keepdim=True))
        total = np.square(centered, out=centered).sum(axis=dim, keepdims=keepdim)
        return total / np.asarray(max(count(x.shape, dim) - correction, 0), total.dtype)


def _variance_vjp(g: Any, x: Any, shapes: Shapes, dim: Dims, keepdim: bool, correction: float) -> Any:
    """``∂y/∂xᵢ = 2 (xᵢ - x̄) / (n - c)``。"""
    free = count(shapes[0], dim) - correction
    slope = keep(g, shapes[0], dim, keepdim) * (2 / free if free else math.inf)
    return slope * (x - mean(x, dim=dim, keepdim=True))


@op("y = Σ (x - x̄)² / (n - c)", x=_variance_vjp)
def var(x: Array, *, dim: Dims, keepdim: bool = False, correction: float = 1) -> Any:
    """方差，``c`` 是自由度的修正。"""
    return narrowed(_variance(x, dim, keepdim, correction), x)


def _deviation_vjp(g: Any, x: Any, y: Any, shapes: Shapes, dim: Dims, keepdim: bool, correction: float) -> Any:
    """``∂√v = ∂v / 2√v``；方差为 0 处取 0，与 torch 一致。"""
    return _variance_vjp(masked_fill(g / (y * 2), y == 0, value=0.0), x, shapes, dim, keepdim, correction)


@op("y = √(Σ (x - x̄)² / (n - c))", x=_deviation_vjp)
def std(x: Array, *, dim: Dims, keepdim: bool = False, correction: float = 1) -> Any:
    """标准差。"""
    return narrowed(np.sqrt(_variance(x, dim, keepdim, correction)), x)


def _norm_vjp(g: Any, x: Any, y: Any, shapes: Shapes, p: float, dim: Dims, keepdim: bool) -> Any:
    """``∂y/∂x = sign(x) |x|ᵖ⁻¹ y¹⁻ᵖ``；范数为 0 处取 0，无穷范数由并列者平分。"""
    g, y = keep(g, shapes[0], dim, keepdim), keep(y, shapes[0], dim, keepdim)
    if p == 0:
        return zeros(g)  # 引擎再把它广播成 x 的形状
    if p == 1:
        return g * sign(x)
    if p == 2:
        return g * masked_fill(x / y, y == 0, value=0.0)
    size = abs(x)
    if math.isinf(p):
        ties = (size == y) | (x != x)
        return g / sum(ties, dim=dim, keepdim=True) * masked_fill(sign(x) * ties, x != x, value=0.0)
    power = pow_scalar(size, exponent=p - 1)
    if p < 1:
        power = masked_fill(power, x == 0, value=0.0)
    return masked_fill(g * pow_scalar(y, exponent=1 - p), y == 0, value=0.0) * (power * sign(x))


@op("y = (Σ |x|ᵖ)^(1/p)", x=_norm_vjp)
def vector_norm(x: Array, *, p: float, dim: Dims, keepdim: bool = False) -> Any:
    """``p`` 范数；``p`` 可以是任何数，0 表示非零元素的个数，±∞ 表示绝对值的最大、最小者。"""
    with np.errstate(all="ignore"):
        wide = x.astype(accumulator(x), copy=False)
        return narrowed(_norm(wide, p, dim, keepdim), x)


def _norm(x: Array, p: float, dim: Dims, keepdim: bool) -> Any:
    if p == 2:
        return np.sqrt((x * x).sum(axis=dim, keepdims=keepdim))
    if p == 0:
        return (x != 0).sum(axis=dim, keepdims=keepdim, dtype=x.dtype)
    size = np.abs(x)
    if math.isinf(p):
        return (np.max if p > 0 else np.min)(size, axis=dim, keepdims=keepdim)
    if p == 1:
        return size.sum(axis=dim, keepdims=keepdim)
    return np.power(np.power(size, p).sum(axis=dim, keepdims=keepdim), 1 / p)
