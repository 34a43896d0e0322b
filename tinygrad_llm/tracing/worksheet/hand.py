"""学习者手里的数：填了的用他的，没填的由他填了的算出来。

流入：练习与各格写下的数；流出：任何一个量「在他看来」是多少，以及它用到了哪些格。下一站：``grading.py``。
什么也没填的手，就是引擎的记录。
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.tracing.worksheet.catalogue import CONTRIBUTION, LOCAL, SUM
from tinygrad_llm.tracing.worksheet.cells import Cell, Place, Sheet, edges_of
from tinygrad_llm.tracing.worksheet.replay import Call, summed

Array = NDArray[Any]


class Held(NamedTuple):
    """手里的一个量。

    Attributes:
        array: 数；大得没有留下来的为 ``None``。
        used: 它来自哪些填了的格；空集就是引擎的数。
    """

    array: Any
    used: frozenset[str]


_ENGINE: frozenset[str] = frozenset()


class Hand:
    """一双手。

    Args:
        sheet: 练习。
        answers: 填了的格：编号到数（形状与要填的那一部分相同，空位是 NaN）。
    """

    def __init__(self, sheet: Sheet, answers: Mapping[str, Array]) -> None:
        self.sheet, self.trace, self.answers = sheet, sheet.trace, answers
        self._known: dict[Any, Held] = {}
        self._arrivals: dict[tuple[int, int], list[Place]] = {}
        for place, _, edge in edges_of(self.trace):
            self._arrivals.setdefault((place[0], edge.value), []).append(place)

    # ---- 前向

    def value(self, i: int | None) -> Held:
        """第 ``i`` 个张量。"""
        return Held(None, _ENGINE) if i is None else self._once(("value", i), lambda: self._value(i))

    def call(self, node: int) -> tuple[Call | None, frozenset[str]]:
        """一次算子调用，输入是手里的。"""
        call, record = self.sheet.call[node], self.trace.nodes[node]
        held = [self.value(i) for i in record.inputs]
        used = _ENGINE.union(*[one.used for one in held])
        return (None if call is None else call.with_inputs([one.array for one in held])), used

    def forward(self, node: int) -> Held:
        """由手里的输入算出的输出，不管输出那一格写了什么。"""
        record = self.trace.values[self.trace.nodes[node].output]
        call, used = self.call(node)
        found = call.forward() if call is not None and used else None
        return Held(record.data, _ENGINE) if found is None else Held(found, used)

    def _value(self, i: int) -> Held:
        value = self.trace.values[i]
        node = self.trace.nodes[value.producer] if value.producer is not None else None
        if node is None or node.output != i:
            return Held(value.data, _ENGINE)
        return self._filled(self.sheet.forward.get(node.id), lambda: self.forward(node.id))

    # ---- 反向

    def incoming(self, backward: int, step: int) -> Held:
        """一步收到的梯度：此前流向这个节点的输出的各份之和。"""
        return self._once(("incoming", backward, step), lambda: self._incoming(backward, step))

    def _incoming(self, backward: int, step: int) -> Held:
        record = self.trace.backwards[backward].steps[step]
        places = self._arrivals.get((backward, record.record.output), [])
        earlier = [place for place in places if place[1] < step]
        if not earlier or record.arrived is not None:  # 起点；或者钩子换过
            return Held(record.incoming, _ENGINE)
        held = self.total(earlier[-1])
        return held if held.used else Held(record.incoming, _ENGINE)

    def local(self, place: Place) -> Held:
        """局部导数；没有这一格的为 ``None``。"""
        cell = self.sheet.edges[place].get(LOCAL)
        if cell is None:
            return Held(None, _ENGINE)
        return self._filled(cell, lambda: self.local_worked(place))

    def local_worked(self, place: Place) -> Held:
        """由手里的值算出的局部导数。"""
        step, edge = self._edge(place)
        call, used = self.call(step.node)
        y = self.value(step.record.output)
        used |= y.used
        found = None
        if call is not None and used:
            found = call.vjp(edge.input, np.ones_like(step.incoming), y.array)
        return Held(self.sheet.edges[place][LOCAL].expected, _ENGINE) if found is None else Held(found, used)

    def contribution(self, place: Place) -> Held:
        """一条边的贡献。"""
        return self._filled(self.sheet.edges[place].get(CONTRIBUTION), lambda: self.contribution_worked(place))

    def contribution_worked(self, place: Place) -> Held:
        """由手里的梯度与值算出的贡献：有局部导数那一格的，就用它乘。"""
        _, edge = self._edge(place)
        g, local = self.incoming(*place[:2]), self.local(place)
        if isinstance(local.array, np.ndarray) and g.array is not None:
            used = g.used | local.used
            found = summed(np.asarray(g.array * local.array), edge.contribution.shape) if used else None
        else:
            found, used = self.contribution_by_table(place)
        return Held(edge.contribution, _ENGINE) if found is None else Held(found, used)

    def contribution_by_table(self, place: Place) -> Held:
        """由手里的梯度与值照求导表算出的贡献，不看局部导数那一格。"""
        step, edge = self._edge(place)
        call, used = self.call(step.node)
        g, y = self.incoming(*place[:2]), self.value(step.record.output)
        used |= g.used | y.used
        if call is None or not used or not isinstance(g.array, np.ndarray):
            return Held(edge.contribution, _ENGINE)
        found = call.gradient(edge.input, g.array, y.array)
        return Held(edge.contribution, _ENGINE) if found is None else Held(found, used)

    def before(self, place: Place) -> Held:
        """加这一份之前的和；这是第一份则为 ``None``。"""
        _, edge = self._edge(place)
        earlier = [p for p in self._arrivals[place[0], edge.value] if p < place]
        if not earlier:
            return Held(edge.before, _ENGINE)
        return self.total(earlier[-1])

    def total(self, place: Place) -> Held:
        """加这一份之后的和。"""
        return self._filled(self.sheet.edges[place].get(SUM), lambda: self.total_worked(place))

    def total_worked(self, place: Place) -> Held:
        """由手里的前一个和与贡献算出的和。"""
        _, edge = self._edge(place)
        before, added = self.before(place), self.contribution(place)
        used = before.used | added.used
        if not used:
            return Held(edge.after, _ENGINE)
        return Held(added.array if before.array is None else before.array + added.array, used)

    def contributions(self, place: Place) -> list[Held]:
        """到这条边为止，加到同一个张量上的各份。"""
        _, edge = self._edge(place)
        return [self.contribution(p) for p in self._arrivals[place[0], edge.value] if p <= place]

    def final_parts(self, value: int) -> list[list[Place]]:
        """一个叶子的最终梯度来自哪些边：各趟反传分开。"""
        wanted = [b.id for b in self.trace.backwards if any(a.value == value for a in b.accumulated)]
        return [self._arrivals.get((b, value), []) for b in wanted]

    def final(self, value: int) -> Held:
        """一个叶子的最终梯度：各趟反传的和再相加；中途清过零的、对不上的，就用引擎的数。"""
        expected: Any = self.trace.values[value].grad
        parts = self.final_parts(value)
        if not parts or not all(parts):
            return Held(expected, _ENGINE)
        engine = [self._edge(places[-1])[1].after for places in parts]
        if not all(isinstance(one, np.ndarray) for one in (*engine, expected)) or not np.allclose(
            sum(engine), expected
        ):
            return Held(expected, _ENGINE)
        held = [self.total(places[-1]) for places in parts]
        used = _ENGINE.union(*[one.used for one in held])
        return Held(sum(one.array for one in held), used) if used else Held(expected, _ENGINE)

    # ---- 内部

    def _edge(self, place: Place) -> Any:
        step = self.trace.backwards[place[0]].steps[place[1]]
        return step, step.edges[place[2]]

    def _once(self, key: Any, work: Callable[[], Held]) -> Held:
        if key not in self._known:
            self._known[key] = work()
        return self._known[key]

    def _filled(self, cell: Cell | None, work: Callable[[], Held]) -> Held:
        """填了的格用写下的数，空着的位置与没问到的用算出来的。"""
        if cell is None:
            return work()
        return self._once(cell.id, lambda: self._patched(cell, work))

    def _patched(self, cell: Cell, work: Callable[[], Held]) -> Held:
        answer = self.answers.get(cell.id)
        if answer is None:
            return work()
        is_whole = not cell.rows and not np.isnan(answer).any()
        base = Held(answer, _ENGINE) if is_whole else work()
        array = np.array(base.array, dtype=np.float64)
        part = array[cell.rows]
        array[cell.rows] = np.where(np.isnan(answer), part, answer)
        return Held(array, base.used | {cell.id})
