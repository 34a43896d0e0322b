"""查表与独热：整数下标 → 向量。

流入：整数 Tensor；流出：表里的行，或独热。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import shape
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """查表。

    Args:
        input: 任意形状的整数下标。
        weight: ``(V, D)``。
        padding_idx: 该行不接收梯度；可以是负数。
        max_norm: 用到的行，范数超过它的先就地缩到它。
        norm_type: ``max_norm`` 用哪种 p-范数。
        scale_grad_by_freq: 每行的梯度除以它在 ``input`` 里出现的次数。
        sparse: 只能是 ``False``；这里的梯度都是稠密的。

    Returns:
        ``input.shape + (D,)``。

    Raises:
        NotImplementedError: 要稀疏的梯度。
        IndexError: 下标越界；消息里写明越界的值与表长。
        RuntimeError: 下标不是 int32 或 int64，或表不是二维。
        AssertionError: ``padding_idx`` 越界。
    """
    if sparse:
        raise NotImplementedError("embedding: gradients are dense here; drop sparse=True")
    ids, table = input.array, weight.array
    if ids.dtype not in (np.int32, np.int64):
        raise RuntimeError(f"embedding: indices must be int32 or int64, got {input.dtype}")
    if table.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, got shape {table.shape}")
    rows = len(table)
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise AssertionError(f"Padding_idx must be within num_embeddings: {padding_idx} is not in [-{rows}, {rows})")
    if ids.size and (int(ids.max()) >= rows or int(ids.min()) < 0):
        bad = int(ids.max()) if int(ids.max()) >= rows else int(ids.min())
        raise IndexError(f"index out of range in self: id {bad} is not in [0, {rows})")
    if max_norm is not None:
        _shrink_rows(weight, ids, max_norm, norm_type)
    found: Tensor = apply(shape.embedding, (weight, input), {})
    if not found.requires_grad or (padding_idx is None and not scale_grad_by_freq):
        return found
    share = _gradient_share(ids, rows, padding_idx, scale_grad_by_freq).astype(table.dtype)
    found.register_hook(lambda g: g * share)
    return found.view(found.array.shape)  # type: ignore[no-any-return]  # 钩子只改流向表的梯度，不改结果自己的


def _gradient_share(ids: Array, rows: int, padding_idx: int | None, by_frequency: bool) -> Array:
    """每个位置的梯度有几成流进表里，``ids.shape + (1,)``。"""
    share = np.ones(ids.shape)
    if by_frequency:
        share /= np.bincount(ids.reshape(-1), minlength=rows)[ids]
    if padding_idx is not None:
        share[ids == padding_idx % rows] = 0
    return share[..., None]


@no_grad
def _shrink_rows(weight: Tensor, ids: Array, max_norm: float, norm_type: float) -> None:
    used = np.unique(ids)
    table = weight.detach()
    length = table[used].norm(norm_type, 1, keepdim=True).array
    factor = np.where(length > max_norm, max_norm / (length + 1e-7), 1).astype(length.dtype)
    table[used] = table[used] * factor


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """整数 → 独热，int64。

    Raises:
        RuntimeError: 不是 int64，类别为负，不小于 ``num_classes``，或空张量没有给 ``num_classes``。
    """
    ids: Any = tensor.array
    if ids.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}")
    if not ids.size and num_classes <= 0:
        raise RuntimeError(f"one_hot: can not infer total number of classes from an empty tensor of shape {ids.shape}")
    if ids.size and (int(ids.min()) < 0 or -1 != num_classes <= int(ids.max())):
        raise RuntimeError(f"one_hot: class values must be in [0, {num_classes}), got {ids.min()} … {ids.max()}")
    n = int(ids.max()) + 1 if num_classes == -1 else num_classes
    return Tensor.wrap((ids[..., None] == np.arange(n)).astype(np.int64, order="C"))
