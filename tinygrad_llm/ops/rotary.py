"""旋转位置编码。

流入与流出都是数组（或 Tensor），形状 ``(..., T, D)``。下一站：``attention.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array, op


@op("y = R(θ) x", x=lambda g, cos, sin: rotary(g, cos, -sin))
def rotary(x: Array, cos: Array, sin: Array) -> Any:
    """旋转位置编码：把 ``(xᵢ, xᵢ₊ᴅ/₂)`` 当作平面上的点旋转 ``θ``。

    旋转是正交变换，逆就是转置，所以反向是「往回转同样的角度」。

    Args:
        x: ``(..., T, D)``。
        cos: ``(T, D/2)`` 或可与之广播。
        sin: 同 ``cos``。

    Returns:
        与 ``x`` 同形状。
    """
    half = x.shape[-1] // 2
    y = np.empty_like(x)  # 内存次序随 x：由 (B, T, H, D) 转置来的，转回去时不必复制
    first, second = x[..., :half], x[..., half:]
    np.multiply(first, cos, out=y[..., :half])
    y[..., :half] -= second * sin
    np.multiply(second, cos, out=y[..., half:])
    y[..., half:] += first * sin
    return y
