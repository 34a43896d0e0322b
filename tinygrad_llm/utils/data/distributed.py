"""DistributedSampler：把数据集分给几个进程，每个进程只看自己的一份。

流入：数据集与自己是第几个进程；流出：下标。本引擎只有一个进程，缺省就是第 0 个、共 1 个。
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tinygrad_llm.random import Generator
from tinygrad_llm.sampling import randperm
from tinygrad_llm.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """每 ``num_replicas`` 个取一个。

    Args:
        dataset: 数据集。
        num_replicas: 共几个进程。
        rank: 自己是第几个。
        shuffle: 是否打乱；次序由 ``seed`` 与 ``set_epoch`` 决定，各进程相同。
        seed: 种子。
        drop_last: 分不匀时丢掉末尾的，而不是从头补齐。

    Raises:
        ValueError: ``rank`` 不在范围里。
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.num_replicas, self.rank = 1 if num_replicas is None else num_replicas, 0 if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {self.num_replicas - 1}]")
        self.dataset, self.shuffle, self.seed, self.drop_last, self.epoch = dataset, shuffle, seed, drop_last, 0
        n = len(dataset)
        dropped = self.num_replicas if drop_last and n % self.num_replicas else 0
        self.num_samples = math.ceil((n - dropped) / self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order: list[int] = list(range(n))
        if self.shuffle:
            order = randperm(n, generator=Generator().manual_seed(self.seed + self.epoch)).tolist()
        order = (order * math.ceil(self.total_size / n) if n else order)[: self.total_size]
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """换一轮的次序；打乱时每轮之前都要叫它，否则各轮次序相同。"""
        self.epoch = epoch
