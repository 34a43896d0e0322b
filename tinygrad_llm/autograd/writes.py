"""就地写入的记录：哪块内存最近一次在什么时候被写过。

流入：每次就地写入；流出：「这个数组在节点留下它之后被写过没有」。同一块内存的视图共用一条记录。

节点只记下留值那一刻的总次数。反传时总次数没有变，就什么也不必查——训练循环里几乎总是如此。下一站：``graph.py``。
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, NamedTuple

import numpy as np


class Clock:
    """全部就地写入的总次数。

    Attributes:
        time: 总次数。
    """

    __slots__ = ("time",)

    def __init__(self) -> None:
        self.time = 0


class Write(NamedTuple):
    """一块内存的写入记录。

    Attributes:
        memory: 拥有这块内存的数组，弱引用；数组没了，记录随之删除。
        time: 最近一次写入时的总次数。
        times: 写过几次。
    """

    memory: weakref.ref[Any]
    time: int
    times: int


clock = Clock()
_ticks = itertools.count(1)
_writes: dict[int, Write] = {}


def _owner(array: Any) -> Any:
    """拥有这块内存的数组：沿 ``base`` 一直找到底。"""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def record(array: Any) -> None:
    """记下：``array`` 的内存刚被写过。"""
    owner = _owner(array)
    key = id(owner)
    before = _writes.get(key)
    clock.time = next(_ticks)
    if before is None:
        memory = weakref.ref(owner, lambda _: _writes.pop(key, None))
        _writes[key] = Write(memory, clock.time, 1)
    else:
        _writes[key] = Write(before.memory, clock.time, before.times + 1)


def count(array: Any) -> int:
    """``array`` 的内存被就地写过几次。"""
    found = _writes.get(id(_owner(array)))
    return 0 if found is None else found.times


def written_since(array: Any, time: int) -> bool:
    """总次数为 ``time`` 之后，``array`` 的内存又被写过没有。"""
    found = _writes.get(id(_owner(array)))
    return found is not None and found.time > time
