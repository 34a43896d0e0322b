"""矩阵乘法与线性层：训练时间的八成花在这里。

流入与流出都是数组（或 Tensor）。下一站：``activation.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.cores import blas_threads, split, threads
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import reshape

_ndarray = np.ndarray
_SMALL = 1 << 14
"""小到不必考虑分给几个核的矩阵：追踪小图时，省下的是判断本身。"""


@op("y = a b", a=lambda g, b: g @ b.mT, b=lambda g, a: a.mT @ g)
def matmul(a: Array, b: Array) -> Any:
    """``y = a b``（最后两轴相乘，其余轴广播）。

    由 ``yᵢⱼ = Σₖ aᵢₖ bₖⱼ`` 得 ``∂L/∂aᵢₖ = Σⱼ gᵢⱼ bₖⱼ``，即 ``∂L/∂a = g bᵀ``；同理 ``∂L/∂b = aᵀ g``。
    """
    y = np.matmul(a, b)
    return y if y.flags.c_contiguous else np.ascontiguousarray(y)  # 批的轴互相广播时，NumPy 会照输入的次序排


@op(
    "y = a b",
    a=lambda g, b: _dot(g, b.T) if type(g) is _ndarray else g @ b.T,
    b=lambda g, a: _dot(a.T, g) if type(g) is _ndarray else a.T @ g,
)
def mm(a: Array, b: Array) -> Any:
    """``y = a b``，两个矩阵；小矩阵用数组的 ``dot`` 比 ``matmul`` 少一半开销；Tensor 没有这个写法。"""
    return _dot(a, b)


@op("y = a x", a=lambda g, x: _outer(g, x), x=lambda g, a: a.T.dot(g) if type(g) is _ndarray else a.T @ g)
def mv(a: Array, x: Array) -> Any:
    """``y = a x``，矩阵乘向量：``∂L/∂aᵢⱼ = gᵢ xⱼ``，``∂L/∂x = aᵀ g``。"""
    return a.dot(x)


@op("y = x b", x=lambda g, b: b.dot(g) if type(g) is _ndarray else b @ g, b=lambda g, x: _outer(x, g))
def vm(x: Array, b: Array) -> Any:
    """``y = x b``，向量乘矩阵：``∂L/∂x = b g``，``∂L/∂bᵢⱼ = xᵢ gⱼ``。"""
    return x.dot(b)


@op("y = a · b", a=lambda g, b: g * b, b=lambda g, a: g * a)
def dot(a: Array, b: Array) -> Any:
    """``y = Σᵢ aᵢ bᵢ``，两个向量的内积。"""
    return a.dot(b)


def _dot(a: Array, b: Array) -> Any:
    return a.dot(b) if a.size < _SMALL else _product(a, b)


def _outer(a: Any, b: Any) -> Any:
    """``aᵢ bⱼ``：一列乘一行。"""
    column, row = a.reshape(-1, 1), b.reshape(1, -1)
    return column.dot(row) if type(column) is _ndarray else column @ row


def linear_vjp(g: Any, x: Any, weight: Any, needs: tuple[bool, bool, bool], into: Any) -> tuple[Any, Any, Any]:
    """``∂L/∂x = g W``，``∂L/∂W = gᵀ x``，``∂L/∂b = Σ g``；前面的轴先并成一根，三者各是一次大矩阵运算。"""
    rows, inputs = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
    dx = _product(rows, weight).reshape(x.shape) if needs[0] else None
    dw = _weight_gradient(rows.T, inputs, into(1)) if needs[1] else None
    db = np.ones(len(rows), rows.dtype).dot(rows) if needs[2] else None
    return dx, dw, db


def _weight_gradient(a: Array, b: Array, buffer: Any) -> Array:
    """``a b``；参数备好了放梯度的地方就逐块放进去，要加到别的梯度上时一次算一小段，不必先有一整份。"""
    if buffer is None:
        return _product(a, b)

    def produce(rows: slice, out: Array, adds: bool) -> None:
        if not adds:
            _product(a[rows], b, out)
            return
        step = max(_ADDED // b.shape[1], 1)
        for start in range(0, len(out), step):
            part = slice(start, min(start + step, len(out)))
            out[part] += _product(a[rows][part], b)

    return buffer.take(produce)  # type: ignore[no-any-return]


def _product(a: Array, b: Array, out: Array | None = None) -> Array:
    """``a b``；大的分给几个核：``a`` 的行多就按行切，否则按 ``b`` 的列切——BLAS 要把 ``b`` 整理一遍，各理各的一半。"""
    (rows, inner), columns = a.shape, b.shape[1]
    cost = rows * inner * columns
    if rows <= _FEW and threads() > 1 and cost >= _WORTH_SPLITTING >> 4:
        with blas_threads(threads()):
            return a.dot(b, out=out)
    if cost < _WORTH_SPLITTING or a.dtype is not b.dtype:
        return a.dot(b, out=out)
    y = np.empty((rows, columns), a.dtype) if out is None else out
    if rows > columns:
        split(lambda i, j: np.matmul(a[i:j], b, out=y[i:j]), rows, cost, _ALIGN)  # dot 遇到切片会先抄一遍
    else:
        split(lambda i, j: np.matmul(a, b[:, i:j], out=y[:, i:j]), columns, cost, _ALIGN)
    return y


_WORTH_SPLITTING = 1 << 23
"""乘加次数至少这么多才值得切。"""
_ADDED = 1 << 21
"""加到别的梯度上时，一段多少个元素：大到不拖慢乘法，小到临时的那份不占多少内存。"""
_FEW = 8
"""至多这么多行时，时间都花在把 ``b`` 从内存里读出来，BLAS 自己的线程更合适。"""
_ALIGN = 16
"""每段的行数是它的整数倍：BLAS 的内核一次算这么多行。"""


def _linear_composed(x: Any, weight: Any, bias: Any) -> Any:
    rows = matmul(reshape(x, shape=(_size(x.shape[:-1]), x.shape[-1])), weight.mT)
    y = reshape(rows, shape=(*x.shape[:-1], weight.shape[0]))
    return y if bias is None else y + bias


def _size(shape: tuple[int, ...]) -> int:
    n = 1
    for length in shape:
        n *= length
    return n


@op("y = x Wᵀ + b", joint=linear_vjp, wrt="x weight bias", composed=_linear_composed)
def linear(x: Array, weight: Array, bias: Array | None) -> Any:
    """``y = x Wᵀ + b``。

    Args:
        x: ``(..., in)``。
        weight: ``(out, in)``。
        bias: ``(out,)``，可以没有。

    Returns:
        ``(..., out)``。
    """
    y = _product(x.reshape(-1, x.shape[-1]), weight.T)
    if bias is not None:
        np.add(y, bias, out=y)
    return y.reshape(*x.shape[:-1], weight.shape[0])
