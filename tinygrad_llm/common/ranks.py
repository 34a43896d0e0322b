"""几个进程合训一个模型：各进程跑同一个循环、走同样的步，只有头一个真的写日志与文件。

流入：这是第几个进程、共有几个；流出：循环要问的几件事——取哪一份批次、几个进程的数加起来是多少、有没有谁收到了信号。
只有一个进程时是 ``ALONE``；torch 的几个进程见 ``torch_llm/parallel/ranks.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np

from tinygrad_llm.common.batches import IGNORE_INDEX, Batch

T = TypeVar("T")


class Ranks(Protocol):
    """合训的几个进程，从其中一个的眼里看。

    Attributes:
        is_first: 是不是头一个；日志、进度、样本与检查点只由它写。
        part: 批次分给几份数据，这个进程取第几份。
        parts: 批次一共分成几份；张量并行的几个进程合用一份。
    """

    is_first: bool
    part: int
    parts: int

    def first(self, action: Callable[[], T]) -> T | None:
        """只在头一个进程里做 ``action``，别的进程等它做完；它报的 ``UserError`` 在每个进程里同样抛出。"""

    def highest(self, number: int) -> int:
        """各进程的整数里最大的一个；每个进程得到同一个数。"""

    def total(self, values: Sequence[float]) -> list[float]:
        """逐项相加各份数据的数；每个进程得到同样的和。"""


class Alone:
    """只有一个进程。"""

    is_first, part, parts = True, 0, 1

    def first(self, action: Callable[[], T]) -> T | None:
        """照做。"""
        return action()

    def highest(self, number: int) -> int:
        """它自己。"""
        return number

    def total(self, values: Sequence[float]) -> list[float]:
        """它们自己。"""
        return list(values)


ALONE = Alone()
"""只有一个进程时的 ``Ranks``。"""


class Silent:
    """日志与进度的替身，什么方法都有，什么也不做：不是头一个的进程用它，循环里就不必处处问「该不该写」。"""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def _nothing(*values: Any, **named: Any) -> None:
    return None


def shared_out(batches: Iterable[Batch], ranks: Ranks) -> Iterator[Batch]:
    """把依次的批次轮流分给各份数据；各份的个数相同，末一轮不够分时补上一个不计损失的批次。

    个数必须相同：参数切开存放时，每次前向都要几个进程一道才做得成，少一个就都等着。

    Args:
        batches: 每个进程都给出同样的一串。
        ranks: 几个进程。

    Yields:
        分给这一份的批次。
    """
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if len(waiting) == ranks.parts:
            yield waiting[ranks.part]
            waiting = []
    if waiting:
        x, y = waiting[0]
        yield waiting[ranks.part] if ranks.part < len(waiting) else (x, np.full_like(y, IGNORE_INDEX))
