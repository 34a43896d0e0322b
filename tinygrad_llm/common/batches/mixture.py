"""混合：几个来源按权重交替，任何时候各自的份额都不偏离一个样本，每个来源自己的一轮仍是恰好一轮。

流入：几组样本与权重；流出：与单一来源相同的 ``batch(step, rank, world)``。
次序不是掷骰子，而是主席轮选问题（chairman assignment problem）的解：Tijdeman, Discrete Mathematics 32 (1980) 323-330。
下一个文件：``prefetch.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.batches.order import Numbers, drawn, share
from tinygrad_llm.common.batches.stream import Batch, Samples, Segments, check_stream
from tinygrad_llm.common.errors import UserError

__all__ = ["MAX_PERIOD", "Mixture", "Source", "schedule", "whole_weights"]

MAX_PERIOD = 100_000
"""次序的周期的上限；权重约成整数后之和超过它，就按它取整。"""


@dataclass(frozen=True)
class Source:
    """混合里的一个来源。

    Attributes:
        name: 报告里的名字。
        samples: 样本；各来源的 ``context`` 相同。
        weight: 权重，正数；只看比例。
    """

    name: str
    samples: Samples
    weight: float | Fraction = 1


class Mixture:
    """几个来源的批次流。

    Attributes:
        sources: 来源。
        batch_size: 所有进程合起来的批大小。
        shares: 各来源在一个周期里的样本数，互质的整数。
        period: 周期，即 ``shares`` 之和。
    """

    def __init__(self, sources: Sequence[Source], *, batch_size: int, seed: int | None) -> None:
        """排好一个周期的次序。

        Args:
            sources: 来源，至少一个。
            batch_size: 所有进程合起来的批大小。
            seed: 打乱用的种子；``None`` 表示各来源都不打乱。每个来源有自己的排列。

        Raises:
            UserError: 没有来源，权重不是正数，或各来源的长度不同。
        """
        check_stream(batch_size, seed)
        contexts = {source.samples.context for source in sources}
        if len(contexts) != 1:
            raise UserError(
                f"a mixture needs sources of one context, got {sorted(contexts)}", fix="use the same context for all"
            )
        self.sources, self.batch_size, self._seed = list(sources), batch_size, seed
        self.shares: list[int] = whole_weights([source.weight for source in sources])
        self.period: int = sum(self.shares)
        self._choice, self._rank = schedule(self.shares)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份；约定与 ``Shuffled.batch`` 相同。"""
        choice, samples = self.chosen(step, rank, world)
        shape = (choice.size, self.sources[0].samples.context)
        x, y = np.empty(shape, np.int64), np.empty(shape, np.int64)
        for k in np.unique(choice).tolist():
            here = choice == k
            x[here], y[here] = self.sources[k].samples.take(samples[here])
        return x, y

    def segments(self, step: int, rank: int = 0, world: int = 1) -> Segments:
        """与 ``batch`` 同一份数据的文档编号。"""
        choice, samples = self.chosen(step, rank, world)
        segments = np.empty((choice.size, self.sources[0].samples.context), np.int32)
        for k in np.unique(choice).tolist():
            here = choice == k
            segments[here] = self.sources[k].samples.segments(samples[here])
        return segments

    def chosen(self, step: int, rank: int = 0, world: int = 1) -> tuple[Numbers, Numbers]:
        """这一份各行取自哪个来源、其中哪个样本，形状都是 (batch_size // world,)。"""
        first, rows = share(step, rank, world, self.batch_size)
        periods, offset = divmod(first, self.period)
        passed, slots = np.divmod(offset + np.arange(rows), self.period)
        choice = self._choice[slots].astype(np.int64)
        samples = np.empty(rows, np.int64)
        for k in np.unique(choice).tolist():
            here = choice == k
            draws = passed[here] * self.shares[k] + self._rank[slots[here]]
            size = self.sources[k].samples.size
            samples[here] = drawn(periods * self.shares[k], draws, size, self._seed, stream=k)
        return choice, samples

    def counts(self, step: int) -> list[int]:
        """前 ``step`` 步从各来源取了多少个样本。"""
        periods, offset = divmod(step * self.batch_size, self.period)
        inside = np.bincount(self._choice[:offset], minlength=len(self.shares)).tolist()
        return [periods * p + extra for p, extra in zip(self.shares, inside, strict=True)]

    def epochs(self, step: int) -> list[float]:
        """前 ``step`` 步把各来源走过了几轮。"""
        return [count / source.samples.size for count, source in zip(self.counts(step), self.sources, strict=True)]


def whole_weights(weights: Sequence[float | Fraction]) -> list[int]:
    """权重 → 互质的正整数，比例不变；之和超过 ``MAX_PERIOD`` 时取整到它（最大余数法），偏差不到 1 / ``MAX_PERIOD``。

    Args:
        weights: 正数。十进制小数按写出来的样子理解：0.1 就是十分之一。

    Returns:
        与 ``weights`` 等长的整数，每个至少是 1。

    Raises:
        UserError: 没有权重，或有的不是有限的正数。
    """
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise UserError(f"a weight must be a finite number above 0, got {weight}", fix="drop that source")
    if not weights or len(weights) > MAX_PERIOD // 10:
        raise UserError(f"a mixture needs 1 to {MAX_PERIOD // 10} sources, got {len(weights)}")
    exact = [Fraction(str(weight)) for weight in weights]
    scale = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    whole = [number // gcd(*whole) for number in whole]
    total = sum(whole)
    if total <= MAX_PERIOD:
        return whole
    ideal = [Fraction(number * MAX_PERIOD, total) for number in whole]
    floors = [max(int(number), 1) for number in ideal]
    by_remainder = sorted(range(len(ideal)), key=lambda k: (int(ideal[k]) - ideal[k], k))
    for k in by_remainder[: max(MAX_PERIOD - sum(floors), 0)]:
        floors[k] += 1
    return [number // gcd(*floors) for number in floors]


def schedule(shares: Sequence[int]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
    """一个周期里的次序：前 n 个里第 k 个来源的个数与 n·w_k 之差总是小于 1。

    每一步里，先看谁再不轮到就要超出界限（最后期限最早），又没有提前太多；Tijdeman 证明了这样总走得下去，
    而且差不超过 1 - 1/(2K - 2)，是可能的最小值。全部是整数运算。

    Args:
        shares: 各来源的份额，正整数。

    Returns:
        周期里每一位是哪个来源，与它是该来源的第几次，形状都是 (周期,)。
    """
    sources, period = len(shares), sum(shares)
    choice, ranks = np.zeros(period, np.uint16), np.zeros(period, np.int32)
    if sources == 1:
        return choice, np.arange(period, dtype=np.int32)
    unit = 2 * sources - 2  # 以 1/(unit·period) 为单位，下面的量都成了整数
    step = [unit * p for p in shares]  # 每过一步，应得的份额长这么多
    least, most, one = period, (unit - 1) * period, unit * period
    owed = [0] * sources  # 应得的减去已得的
    taken = [0] * sources
    for n in range(period):
        owed = [debt + more for debt, more in zip(owed, step, strict=True)]
        # 欠得不少于 1/unit 的才可以轮到；其中选「再过几步欠账就超过 1 - 1/unit」最早的
        _, best = min(((most - debt) // step[k], k) for k, debt in enumerate(owed) if debt >= least)
        owed[best] -= one
        choice[n], ranks[n] = best, taken[best]
        taken[best] += 1
    return choice, ranks
