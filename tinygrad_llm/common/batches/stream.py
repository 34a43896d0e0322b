"""批次流：把「样本」按打乱的次序排成一步一步的批次。

流入：一组可按序号取的样本；流出：``batch(step, rank, world)``，它是参数的纯函数，
断点续训只需要一个整数，几个进程合起来等于一个进程。样本从哪里来见 ``windows.py``、``packing.py``。
下一个文件：``mixture.py``（几个来源按比例混合）。
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.batches.order import Numbers, drawn, share
from tinygrad_llm.common.errors import UserError

__all__ = ["IGNORE_INDEX", "Batch", "Samples", "Segments", "Shuffled", "Stream"]

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Segments = npt.NDArray[np.int32]

IGNORE_INDEX = -100  # 与 torch.nn.functional.cross_entropy 的默认值相同


class Samples(Protocol):
    """一组等长的样本，可按序号取。"""

    @property
    def size(self) -> int:
        """样本数，即一轮的长度。"""

    @property
    def context(self) -> int:
        """样本的长度 T。"""

    def take(self, samples: Numbers) -> Batch:
        """各个序号的样本：x 与 y，形状都是 (B, T)，int64；不计损失处 y 为 ``IGNORE_INDEX``。"""

    def segments(self, samples: Numbers) -> Segments:
        """各个位置属于行内的第几篇文档，形状 (B, T)，填充处为 -1；注意力不该跨过它的变化处。"""


class Stream(Protocol):
    """批次流：单一来源的与混合的都是。"""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[npt.NDArray[Any], ...]:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份；约定见 ``Shuffled.batch``，方法可以另有几个数组。"""


class Shuffled:
    """一个来源，每轮打乱一次；每轮每个样本恰好出现一次。

    Attributes:
        samples: 样本。
        batch_size: 所有进程合起来的批大小。
    """

    def __init__(self, samples: Samples, *, batch_size: int, seed: int | None) -> None:
        """检查参数。

        Args:
            samples: 样本，至少一个。
            batch_size: 所有进程合起来的批大小。
            seed: 打乱用的种子，在 [0, 2^64) 内；``None`` 表示不打乱。

        Raises:
            UserError: 参数越界。
        """
        check_stream(batch_size, seed)
        self.samples, self.batch_size, self._seed = samples, batch_size, seed

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。

        Args:
            step: 步号，从 0 起；一轮用完自动进入下一轮。
            rank: 进程号，在 [0, world) 内。
            world: 进程数，须整除批大小；各份按 rank 首尾相接，就是 world = 1 时的批次。

        Returns:
            x 与 y，形状都是 (batch_size // world, context)，int64。

        Raises:
            UserError: 参数越界，或批大小不能平分。
        """
        return self.samples.take(self.chosen(step, rank, world))

    def segments(self, step: int, rank: int = 0, world: int = 1) -> Segments:
        """与 ``batch`` 同一份数据的文档编号，形状 (batch_size // world, context)。"""
        return self.samples.segments(self.chosen(step, rank, world))

    def chosen(self, step: int, rank: int = 0, world: int = 1) -> Numbers:
        """这一份用了哪些样本，形状 (batch_size // world,)。"""
        first, rows = share(step, rank, world, self.batch_size)
        return drawn(first, np.arange(rows), self.samples.size, self._seed)

    def epochs(self, step: int) -> float:
        """``step`` 步之后走过了几轮。"""
        return step * self.batch_size / self.samples.size


def check_stream(batch_size: int, seed: int | None) -> None:
    """检查批大小与种子。

    Raises:
        UserError: 越界。
    """
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, got {batch_size}", fix="use a positive number")
    if seed is not None and not 0 <= seed < 2**64:
        raise UserError(f"seed must lie in [0, 2**64), got {seed}", fix="use a non-negative seed")
