"""几个进程共有的一份梯度：各自算出的那份，排着圈加进去。

流入：各进程反传得到的梯度；流出：共享内存里它们的和。下一站：``flat.py``。

每个参数按行切成 N 块（N 是进程数）。第 r 个进程先把第 r 块**写**好，再依次把自己那份**加**到第 r-1、r-2……块上；
每做完一块就给下一个进程递一个字节。于是第 b 块总是按 b、b+1、b+2……的次序相加，与谁快谁慢无关，结果逐位可复现；
写与加的活各进程一样多；不必各存一份梯度、等反传完了再加——大模型的梯度与参数一样大。
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any

from tinygrad_llm.ops.op import Array

Produce = Callable[[slice, Array, bool], None]
"""``(行, 这些行的内存, 是加还是写)``：把一份梯度的这几行写进内存，或加到已有的值上。"""

_SPINS = 200
"""先空等几回再睡：同伴多半只差几十微秒，叫醒一个睡着的进程也要这么久。"""


class Ring:
    """与前后两个进程的约定：每做完一块，递一个字节。

    Args:
        rank: 进程号。
        size: 进程数。
        receive: 读上一个进程递来的字节的文件描述符；只有一个进程时没有。
        send: 递给下一个进程的文件描述符。
    """

    def __init__(self, rank: int = 0, size: int = 1, receive: int = -1, send: int = -1) -> None:
        self.rank, self.size, self.receive, self.send = rank, size, receive, send
        self.received = self.taken = 0
        if size > 1:
            os.set_blocking(receive, False)

    def wait(self, count: int) -> None:
        """等到上一个进程做完了 ``count`` 块（从头算起）。

        Raises:
            ConnectionError: 上一个进程走了。
        """
        spins = 0
        while self.received < count:
            try:
                found = os.read(self.receive, 1 << 16)
            except BlockingIOError:
                spins += 1
                if spins > _SPINS:
                    select.select([self.receive], [], [])
                continue
            if not found:
                raise ConnectionError("the worker before this one is gone")
            self.received += len(found)

    def close(self) -> None:
        """不再参加：等着的进程随之知道。"""
        for end in {self.receive, self.send} - {-1}:
            os.close(end)
        self.receive = self.send = -1

    def done(self) -> None:
        """又做完一块。"""
        os.write(self.send, b".")


class SharedGradient:
    """一个参数的梯度，几个进程共有；引擎把叶子的每一份梯度交给它（见 ``Tensor.grad_buffer``）。

    Args:
        array: 放梯度的内存。
        ring: 与别的进程的约定。

    Attributes:
        array: 同上；各进程都做完之后，里面是和。
    """

    __slots__ = ("_blocks", "_last", "_ring", "array")

    def __init__(self, array: Array, ring: Ring) -> None:
        self.array, self._ring = array, ring
        rows, size = len(array), ring.size
        bounds = [rows * i // size for i in range(size + 1)]
        mine = [(ring.rank - turn) % size for turn in range(size)]
        self._blocks = [slice(bounds[i], bounds[i + 1]) for i in mine]
        self.clear()

    def clear(self) -> None:
        """新的一步：原来的值不要了，下一份从写开始。"""
        self._last = -1

    @property
    def is_empty(self) -> bool:
        """这一步还没有收到过梯度。"""
        return self._last < 0

    def is_grad_of(self, leaf: Any) -> bool:
        """叶子的 ``.grad`` 就在这块内存上。"""
        return leaf.kept_grad is not None and leaf.kept_grad.array is self.array

    def take(self, produce: Produce) -> Array:
        """收下一份梯度；各进程必须按同样的次序收下同样多的份数。

        Args:
            produce: 逐块算出这份梯度。

        Returns:
            ``array``。

        Raises:
            ConnectionError: 别的进程走了。
        """
        ring, adds = self._ring, self._last >= 0
        for turn, rows in enumerate(self._blocks):
            if turn:
                ring.wait(ring.taken * ring.size + turn)
            elif adds and ring.size > 1:  # 上一份里，这一块是上一个进程最后加完的
                ring.wait((self._last + 1) * ring.size)
            produce(rows, self.array[rows], adds or turn > 0)
            if ring.size > 1:
                ring.done()
        self._last = ring.taken
        ring.taken += 1
        return self.array

    def add(self, g: Array) -> Array:
        """收下一份已经算好的梯度。"""
        if g is self.array:  # 算的时候就是照 ``take`` 逐块放进来的
            return g

        def produce(rows: slice, out: Array, adds: bool) -> None:
            if adds:
                out += g[rows]
            else:
                out[...] = g[rows]

        return self.take(produce)


def pipes(size: int) -> list[tuple[int, int]]:
    """``size`` 个进程围成一圈要用的管道：第 r 项是第 r 个进程的（读端，写端）。"""
    made: list[tuple[Any, Any]] = [os.pipe() for _ in range(size)]
    return [(made[rank - 1][0], made[rank][1]) for rank in range(size)]
