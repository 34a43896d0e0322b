"""复数的算子：实部与虚部、共轭、模与幅角，以及实数与复数之间的两种看法。

流入与流出都是数组（或 Tensor）。梯度照 torch 的约定：损失是实数 L，复数 ``z = a + ib`` 的梯度是 ``∂L/∂a + i ∂L/∂b``。
这里的函数多不是解析的，没有通常意义的导数，所以每一行都照约定写好（``wirtinger``）；解析的函数用不着，见 ``op.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.ops.elementwise import cos, masked_fill, sin, where
from tinygrad_llm.ops.op import Array, op

_quiet = np.errstate(all="ignore")


def complex_type(x: Array) -> Any:
    """以 ``x`` 的元素为实部的复数类型；引擎从此要留意复数。"""
    extras.expect_complex()
    return np.result_type(x, np.complex64)


@op("y = z̄", wirtinger=True, z=lambda g: conj(g))
def conj(z: Array) -> Any:
    """``y = z̄``：虚部变号。"""
    return np.conjugate(z)


@op("y = Re z", is_view=True, z=lambda g: g)
def real(z: Array) -> Any:
    """实部；梯度是实数，由引擎变回复数。"""
    return np.asarray(z).real


@op("y = Im z", is_view=True, z=lambda g: g * 1j)
def imag(z: Array) -> Any:
    """虚部。"""
    return np.asarray(z).imag


@op("y = a + ib", wirtinger=True, a=lambda g: real(g), b=lambda g: imag(g))
def complex(a: Array, b: Array) -> Any:
    """由实部与虚部合成。"""
    y = np.empty(np.broadcast_shapes(a.shape, b.shape), complex_type(a))
    y.real, y.imag = a, b
    return y


@op(
    "y = r (cos θ + i sin θ)",
    wirtinger=True,
    r=lambda g, y: real(conj(g) * sgn(y)),
    angle=lambda g, y: real(conj(g) * (y * 1j)),
)
def polar(r: Array, angle: Array) -> Any:
    """由模与幅角合成；``r`` 为负处，对 ``r`` 的导数差一个负号，与 torch 一致。"""
    return complex.forward(r * cos.forward(angle), r * sin.forward(angle))


@op("y[…, 0] = Re z，y[…, 1] = Im z", is_view=True, z=lambda g: view_as_complex(g))
def view_as_real(z: Array) -> Any:
    """最后添一根长度为 2 的轴：实部与虚部。"""
    return z[..., None].view(z.real.dtype)


@op("y = x[…, 0] + i x[…, 1]", is_view=True, wirtinger=True, x=lambda g: view_as_real(g))
def view_as_complex(x: Array) -> Any:
    """最后一根长度为 2 的轴看作实部与虚部；内存不挨着就先复制。"""
    pairs = x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)
    return pairs.view(complex_type(x))[..., 0]


def _squared(z: Any) -> Any:
    """``|z|²``，实数。"""
    return real(z * conj(z))


@op("y = |z|", z=lambda g, z: g * sgn(z))
@_quiet
def complex_abs(z: Array) -> Any:
    """模；在 0 处梯度取 0。"""
    return np.abs(z)


@op("y = arg z", z=lambda g, z: where(z == 0, 0.0, g * z / _squared(z) * 1j))
def complex_angle(z: Array) -> Any:
    """幅角，落在 ``[-π, π]``；在 0 处梯度取 0。"""
    return np.angle(z)


@op(
    "y = z / |z|",
    wirtinger=True,
    z=lambda g, z, y: masked_fill((g - real(g * conj(y)) * y) / complex_abs(z), z == 0, value=0.0),
)
@_quiet
def sgn(z: Array) -> Any:
    """单位圆上同一方向的数；在 0 处为 0。"""
    size = np.abs(z)
    return np.where(size == 0, 0, z / size).astype(z.dtype, copy=False)
