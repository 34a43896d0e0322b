"""文档掩码：同一行里装着几篇文档时，谁也不该看见别人。

流入：每个位置属于行内第几篇文档的编号（填充处为 -1）；流出：位置编号、注意力掩码、变长注意力的边界。
三种写法说的是同一件事，模型按自己的注意力实现挑一种。下一个文件：``packing.py``。
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["attention_bias", "attention_mask", "cu_seqlens", "positions", "segments_by_token"]

_Segments = npt.NDArray[np.int32]


def segments_by_token(x: npt.NDArray[np.integer], eot: int) -> _Segments:
    """由文档开头的特殊 token 数出编号：每遇到一个就换一篇。

    Args:
        x: id，形状 (B, T)。
        eot: 每篇文档的第一个 token。

    Returns:
        形状 (B, T)，每行从 0 起不减；行首若接着上一篇文档的后半，那一段也从 0 起。
    """
    counted = np.cumsum(x == eot, axis=1, dtype=np.int32)
    result: _Segments = counted - counted[:, :1]
    return result


def positions(segments: _Segments) -> npt.NDArray[np.int64]:
    """位置编号：每篇文档从 0 重新数起，与单独成行时相同。

    Args:
        segments: 文档编号，形状 (B, T)，同一篇占一段连续的位置。

    Returns:
        形状 (B, T)，int64；填充处也各自从 0 数起。
    """
    index = np.arange(segments.shape[1])
    start = np.where(_begins(segments), index, 0)
    return index - np.maximum.accumulate(start, axis=1)


def attention_mask(segments: _Segments) -> npt.NDArray[np.bool_]:
    """因果且不跨文档：第 i 个位置看得见 j，当且仅当 j ≤ i 且属于同一篇。

    Args:
        segments: 文档编号，形状 (B, T)。

    Returns:
        形状 (B, 1, T, T)，``True`` 表示看得见；填充处看得见前面的填充，于是没有一行是空的，softmax 不会得到 NaN。
    """
    same = segments[:, :, None] == segments[:, None, :]
    visible: npt.NDArray[np.bool_] = np.tril(same)[:, None]
    return visible


def attention_bias(segments: _Segments, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[np.floating]:
    """加在注意力分数上的偏置：看得见处为 0，看不见处为 -inf，形状 (B, 1, T, T)。"""
    return np.where(attention_mask(segments), 0.0, -np.inf).astype(dtype)


def cu_seqlens(segments: _Segments) -> npt.NDArray[np.int32]:
    """变长注意力（如 FlashAttention 的 varlen 接口）要的边界。

    Args:
        segments: 文档编号，形状 (B, T)。

    Returns:
        形状 (段数 + 1,)：整个批次摊平成 (B·T,) 之后，第 i 段是 ``[cu[i], cu[i + 1])``；填充也各自成段。
    """
    return np.append(np.flatnonzero(_begins(segments)), segments.size).astype(np.int32)


def _begins(segments: _Segments) -> npt.NDArray[np.bool_]:
    """每个位置是不是一段的开头，形状 (B, T)。"""
    first = np.ones(segments.shape, bool)
    first[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return first
