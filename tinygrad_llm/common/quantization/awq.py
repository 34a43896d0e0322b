"""AWQ 式的放缩：输入里数值大的通道，先把权重的那一列放大再舍入（Lin 等，2023）。

流入：共用一路输入的几个矩阵与这路输入的统计；流出：每个输入通道放大几倍。下一个文件：``storage.py``。

一列放大 s 倍、这一路输入缩小 s 倍，乘积不变；而舍入的误差随输入一起缩小了 s 倍，只要这一列没有把整组的刻度撑大。
缩小 s 倍由前一层代劳，不必真的去除：归一化的权重除以 s，或 SwiGLU 里 ``c_fc`` 的那一行除以 s。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .gptq import output_error
from .rounding import dequantize, quantize
from .scheme import Scheme

__all__ = ["channel_scales"]

Array = npt.NDArray[Any]
POWERS = tuple(i / 8 for i in range(8))
"""试几个幂次：0 是不放缩，1 是按输入的大小放缩。"""
LIMIT = 16.0
"""最多放大或缩小几倍。"""


def channel_scales(matrices: Sequence[Array], gram: Array, schemes: Sequence[Scheme]) -> Array:
    """每个输入通道放大几倍：``s = (均方根)^α``，α 取使输出误差最小的一个。

    Args:
        matrices: 共用这一路输入的几个 ``(out, in)``。
        gram: ``(in, in)`` 的 ``Σ x xᵀ``。
        schemes: 各自的存法。

    Returns:
        ``(in,)`` 的正数；放缩没有用处时全为 1。
    """
    size = np.sqrt(np.maximum(np.diag(gram), 0))
    size = np.maximum(size / max(float(size.mean()), np.finfo(np.float64).tiny), 1e-4)
    best, lowest = np.ones(len(gram), np.float32), np.inf
    for power in POWERS:
        scale = size**power
        scale = np.clip(scale / np.exp(np.log(scale).mean()), 1 / LIMIT, LIMIT).astype(np.float32)
        error = 0.0
        for w, scheme in zip(matrices, schemes, strict=True):
            error += output_error(w, dequantize(quantize(w * scale, scheme)) / scale, gram) ** 2
        if error < lowest:
            best, lowest = scale, error
    return best
