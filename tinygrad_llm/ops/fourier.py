"""离散傅里叶变换的三个算子：复数到复数、实数到（半个）复数、半个复数到实数。

流入与流出都是数组（或 Tensor）。补零、裁剪与多维的次序在 ``fft.py``。变换是线性的，矩阵是 ``F``，梯度便是 ``Fᴴ g``：
反方向的变换，系数从一头挪到另一头。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.complex import complex_type, real
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import index, scatter_index

Dims = tuple[int, ...]

OPPOSITE = {"backward": "forward", "forward": "backward", "ortho": "ortho"}
"""系数 ``1/n`` 放在反变换、正变换，或两边各 ``1/√n``；求共轭转置时前两种对调。"""


@op(
    "y = F x",
    wirtinger=True,
    x=lambda g, dim, inverse, norm: fft_c2c(g, dim=dim, inverse=not inverse, norm=OPPOSITE[norm]),
)
def fft_c2c(x: Array, *, dim: Dims, inverse: bool, norm: Any) -> Any:
    """沿 ``dim`` 各轴的傅里叶变换；``inverse`` 为真则是反变换。"""
    transform = np.fft.ifftn if inverse else np.fft.fftn
    return transform(x, axes=dim, norm=norm).astype(x.dtype, copy=False)


def _along(dim: int, part: slice) -> Any:
    return (*(slice(None),) * dim, part)


def _padded(g: Any, dim: int, n: int) -> Any:
    """末尾补零到长度 ``n``。"""
    shape = (*g.shape[:dim], n, *g.shape[dim + 1 :])
    return scatter_index(g, shape=shape, key=_along(dim, slice(0, g.shape[dim])))


@op(
    "y = F x（前一半）",
    wirtinger=True,
    x=lambda g, shapes, dim, norm: real(
        fft_c2c(_padded(g, dim, shapes[0][dim]), dim=(dim,), inverse=True, norm=OPPOSITE[norm])
    ),
)
def fft_r2c(x: Array, *, dim: int, norm: Any) -> Any:
    """实数沿一根轴的傅里叶变换；后一半是前一半的共轭，不存。"""
    return np.fft.rfft(x, axis=dim, norm=norm).astype(complex_type(x), copy=False)


def _doubled(g: Any, dim: int, n: int) -> Any:
    """存着的一半里，中间的项都代表了自己与自己的共轭：梯度是两倍。"""
    middle = _along(dim, slice(1, (n + 1) // 2))
    return g + scatter_index(index(g, key=middle), shape=tuple(g.shape), key=middle)


@op("y = F⁻¹ x", x=lambda g, dim, n, norm: _doubled(fft_r2c(g, dim=dim, norm=OPPOSITE[norm]), dim, n))
def fft_c2r(x: Array, *, dim: int, n: int, norm: Any) -> Any:
    """``fft_r2c`` 的反变换，结果长 ``n``；首项与（``n`` 为偶数时的）末项的虚部不算。"""
    return np.fft.irfft(x, n, axis=dim, norm=norm).astype(x.real.dtype, copy=False)
