"""归约算子：沿若干轴求和、求均值、取最值。

``dim`` 一律是「非负轴号的元组」，由 Tensor 方法整理好再传进来；``keepdim`` 决定是否保留长度为 1 的轴。
梯度要先补回被归约掉的轴，再广播成输入的形状。下一站：``shape.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import exp, where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import expand, flip, reshape

Dims = tuple[int, ...]


def keep(g: Any, shape: tuple[int, ...], dim: Dims, keepdim: bool) -> Any:
    """补回被归约掉的轴（长度 1），使 ``g`` 能与输入广播。"""
    if keepdim or len(dim) == len(shape):  # 全部归约成了标量，不补也能广播
        return g
    return reshape(g, shape=tuple(1 if i in dim else n for i, n in enumerate(shape)))


def _spread(g: Any, shapes: tuple[tuple[int, ...], ...], dim: Dims, keepdim: bool) -> Any:
    return expand(keep(g, shapes[0], dim, keepdim), shape=shapes[0])


def count(shape: tuple[int, ...], dim: Dims) -> int:
    """被归约的元素个数。"""
    total = 1
    for axis in dim:
        total *= shape[axis]
    return total


@op("y = Σ x", x=lambda g, shapes, dim, keepdim: _spread(g, shapes, dim, keepdim))
def sum(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = Σ x``：和对每一项的导数都是 1，所以梯度原样广播回去。"""
    return np.add.reduce(x, axis=dim, dtype=np.int64 if x.dtype.kind in "biu" else None, keepdims=keepdim)


@op(
    "y = (1/n) Σ x",
    x=lambda g, shapes, dim, keepdim: _spread(g, shapes, dim, keepdim) * (1 / max(count(shapes[0], dim), 1)),
)
def mean(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = (1/n) Σ x``。"""
    with np.errstate(invalid="ignore", divide="ignore"):
        return x.sum(axis=dim, keepdims=keepdim) / np.asarray(count(x.shape, dim), dtype=x.dtype)


def _tie_share(g: Any, x: Any, y: Any, shapes: tuple[tuple[int, ...], ...], dim: Dims, keepdim: bool) -> Any:
    """极值由并列者平分：每个得 1/个数。"""
    ties = where(x == keep(y, shapes[0], dim, keepdim), 1.0, 0.0)
    return _spread(g, shapes, dim, keepdim) * (ties / _sum_keep(ties, dim))


def _sum_keep(x: Any, dim: Dims) -> Any:
    return sum(x, dim=dim, keepdim=True)


@op("y = max x", x=lambda g, x, y, shapes, dim, keepdim: _tie_share(g, x, y, shapes, dim, keepdim))
def amax(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = max x``；并列的最大值平分梯度，与 ``torch.amax`` 一致。"""
    return x.max(axis=dim, keepdims=keepdim)


@op("y = min x", x=lambda g, x, y, shapes, dim, keepdim: _tie_share(g, x, y, shapes, dim, keepdim))
def amin(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = min x``；并列的最小值平分梯度。"""
    return x.min(axis=dim, keepdims=keepdim)


@op(
    "y = ln Σ eˣ",
    x=lambda g, x, y, shapes, dim, keepdim: (
        keep(g, shapes[0], dim, keepdim) * exp(x - keep(y, shapes[0], dim, keepdim))
    ),
)
def logsumexp(x: Array, *, dim: Dims, keepdim: bool = False) -> Any:
    """``y = ln Σ eˣ``：先减去最大值防止上溢；导数就是 softmax。"""
    top = np.maximum.reduce(x, axis=dim, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        y = np.log(np.add.reduce(np.exp(x - top), axis=dim, keepdims=True)) + top
    return y if keepdim else np.squeeze(y, axis=dim)


@op("yᵢ = Σ_{j≤i} xⱼ", x=lambda g, dim: _reverse_cumsum(g, dim))
def cumsum(x: Array, *, dim: int) -> Any:
    """``yᵢ = Σ_{j≤i} xⱼ``；``xⱼ`` 影响其后每一个输出，所以梯度是反方向的累加。"""
    return np.cumsum(x, axis=dim, dtype=np.int64 if x.dtype.kind in "biu" else None)


def _reverse_cumsum(g: Any, dim: int) -> Any:
    return flip(cumsum(flip(g, dim=(dim,)), dim=dim), dim=(dim,))
