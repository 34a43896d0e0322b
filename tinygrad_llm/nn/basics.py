"""全连接、查表、独热：带权重的层与下标打交道的函数。

流入：Tensor；流出：Tensor。
"""

from __future__ import annotations

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.creation import where
from tinygrad_llm.ops import linear as linear_ops
from tinygrad_llm.ops import shape
from tinygrad_llm.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y = x Wᵀ + b``。

    Args:
        input: ``(..., in)``。
        weight: ``(out, in)``。
        bias: ``(out,)``。

    Returns:
        ``(..., out)``。

    Raises:
        RuntimeError: 内侧长度或 dtype 不符。
    """
    x, w = input.array, weight.array
    if x.dtype != w.dtype:
        raise RuntimeError(f"linear: input is {input.dtype}, weight is {weight.dtype}; they must have the same dtype")
    if x.ndim == 0 or x.shape[-1] != w.shape[-1]:
        raise RuntimeError(f"linear: input {x.shape} does not fit weight {w.shape}: last dimensions must be equal")
    return apply(linear_ops.linear, (input, weight, bias), {})  # type: ignore[no-any-return]


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """查表。

    Args:
        input: 任意形状的整数下标。
        weight: ``(V, D)``。
        padding_idx: 该行不接收梯度。

    Returns:
        ``input.shape + (D,)``。

    Raises:
        IndexError: 下标越界；消息里写明越界的值与表长。
        RuntimeError: 下标不是整数。
    """
    ids = input.array
    if ids.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: indices must be integers, got {input.dtype}")
    rows = len(weight.array)
    if ids.size and (int(ids.max()) >= rows or int(ids.min()) < 0):
        bad = int(ids.max()) if int(ids.max()) >= rows else int(ids.min())
        raise IndexError(f"index out of range in self: id {bad} is not in [0, {rows})")
    if padding_idx is not None:
        keep = Tensor.wrap(np.arange(rows) != padding_idx % rows)
        weight = where(keep.unsqueeze(1), weight, weight.detach())
    return apply(shape.embedding, (weight, input), {})  # type: ignore[no-any-return]


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """整数 → 独热。

    Raises:
        RuntimeError: 类别为负，或不小于 ``num_classes``。
    """
    ids = tensor.array
    if ids.size and (int(ids.min()) < 0 or 0 <= num_classes <= int(ids.max())):
        raise RuntimeError(f"one_hot: class values must be in [0, {num_classes}), got {ids.min()} … {ids.max()}")
    n = int(tensor.array.max()) + 1 if num_classes == -1 else num_classes
    return Tensor.wrap((tensor.array[..., None] == np.arange(n)).astype(np.int64))
