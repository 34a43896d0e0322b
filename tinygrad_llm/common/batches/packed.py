"""打包好的行：照着计划，从一长串 id 里取出几段拼成一行。

流入：一串 id 与 ``packing.py`` 的计划；流出：可以打乱、可以混合的样本。
y 总是原序列里的下一个 token：一篇文档的最后一个 token 预测下一篇的开头，即「到此为止」。下一个文件：``supervised.py``。
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.batches.packing import Plan
from tinygrad_llm.common.batches.stream import IGNORE_INDEX, Batch, Segments
from tinygrad_llm.common.batches.tokens import Tokens

__all__ = ["Packed", "ramps"]


class Packed:
    """打包好的样本。

    Attributes:
        plan: 计划。
        size: 行数。
        context: 行长 T。
    """

    def __init__(self, tokens: Tokens, plan: Plan, *, pad: int, targets: Tokens | None = None) -> None:
        """记下三样东西，不复制。

        Args:
            tokens: 全部 token；没有 ``targets`` 时，在计划用到的最后一个之后至少还有一个。
            plan: 计划。
            pad: 填充处的 x；那里 y 是 ``IGNORE_INDEX``。
            targets: 与 ``tokens`` 逐位对应的 y；缺省为下一个 token。
        """
        self.plan, self.size, self.context = plan, plan.rows, plan.context
        self._x, self._y, self._shift = tokens, targets or tokens, 0 if targets else 1
        self._pad = pad

    def take(self, samples: Numbers) -> Batch:
        """各个序号的行：x 与 y，形状 (B, T)，int64。"""
        positions, real, _ = self._layout(samples)
        found_x, found_y = self._x.at(positions), self._y.at(positions + self._shift)
        shape = (samples.size, self.context)
        if real is None:  # 没有填充：最常见，不必按掩码填
            return found_x.astype(np.int64).reshape(shape), found_y.astype(np.int64).reshape(shape)
        x, y = np.full(shape, self._pad, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
        x[real], y[real] = found_x, found_y
        return x, y

    def segments(self, samples: Numbers) -> Segments:
        """各个位置属于行内的第几段，填充处为 -1，形状 (B, T)。"""
        _, real, nth = self._layout(samples)
        if real is None:
            return nth.reshape(samples.size, self.context)
        segments = np.full((samples.size, self.context), -1, np.int32)
        segments[real] = nth
        return segments

    def _layout(self, samples: Numbers) -> tuple[Numbers, npt.NDArray[np.bool_] | None, Segments]:
        """各行依次由原序列的哪些位置组成。

        Returns:
            真的 token 在原序列里的位置，摊平成一维；它们在 (B, T) 里占哪些格子，占满时为 ``None``；各属于行内的第几段。
        """
        ends = self.plan.row_ends
        first = np.where(samples > 0, ends[samples - 1], 0)
        counts = ends[samples] - first  # (B,)，各行的段数
        nth = ramps(counts)
        pieces = np.repeat(first, counts) + nth
        lengths = self.plan.lengths[pieces].astype(np.int64)
        positions = np.repeat(self.plan.starts[pieces], lengths) + ramps(lengths)
        segments = np.repeat(nth.astype(np.int32), lengths)
        if positions.size == samples.size * self.context:
            return positions, None, segments
        filled = np.bincount(np.repeat(np.arange(samples.size), counts), lengths, minlength=samples.size)
        return positions, np.arange(self.context) < filled[:, None], segments


def ramps(lengths: Numbers) -> Numbers:
    """依次 0 … n-1，每个长度一段，首尾相接；形状 (总长,)。"""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if ends.size else 0) - np.repeat(ends - lengths, lengths)
