"""标准化：LayerNorm 与 RMSNorm 的函数。

流入：Tensor；流出：同形状的 Tensor。
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.shaping import shaped
from tinygrad_llm.ops import norm
from tinygrad_llm.ops.bfloat16 import is_low, same_dtype
from tinygrad_llm.tensor import Tensor


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """沿最后几轴标准化。

    Args:
        input: 末尾形状须等于 ``normalized_shape``。
        normalized_shape: 参与标准化的末尾形状。
        weight: 缩放，形状同 ``normalized_shape``。
        bias: 平移，形状同 ``normalized_shape``。
        eps: 加在方差上的小数。

    Returns:
        与 ``input`` 同形状。

    Raises:
        RuntimeError: 末尾形状不符，或缩放、平移的 dtype 不同（16 位的输入可以配 float32）。
    """
    rows, flat = _over_last(input, normalized_shape, "layer_norm")
    _check_affine(input, weight, bias)
    if not rows.array.shape[-1]:
        return input.clone()  # type: ignore[no-any-return]
    w, b = (None if p is None else p.reshape(-1) if flat else p for p in (weight, bias))
    y = apply(norm.layer_norm, (rows, w, b), {"eps": eps})
    return shaped(y, input.array.shape)  # type: ignore[no-any-return]


def _check_affine(input: Tensor, *parameters: Tensor | None) -> None:
    dtype = input.array.dtype
    for p in parameters:
        if p is None or p.array.dtype is dtype or same_dtype(p.array.dtype, dtype):
            continue
        if not is_low(dtype) or p.array.dtype != np.float32:
            raise RuntimeError(f"layer_norm: input is {input.dtype}, weight or bias is {p.dtype}; they must be equal")


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """沿最后几轴除以均方根；``eps`` 缺省为计算精度的机器精度。"""
    rows, flat = _over_last(input, normalized_shape, "rms_norm")
    if not rows.array.shape[-1]:
        return input.clone()  # type: ignore[no-any-return]
    w = None if weight is None else weight.reshape(-1) if flat else weight
    wide = np.float64 if input.array.dtype == np.float64 else np.float32  # 16 位的输入在 float32 里算
    small = float(np.finfo(wide).eps) if eps is None else eps
    y = apply(norm.rms_norm, (rows, w), {"eps": small})
    return shaped(y, input.array.shape)  # type: ignore[no-any-return]


def _over_last(x: Tensor, normalized_shape: Sequence[int], name: str) -> tuple[Tensor, bool]:
    """融合算子只认最后一轴；``normalized_shape`` 有几轴就先并成一根。"""
    wanted = tuple(normalized_shape)
    if not wanted or x.array.shape[-len(wanted) :] != wanted:
        raise RuntimeError(
            f"{name}: normalized_shape={list(wanted)} does not match the end of input shape {x.array.shape}"
        )
    if len(wanted) == 1:
        return x, False
    return x.reshape(*x.array.shape[: -len(wanted)], math.prod(wanted)), True
