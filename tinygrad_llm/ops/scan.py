"""扫描算子：沿一根轴逐个累积，每个输出都看得见它之前的全部输入。

反向因此从后往前走：``xⱼ`` 影响 ``yⱼ``、``yⱼ₊₁``、……。下一站：``reduce.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import exp, masked_fill, where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import cat, flip, index


def accumulator(x: Array) -> Any:
    """累加用的 dtype：整数用 int64，半精度用单精度，其余不变。"""
    if x.dtype.kind in "biu":
        return np.int64
    return np.float32 if x.dtype == np.float16 else x.dtype


def narrowed(y: Any, x: Array) -> Any:
    """用单精度算出的结果换回半精度；按行连续，与 torch 相同：NumPy 会照着输入的内存次序排。"""
    return np.asarray(y, np.float16 if x.dtype == np.float16 else None, order="C")


@op("yᵢ = Σ_{j≤i} xⱼ", x=lambda g, dim: _reverse_cumsum(g, dim))
def cumsum(x: Array, *, dim: int) -> Any:
    """``yᵢ = Σ_{j≤i} xⱼ``；``xⱼ`` 影响其后每一个输出，所以梯度是反方向的累加。"""
    with np.errstate(all="ignore"):
        y = narrowed(np.cumsum(x, axis=dim, dtype=accumulator(x)), x)
        if x.dtype.kind == "f":
            y += 0  # 从 +0 加起：-0 的累加也是 +0
        return y


def _reverse_cumsum(g: Any, dim: int) -> Any:
    return flip(cumsum(flip(g, dim=(dim,)), dim=dim), dim=(dim,))


def _slices(dim: int) -> tuple[Any, Any]:
    """沿 ``dim`` 的第一个，与除最后一个之外的全部。"""
    lead = (slice(None),) * dim
    return (*lead, slice(0, 1)), (*lead, slice(0, -1))


def _previous(y: Any, dim: int, first: float | None = None) -> Any:
    """错后一位 ``yᵢ₋₁``；``y₋₁`` 取 ``first``，不给就重复 ``y₀``。"""
    one, rest = _slices(dim)
    head = index(y, key=one)
    return cat(head if first is None else where(True, first, head), index(y, key=rest), dim=dim)


def _from_behind(a: Any, g: Any, dim: int) -> Any:
    """``sᵢ = gᵢ + aᵢ₊₁ sᵢ₊₁``：把 ``recurrence`` 倒过来走。"""
    return flip(recurrence(_previous(flip(a, dim=(dim,)), dim), flip(g, dim=(dim,)), dim=dim), dim=(dim,))


@op(
    "yᵢ = aᵢ yᵢ₋₁ + bᵢ",
    a=lambda g, a, y, dim: _from_behind(a, g, dim) * _previous(y, dim, 0.0),
    b=lambda g, a, dim: _from_behind(a, g, dim),
)
def recurrence(a: Array, b: Array, *, dim: int) -> Any:
    """一阶线性递推，``y₋₁ = 0``；它的反向还是一阶线性递推，只是方向相反。"""
    factors, y = np.moveaxis(a, dim, 0), np.array(np.moveaxis(b, dim, 0))
    with np.errstate(all="ignore"):
        for i in range(1, len(y)):
            y[i] += factors[i] * y[i - 1]
    return np.moveaxis(y, 0, dim)


@op("yᵢ = Π_{j≤i} xⱼ", x=lambda g, x, y, dim: _previous(y, dim, 1.0) * _from_behind(x, g, dim))
def cumprod(x: Array, *, dim: int) -> Any:
    """``yᵢ = Π_{j≤i} xⱼ``。

    ``∂L/∂xₖ = yₖ₋₁ (gₖ + xₖ₊₁ gₖ₊₁ + xₖ₊₁ xₖ₊₂ gₖ₊₂ + …)``：括号里是一个递推，不必除以 ``xₖ``，零也无妨。
    """
    with np.errstate(all="ignore"):
        return narrowed(np.cumprod(x, axis=dim, dtype=accumulator(x)), x)


def _decay(y: Any, dim: int) -> Any:
    """``exp(yᵢ₋₁ - yᵢ)``，不超过 1；两个无穷之差按 0 算。"""
    before = _previous(y, dim)
    return exp(masked_fill(before - y, before == y, value=0.0))


@op(
    "yᵢ = ln Σ_{j≤i} exp xⱼ",
    x=lambda g, x, y, dim: exp(x - y) * _from_behind(_decay(y, dim), g, dim),
)
def logcumsumexp(x: Array, *, dim: int) -> Any:
    """``yᵢ = ln Σ_{j≤i} exp xⱼ``。

    ``∂L/∂xⱼ = Σ_{i≥j} gᵢ exp(xⱼ - yᵢ)``；提出 ``exp(xⱼ - yⱼ)``，余下的是比值 ``exp(yᵢ₋₁ - yᵢ)`` 的递推，不会上溢。
    """
    with np.errstate(all="ignore"):
        y = np.ascontiguousarray(np.logaddexp.accumulate(x, axis=dim))
        y += 0  # -0 变成 +0，与 torch 相同
        return y
