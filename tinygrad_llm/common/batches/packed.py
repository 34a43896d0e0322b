"""打包好的行：照着计划，从一长串 id 里取出几段拼成一行。

流入：一串 id 与 ``packing.py`` 的计划；流出：可以打乱、可以混合的样本。
y 总是原序列里的下一个 token：一篇文档的最后一个 token 预测下一篇的开头，即「到此为止」。下一个文件：``supervised.py``。
"""

from __future__ import annotations

import numpy as np

from tinygrad_llm.common.batches.masks import positions
from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.batches.packing import Plan
from tinygrad_llm.common.batches.stream import IGNORE_INDEX, Batch, Segments, Shuffled
from tinygrad_llm.common.batches.tokens import Tokens

__all__ = ["Isolated", "Packed", "ramps"]


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
        self._tokens, self._targets, self._pad = tokens, targets, pad

    def take(self, samples: Numbers) -> Batch:
        """各个序号的行：x 与 y，形状 (B, T)，int64。"""
        starts, lengths, places, _, filled = self._pieces(samples)
        x, y = np.empty((samples.size, self.context), np.int64), np.empty((samples.size, self.context), np.int64)
        self._tokens.copy(starts, lengths, x.reshape(-1), places)
        if self._targets is None:  # y 就是右邻的 x，只有各段的最后一个要另取
            y[:, :-1] = x[:, 1:]
            y.reshape(-1)[places + lengths - 1] = self._tokens.at(starts + lengths)
        else:
            self._targets.copy(starts, lengths, y.reshape(-1), places)
        for row in np.flatnonzero(filled < self.context).tolist():
            x[row, filled[row] :], y[row, filled[row] :] = self._pad, IGNORE_INDEX
        return x, y

    def segments(self, samples: Numbers) -> Segments:
        """各个位置属于行内的第几段，填充处为 -1，形状 (B, T)。"""
        _, lengths, places, nth, _ = self._pieces(samples)
        segments = np.full((samples.size, self.context), -1, np.int32)
        segments.reshape(-1)[np.repeat(places, lengths) + ramps(lengths)] = np.repeat(nth, lengths)
        return segments

    def _pieces(self, samples: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
        """各行依次由哪几段组成。

        Returns:
            各段的起点、长度、在摊平的 (B·T,) 里的位置、是行内的第几段，形状都是 (P,)；各行的 token 数，形状 (B,)。
        """
        ends = self.plan.row_ends
        first = np.where(samples > 0, ends[samples - 1], 0)
        counts = ends[samples] - first  # (B,)，各行的段数
        nth = ramps(counts)
        pieces = np.repeat(first, counts) + nth
        lengths = self.plan.lengths[pieces].astype(np.int64)
        before = np.cumsum(lengths) - lengths  # 不算填充时，各段的位置
        heads = before[np.cumsum(counts) - counts]  # (B,)，各行第一段的
        filled = np.append(heads[1:], lengths.sum()) - heads
        places = before + np.repeat(np.arange(samples.size) * self.context - heads, counts)
        return self.plan.starts[pieces], lengths, places, nth, filled


class Isolated:
    """打包好的样本排成批次流，另带每个位置所在的那一段从哪里开始：模型据此不让注意力越过去，位置重新数起。

    Attributes:
        rows: 打乱了的行。
        batch_size: 所有进程合起来的批大小。
    """

    def __init__(self, samples: Packed, *, batch_size: int, seed: int | None) -> None:
        self.rows, self.batch_size = Shuffled(samples, batch_size=batch_size, seed=seed), batch_size

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Numbers, Numbers, Numbers]:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份：x、y 与各段的起点，形状都是 (batch_size // world, T)，int64。"""
        x, y = self.rows.batch(step, rank, world)
        begins = np.arange(x.shape[1]) - positions(self.rows.segments(step, rank, world))
        return x, y, begins

    def width(self, step: int) -> int:
        """第 ``step`` 步的行有多长：步步一样。"""
        return self.rows.samples.context

    def epochs(self, step: int) -> float:
        """``step`` 步之后走过了几轮。"""
        return self.rows.epochs(step)


def ramps(lengths: Numbers) -> Numbers:
    """依次 0 … n-1，每个长度一段，首尾相接；形状 (总长,)。"""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if ends.size else 0) - np.repeat(ends - lengths, lengths)
