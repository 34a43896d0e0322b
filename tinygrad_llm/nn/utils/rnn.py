"""长短不一的序列：补齐、截开，以及按时刻排紧的 ``PackedSequence``。

流入：一串首轴长度不同的张量；流出：补齐的张量或排紧的序列，都可导。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.creation import as_tensor, full
from tinygrad_llm.joining import cat, stack
from tinygrad_llm.tensor import Tensor


class PackedSequence(NamedTuple):
    """按时刻排紧的一批序列：第 0 时刻的全部样本，接着第 1 时刻仍未结束的样本……

    Attributes:
        data: ``(总长, ...)``。
        batch_sizes: 各时刻还剩几个样本。
        sorted_indices: 由长到短排过时，排好的第几个原来是第几个。
        unsorted_indices: 反过来。
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """换 ``data`` 的 dtype。"""
        return self._replace(data=self.data.to(*args, **kwargs))


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """补到一样长再叠起来。

    Args:
        sequences: 若干 ``(L, ...)``，``L`` 不同，其余的轴相同。
        batch_first: 结果是 ``(B, T, ...)`` 还是 ``(T, B, ...)``。
        padding_value: 补上的数。
        padding_side: 补在右边还是左边。

    Returns:
        补齐的张量，dtype 同第一个序列。

    Raises:
        RuntimeError: 一个也没有，其余的轴不同，或 ``padding_side`` 不认识。
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    parts = list(sequences)
    if not parts:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    first = parts[0]
    for part in parts:
        if part.ndim == 0 or part.shape[1:] != first.shape[1:]:
            raise RuntimeError(f"pad_sequence: sequences of shapes {first.shape} and {part.shape} do not fit together")
    longest = max(part.shape[0] for part in parts)
    return stack(
        [_padded(part.to(first.dtype), longest, padding_value, padding_side) for part in parts], not batch_first
    )


def _padded(part: Tensor, longest: int, value: float, side: str) -> Tensor:
    missing = longest - part.shape[0]
    if not missing:
        return part
    filler = full((missing, *part.shape[1:]), value, dtype=part.dtype)
    return cat([part, filler] if side == "right" else [filler, part])


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """``pad_sequence`` 的逆：按长度截开。"""
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(length)] for row, length in zip(batch, lengths, strict=True)]


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """补齐的一批 → 按时刻排紧。

    Args:
        input: ``(T, B, ...)``，``batch_first`` 时为 ``(B, T, ...)``。
        lengths: 各样本的长度。
        batch_first: 首轴是不是样本。
        enforce_sorted: 样本已经由长到短；否则先排序。

    Returns:
        排紧的序列。

    Raises:
        RuntimeError: 长度的个数不对、没有排好，或不是正数。
    """
    sizes = np.asarray(as_tensor(lengths).array, np.int64)
    steps = input.transpose(0, 1) if batch_first else input
    if sizes.ndim != 1:
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got {sizes.ndim}D")
    if len(sizes) != steps.shape[1]:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, got {len(sizes)} and {steps.shape[1]}")
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes, steps = sizes[order], steps[:, Tensor.wrap(order)]
    if (np.diff(sizes) > 0).any():
        raise RuntimeError("`lengths` array must be sorted in decreasing order when `enforce_sorted` is True")
    if not sizes.size or sizes[-1] <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0")
    if sizes[0] > steps.shape[0]:
        raise RuntimeError(
            f"pack_padded_sequence: length {sizes[0]} is more than the {steps.shape[0]} steps of the input"
        )
    counts = (sizes[:, None] > np.arange(sizes[0])).sum(0)
    data = cat([steps[t, :count] for t, count in enumerate(counts.tolist())])
    indices = None if order is None else Tensor.wrap(order)
    return PackedSequence(data, Tensor.wrap(counts), indices, invert_permutation(indices))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """排紧的序列 → 补齐的一批与各样本的长度。

    Raises:
        ValueError: ``total_length`` 比最长的序列还短。
    """
    counts = sequence.batch_sizes.array
    if total_length is not None and total_length < len(counts):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {len(counts)}"
        )
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    lengths = (np.arange(counts[0]) < counts[:, None]).sum(0)
    rows = [sequence.data[Tensor.wrap(starts[:n] + i)] for i, n in enumerate(lengths.tolist())]
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices.array
        rows, lengths = [rows[i] for i in back.tolist()], lengths[back]
    longest = len(counts) if total_length is None else total_length
    padded = [_padded(row, longest, padding_value, "right") for row in rows]
    return stack(padded, 0 if batch_first else 1), Tensor.wrap(lengths)


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """若干长短不一的序列 → 按时刻排紧。"""
    lengths = [sequence.shape[0] for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """``pack_sequence`` 的逆。"""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """排列的逆。"""
    return None if permutation is None else Tensor.wrap(np.argsort(permutation.array))
