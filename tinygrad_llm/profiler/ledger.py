"""内存账：哪个算子申请了多少字节，图替哪个算子留着多少字节，峰值那一刻各是多少。

流入：每一步的输出、留下的值与梯度；流出：一串增减，回放到哪里就知道哪一刻的账。下一站：``summary.py``。

账上只有弱引用：数组该放就放，放的那一刻回调只往队列里添一笔（它可能发生在任何地方，包括记账的中途），下次记账时再结清。
一块内存只算一次，视图不另算；参数（需要梯度的叶子）的内存本来就在，不算。
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

OUTPUT, GRADIENT, HELD, INPUT = KINDS = ("output", "gradient", "held", "input")
"""账目的种类：前向申请的、反向申请的、图留着的，以及图留着的里面不由算子申请的（用户给的输入）。

前两种与最后一种互不重叠，相加就是总数；「图留着的」是另一种看法，其中的内存已经在别的种类里。
"""


class Change(NamedTuple):
    """一笔增减：什么时候，记在哪个算子、哪一种之下，多少字节。"""

    time_ns: int
    op: str
    kind: str
    nbytes: int


class _Block:
    """一块内存：算子申请的，或用户给的、被图留着的。

    Attributes:
        ref: 拥有它的数组，弱引用。
        maker: 申请它的算子；不是算子申请的为 ``None``。
        kind: ``OUTPUT`` 或 ``GRADIENT``。
        is_leaf: 是需要梯度的叶子，不记账。
        holders: 有几个节点留着它。
        holder: 最先留下它的算子。
    """

    __slots__ = ("holder", "holders", "is_leaf", "kind", "maker", "nbytes", "ref")

    def __init__(self, ref: Any, nbytes: int, maker: str | None, kind: str, is_leaf: bool) -> None:
        self.ref, self.nbytes, self.maker, self.kind, self.is_leaf = ref, nbytes, maker, kind, is_leaf
        self.holders, self.holder = 0, ""


def owner(value: Any) -> Any:
    """数组的内存归哪个数组所有；不是数组，或内存归别的东西所有，则为 ``None``。"""
    array = getattr(value, "array", value)
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array if isinstance(array, np.ndarray) else None


class Ledger:
    """一次剖析的内存账；可以几个线程同时记。

    Attributes:
        peak: 总数的最大值，字节。
        peak_at: 总数最大时，``history()`` 记到第几笔。
    """

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self.peak, self.peak_at = 0, 0
        self._total = 0
        self._blocks: dict[int, _Block] = {}
        self._nodes: dict[int, tuple[Any, list[_Block]]] = {}
        self._gone: deque[tuple[bool, int, int]] = deque()
        self._lock = threading.Lock()

    # ---- 记账

    def forward(
        self, op: str, began_ns: int, args: Iterable[Any], outputs: Iterable[Any], node: Any, saved: list[Any]
    ) -> int:
        """一次前向：输出与留下的值里，不是从输入来的都是它新申请的。

        Args:
            op: 算子名。
            began_ns: 何时开始：此前消失的先结清，其间消失的算作与新申请的同时在。
            args: 输入。
            outputs: 输出。
            node: 图上的节点；没有记图为 ``None``。
            saved: 节点留下的数组。

        Returns:
            新申请的字节数。
        """
        with self._lock:
            self._settle(began_ns)
            before, inputs = self.peak, set()
            for arg in args:
                array = owner(arg)
                if array is not None:
                    inputs.add(id(array))
                    if getattr(arg, "needs_grad", False) and arg.node is None and self._known(array) is None:
                        self._add(array, None, OUTPUT, is_leaf=True)
            found = [owner(value) for value in (*outputs, *saved)]
            made = self._made([array for array in found if id(array) not in inputs], op, OUTPUT)
            if saved:
                self._hold(op, node, saved)
            if self.peak > before:
                self.peak_at = len(self._changes)  # 峰值那一刻的账也包括刚留下的
            return made

    def backward(self, op: str, began_ns: int, node: Any, g: Any, grads: Iterable[Any]) -> int:
        """一个节点的反向：记下它给出的梯度；它留的值若已释放，就不再算它的。

        Args:
            op: 算子名。
            began_ns: 何时开始。
            node: 节点。
            g: 它收到的梯度；最初的那一份不是谁算出来的，不记。
            grads: 各输入至今收到的梯度。

        Returns:
            新申请的字节数。
        """
        with self._lock:
            self._settle(began_ns)
            given = owner(g)
            made = self._made([array for array in map(owner, grads) if array is not given], op, GRADIENT)
            if node.saved is None:
                self._release(id(node), time.perf_counter_ns())
            return made

    # ---- 查账

    def history(self) -> list[Change]:
        """至今的全部增减，按发生的次序。"""
        with self._lock:
            self._settle()
            return list(self._changes)

    def totals(self, *, at_peak: bool = False) -> dict[tuple[str, str], int]:
        """（算子，种类）→ 字节数：此刻的，或总数最大那一刻的。"""
        return _summed(self.history()[: self.peak_at if at_peak else None])

    def made(self) -> dict[tuple[str, str], int]:
        """（算子，种类）→ 一共申请过多少字节。"""
        return _summed(change for change in self.history() if change.nbytes > 0)

    def most_held(self) -> dict[str, int]:
        """算子 → 图同时替它留着的字节数，最多的时候。"""
        held: dict[str, int] = {}
        most: dict[str, int] = {}
        for change in self.history():
            if change.kind == HELD:
                held[change.op] = held.get(change.op, 0) + change.nbytes
                most[change.op] = max(most.get(change.op, 0), held[change.op])
        return most

    def most_in_all(self) -> int:
        """图一共留着的字节数，最多的时候。"""
        return max(itertools.accumulate(one.nbytes for one in self.history() if one.kind == HELD), default=0)

    # ---- 一块内存的来去

    def _made(self, arrays: Iterable[Any], op: str, kind: str) -> int:
        total = 0
        for array in arrays:
            if array is not None and self._known(array) is None:
                self._add(array, op, kind)
                self._record(time.perf_counter_ns(), op, kind, array.nbytes)
                total += array.nbytes
        return total

    def _known(self, array: Any) -> _Block | None:
        """账上的这块内存；号码相同而已经消失的另一块先结清。"""
        block = self._blocks.get(id(array))
        if block is None or block.ref() is array:
            return block
        self._settle()
        return None

    def _add(self, array: Any, maker: str | None, kind: str, *, is_leaf: bool = False) -> _Block:
        key, gone = id(array), self._gone
        ref = weakref.ref(array, lambda _: gone.append((False, key, time.perf_counter_ns())))
        block = self._blocks[key] = _Block(ref, array.nbytes, maker, kind, is_leaf)
        return block

    def _hold(self, op: str, node: Any, saved: Iterable[Any]) -> None:
        if id(node) in self._nodes:  # 号码相同而已经消失的另一个节点先结清
            self._settle()
        blocks: list[_Block] = []
        for array in map(owner, saved):
            if array is None:
                continue
            block = self._known(array) or self._add(array, None, INPUT)
            if block.is_leaf or block in blocks:
                continue
            blocks.append(block)
            block.holders += 1
            if block.holders == 1:
                block.holder = op
                self._record_held(block, time.perf_counter_ns(), block.nbytes)
        if blocks:
            key, gone = id(node), self._gone
            ref = weakref.ref(node, lambda _: gone.append((True, key, time.perf_counter_ns())))
            self._nodes[key] = ref, blocks

    def _release(self, node: int, time_ns: int) -> None:
        for block in self._nodes.pop(node, (None, []))[1]:
            if block.holders:  # 已经消失的，那时就结清了
                block.holders -= 1
                if block.holders == 0:
                    self._record_held(block, time_ns, -block.nbytes)

    def _settle(self, until_ns: float = math.inf) -> None:
        """结清 ``until_ns`` 之前消失的节点与数组。"""
        while self._gone and self._gone[0][2] < until_ns:
            is_node, key, time_ns = self._gone.popleft()
            if is_node:
                self._release(key, time_ns)
                continue
            block = self._blocks.pop(key)
            if block.holders:
                self._record_held(block, time_ns, -block.nbytes)
                block.holders = 0
            if block.maker is not None:
                self._record(time_ns, block.maker, block.kind, -block.nbytes)

    def _record_held(self, block: _Block, time_ns: int, nbytes: int) -> None:
        if block.maker is None:
            self._record(time_ns, block.holder, INPUT, nbytes)
        self._record(time_ns, block.holder, HELD, nbytes)

    def _record(self, time_ns: int, op: str, kind: str, nbytes: int) -> None:
        self._changes.append(Change(time_ns, op, kind, nbytes))
        if kind != HELD:
            self._total += nbytes
            if self._total > self.peak:
                self.peak, self.peak_at = self._total, len(self._changes)


def _summed(changes: Iterable[Change]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for change in changes:
        key = change.op, change.kind
        found[key] = found.get(key, 0) + change.nbytes
    return found
