"""Dropout：训练时随机置 0。

流入：Tensor；流出：同形状的 Tensor。
"""

from __future__ import annotations

import numpy as np

from tinygrad_llm.random import default_generator
from tinygrad_llm.tensor import Tensor


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """以概率 ``p`` 置 0，其余放大 ``1/(1-p)``，使期望不变。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    keep = default_generator.uniform(input.array.shape, np.float64) < 1 - p
    scale = 0.0 if p == 1 else 1 / (1 - p)
    y: Tensor = input * Tensor.wrap(keep.astype(input.array.dtype) * input.array.dtype.type(scale))
    return input.write(y) if inplace else y
