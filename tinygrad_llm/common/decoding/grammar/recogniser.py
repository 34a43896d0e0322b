"""逐字节往前走：语法读到这里，可能停在哪些状态上，每个状态下面压着怎样的返回地址。

流入：``Machine`` 与一个个字节；流出：状态的编号，与一张随用随填的转移表。下一个文件：``trie.py``。

一个「格局」是若干个栈的集合：栈顶是眼下的状态，其下是走完调用之后回到哪里。语法有歧义时几个栈并存；相同的栈只留一个。
走到过的格局各有一个编号，每个编号一行转移表（256 个字节各去哪个编号），算过一次就不再算——这正是把 NFA 边走边变成
DFA 的办法，只是这里的「状态」带着栈。
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.grammar.machine import Machine

__all__ = ["DEAD", "Recogniser"]

DEAD = 0
"""走不通的格局的编号。"""

Rest = tuple[int, "Rest"] | None
"""返回地址：``(回到哪里, 再下面的)``。"""
Stack = tuple[int, Rest]
Config = frozenset[Stack]

_ACCEPT: Stack = (-1, None)  # 全部走完


class Recogniser:
    """一个语法的识别器；格局以编号相称，0 是走不通。

    Args:
        machine: 自动机。
        spellable: 词表里单独成一个 token 的字节。

    Attributes:
        start: 起点的编号。
        safe: 各编号能否只用 ``spellable`` 的字节走到头；不能的地方不该停下。
    """

    def __init__(self, machine: Machine, spellable: int) -> None:
        self._machine, self._can = machine, machine.finishable(spellable)
        self._configs: list[Config] = []
        self._ids: dict[Config, int] = {}
        self._table = np.zeros((64, 256), dtype=np.int32)
        self._filled = np.zeros(64, dtype=np.bool_)
        self.safe = np.zeros(64, dtype=np.bool_)
        self._intern(frozenset())
        self._filled[DEAD] = True
        self.start = self._intern(self._closure((machine.start, None)))

    def is_final(self, id: int) -> bool:
        """可以到此为止吗。"""
        return _ACCEPT in self._configs[id]

    def step(self, id: int, byte: int) -> int:
        """再读一个字节。"""
        if not self._filled[id]:
            self._fill(id)
        return int(self._table[id, byte])

    def table_for(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """转移表 ``(编号, 256)``；``ids`` 里各编号的行都已填好。"""
        seen = np.zeros(len(self._configs), dtype=np.bool_)
        seen[ids] = True
        for id in np.flatnonzero(seen & ~self._filled[: len(seen)]):
            self._fill(int(id))
        return self._table

    def _fill(self, id: int) -> None:
        """算出一行：把 256 个字节分成几类，同一类去同一个格局。"""
        edges = [
            (mask, target, rest)
            for state, rest in self._configs[id]
            if state >= 0
            for mask, target in self._machine.states[state].edges
        ]
        classes: list[tuple[int, list[tuple[int, Rest]]]] = [((1 << 256) - 1, [])]
        for mask, target, rest in edges:
            split: list[tuple[int, list[tuple[int, Rest]]]] = []
            for members, targets in classes:
                if inside := members & mask:
                    split.append((inside, [*targets, (target, rest)]))
                if outside := members & ~mask:
                    split.append((outside, targets))
            classes = split
        row = np.zeros(256, dtype=np.int32)
        for members, targets in classes:
            if targets:
                found = self._intern(frozenset().union(*map(self._closure, targets)))
                row[_bits(members)] = found
        self._table[id] = row
        self._filled[id] = True

    def _closure(self, stack: Stack) -> Config:
        """不读字节就到得了的栈；只留还能读字节的，与走完了的。"""
        found: set[Stack] = set()
        seen: set[Stack] = {stack}
        waiting = [stack]
        states = self._machine.states
        while waiting:
            one = waiting.pop()
            top, rest = one
            state = states[top]
            if state.edges:
                found.add(one)
            onward: list[Stack] = []
            if state.is_final:
                onward.append(_ACCEPT if rest is None else rest)
            for start, back in state.calls:
                onward.append((start, rest if states[back].is_end else (back, rest)))  # 回来就到头的，不必回来
            for other in onward:
                if other == _ACCEPT:
                    found.add(other)
                elif other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return frozenset(found)

    def _intern(self, config: Config) -> int:
        id = self._ids.setdefault(config, len(self._configs))
        if id == len(self._configs):
            self._configs.append(config)
            if id == len(self._table):
                self._table = np.concatenate([self._table, np.zeros_like(self._table)])
                self._filled = np.concatenate([self._filled, np.zeros_like(self._filled)])
                self.safe = np.concatenate([self.safe, np.zeros_like(self.safe)])
            self.safe[id] = any(map(self._is_safe, config))
        return id

    def _is_safe(self, stack: Stack | Rest) -> bool:
        while stack is not None:
            state, stack = stack
            if state >= 0 and not self._can[state]:
                return False
        return True


def _bits(members: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(members.to_bytes(32, "little"), dtype=np.uint8), bitorder="little").astype(bool)
