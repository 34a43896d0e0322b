"""成袋地查表：每袋的行相加、取平均或逐列取最大，不必先排成一张大表。

流入：整数下标与每袋的起点；流出：``(B, D)``。逐个查表的 ``embedding`` 在 ``lookups.py``。
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.creation import empty
from tinygrad_llm.nn import init
from tinygrad_llm.nn.lookups import embedding
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """成袋地查表。

    Args:
        input: 下标，``(B, N)`` 每行一袋，或 ``(N,)`` 首尾相接的若干袋。
        weight: ``(V, D)``。
        offsets: ``(B,)`` 每袋的起点，只用于一维的 ``input``。
        max_norm: 用到的行，范数超过它的先就地缩到它。
        norm_type: ``max_norm`` 用哪种 p-范数。
        scale_grad_by_freq: 每行的梯度除以它出现的次数。
        mode: ``"sum"``、``"mean"`` 或 ``"max"``。
        sparse: 只能是 ``False``，这里没有稀疏的梯度。
        per_sample_weights: 与 ``input`` 同形状的权重，只用于 ``"sum"``。
        include_last_offset: ``offsets`` 的末项是最后一袋的终点。
        padding_idx: 等于它的下标不计入袋里。

    Returns:
        ``(B, D)``，空袋为 0。

    Raises:
        ValueError: 形状不合，或未知的 ``mode``。
        NotImplementedError: 要稀疏的梯度，或在 ``"sum"`` 之外给了权重。
        RuntimeError: 下标或起点越界，或类型不对。
    """
    if weight.array.dtype == np.int64 and input.array.dtype.kind == "f":  # torch 的旧次序，仍然认得
        warnings.warn(
            "embedding_bag(weight, input, ...) is deprecated, use embedding_bag(input, weight, ...)", stacklevel=2
        )
        input, weight = weight, input
    if sparse:
        raise NotImplementedError("embedding_bag: sparse gradients are not offered")
    ids, starts = _bags(input, weight, offsets, mode, per_sample_weights)
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights is only supported for mode='sum', got {mode!r}")
    _check_ids(ids, starts, len(weight.array), padding_idx)
    count = len(starts) - include_last_offset
    bag = np.searchsorted(starts, np.arange(len(ids)), side="right") - 1
    keep = bag < count
    if padding_idx is not None:
        keep &= ids != padding_idx % len(weight.array)
    rows = embedding(Tensor.wrap(ids), weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    if not keep.all():
        bag, rows = bag[keep], rows[np.flatnonzero(keep)]
    if mode == "max":
        return _largest(rows, bag, count)
    total: Tensor = apply(sh.scatter_rows, (rows, bag), {"rows": count})
    if mode == "sum":
        return total
    sizes = np.maximum(np.bincount(bag, minlength=count), 1).astype(rows.array.dtype)
    return total / Tensor.wrap(sizes[:, None])  # type: ignore[no-any-return]


def _bags(
    input: Tensor, weight: Tensor, offsets: Tensor | None, mode: str, samples: Tensor | None
) -> tuple[Array, Array]:
    """首尾相接的下标，以及每袋的起点。"""
    ids = input.array
    if samples is not None and samples.array.shape != ids.shape:
        raise ValueError(f"embedding_bag: per_sample_weights {samples.array.shape} must have input's shape {ids.shape}")
    if weight.array.ndim != 2:
        raise ValueError(f"embedding_bag: weight has to be a 2D Tensor, got shape {weight.array.shape}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, got {mode!r}")
    if ids.ndim not in (1, 2) or (ids.ndim == 2) != (offsets is None):
        raise ValueError(f"embedding_bag: a 1D input needs offsets, a 2D one must not have them; got {ids.shape}")
    if offsets is None:
        return ids.reshape(-1), np.arange(len(ids)) * ids.shape[1]
    if offsets.array.ndim != 1:
        raise ValueError(f"embedding_bag: offsets has to be a 1D Tensor, got shape {offsets.array.shape}")
    return ids, offsets.array


def _check_ids(ids: Array, starts: Array, rows: int, padding_idx: int | None) -> None:
    if ids.dtype not in (np.int32, np.int64) or starts.dtype not in (np.int32, np.int64):
        raise RuntimeError(
            f"embedding_bag: indices and offsets must be int32 or int64, got {ids.dtype}, {starts.dtype}"
        )
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        raise RuntimeError(f"embedding_bag: an index is not in the valid range [0, {rows}): {ids.min()} … {ids.max()}")
    if starts.size and (starts[0] != 0 or starts[-1] > len(ids) or (np.diff(starts) < 0).any()):
        raise RuntimeError(f"embedding_bag: offsets must rise from 0 to at most {len(ids)}, got {starts.tolist()}")
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise RuntimeError(f"embedding_bag: padding_idx {padding_idx} is not in [-{rows}, {rows})")


def _largest(rows: Tensor, bag: Array, count: int) -> Tensor:
    """每袋逐列取最大；并列取第一行，空袋为 0。"""
    width = rows.array.shape[1]
    winners = np.zeros((count, width), np.int64)
    edges = np.searchsorted(bag, np.arange(count + 1))
    for i, (start, stop) in enumerate(pairwise(edges)):
        if stop > start:
            winners[i] = start + rows.array[start:stop].argmax(0)
    filled = np.flatnonzero(edges[1:] > edges[:-1])
    best = rows[winners[filled], np.arange(width)]
    return apply(sh.scatter_rows, (best, filled), {"rows": count})  # type: ignore[no-any-return]


class EmbeddingBag(Module):
    """成袋查表的层，参数同 ``torch.nn.EmbeddingBag``。

    Attributes:
        weight: ``(V, D)``。
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.mode, self.sparse, self.include_last_offset = mode, sparse, include_last_offset
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise AssertionError(f"padding_idx {padding_idx} must be within num_embeddings {num_embeddings}")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        if _weight is None:
            self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
            self.reset_parameters()
        else:
            if _weight.array.shape != (num_embeddings, embedding_dim):
                raise AssertionError(f"weight {_weight.array.shape} is not ({num_embeddings}, {embedding_dim})")
            self.weight = Parameter(_weight)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """用现成的表造一层；``freeze`` 时不训练。

        Raises:
            AssertionError: 表不是二维。
        """
        if embeddings.array.ndim != 2:
            raise AssertionError(f"Embeddings parameter is expected to be 2-dimensional, got {embeddings.array.shape}")
        settings = (max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset, padding_idx)
        layer = cls(embeddings.array.shape[0], embeddings.array.shape[1], *settings)
        layer.weight.requires_grad_(not freeze)
        return layer

    def reset_parameters(self) -> None:
        """标准正态；``padding_idx`` 那一行为 0。"""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """下标 ``(B, N)`` 或 ``(N,)`` → ``(B, D)``。"""
        norm = (self.max_norm, self.norm_type, self.scale_grad_by_freq)
        rest = (per_sample_weights, self.include_last_offset, self.padding_idx)
        return embedding_bag(input, self.weight, offsets, *norm, self.mode, self.sparse, *rest)

    def extra_repr(self) -> str:
        """打印形状与非缺省的设定。"""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        text += "" if self.max_norm is None else f", max_norm={self.max_norm!r}"
        text += "" if self.norm_type == 2 else f", norm_type={self.norm_type!r}"
        text += f", scale_grad_by_freq={self.scale_grad_by_freq!r}" if self.scale_grad_by_freq else ""
        text += f", mode={self.mode!r}"
        return text + ("" if self.padding_idx is None else f", padding_idx={self.padding_idx!r}")
