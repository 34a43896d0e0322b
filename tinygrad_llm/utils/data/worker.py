"""加载时的「工作进程」：在当前进程里轮流扮演，各有自己的数据集副本与随机数列。

流入：数据集、种子与自己是第几个；流出：与 torch 开多个进程时逐个相同的样本。
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.random import Generator, default_generator


@dataclass(frozen=True)
class WorkerInfo:
    """``get_worker_info()`` 的结果。

    Attributes:
        id: 自己是第几个。
        num_workers: 共几个。
        seed: 自己的种子。
        dataset: 自己的那一份数据集。
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_current: list[WorkerInfo] = []


def get_worker_info() -> WorkerInfo | None:
    """此刻在扮演哪个工作进程；不在加载时为 ``None``。"""
    return _current[-1] if _current else None


class Worker:
    """一个工作进程：数据集浅拷贝一份，Python、NumPy 与本引擎的全局随机数列各有一条。

    Args:
        dataset: 数据集。
        position: 自己是第几个、共几个。
        base_seed: 这一遍加载的种子。
        init: 起步时叫一次的函数。
    """

    def __init__(
        self, dataset: Any, position: tuple[int, int], base_seed: int, init: Callable[[int], None] | None
    ) -> None:
        index, count = position
        seed = base_seed + index
        self.info = WorkerInfo(index, count, seed, copy.copy(dataset))
        mixed = np.random.SeedSequence([index, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]).generate_state(4)
        self._streams = (
            random.Random(seed).getstate(),
            np.random.RandomState(mixed).get_state(),
            dict(vars(Generator().manual_seed(seed))),
        )
        self.is_alive = True
        if init is not None:
            with self.entered():
                init(index)

    @contextmanager
    def entered(self) -> Iterator[Any]:
        """扮演自己：三条全局的随机数列换成自己的，出来时再换回去。"""
        outside = _streams()
        _current.append(self.info)
        _set_streams(self._streams)
        try:
            yield self.info.dataset
        finally:
            self._streams = _streams()
            _set_streams(outside)
            _current.pop()


def _streams() -> tuple[Any, Any, Any]:
    return random.getstate(), np.random.get_state(), dict(vars(default_generator))


def _set_streams(streams: tuple[Any, Any, Any]) -> None:
    random.setstate(streams[0])
    np.random.set_state(streams[1])
    vars(default_generator).update(streams[2])
