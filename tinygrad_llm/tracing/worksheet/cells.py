"""要填哪些格：从一份记录里挑出值得亲手算的数。

流入：``Trace``；流出：``Sheet``，其中每一格有编号、正确的数与它在计算里的位置。下一站：``sheet.py``。
只换形状、不换数的步骤没有格；很大的数组只问其中一行。
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.ops.op import Op
from tinygrad_llm.tracing.trace import EdgeRecord, NodeRecord, Step, Trace
from tinygrad_llm.tracing.worksheet.catalogue import CONTRIBUTION, FINAL, FORWARD, LOCAL, SUM
from tinygrad_llm.tracing.worksheet.replay import Call

Array = NDArray[Any]

ASKED = 24
"""数组至多这么多个数就整个地问，再多只问一行。"""

LONGEST = 64
"""一行至多这么多个数，再长就不问了。"""

_COPIES = ("reshape", "copied", "cast", "clone", "expand")
"""只搬运、不改数的算子。"""

Place = tuple[int, int, int]
"""反向的一条边：（第几趟，第几步，第几条）。"""


@dataclass(frozen=True, eq=False)
class Cell:
    """一格。

    Attributes:
        id: 编号，第一个字母是种类：F、D、C、S、G。
        kind: 种类。
        value: 这是哪个张量的数（局部导数与贡献：流向哪个张量）。
        expected: 正确的数，整个数组。
        rows: 只问这一行（前几根轴的下标）；整个都问则是空的。
        noise: 计算本身的舍入误差：小于它的差别不算错。
        node: 前向的格：哪次算子调用。
        place: 反向的格：哪条边；最终梯度的格没有。
    """

    id: str
    kind: str
    value: int
    expected: Array
    rows: tuple[int, ...]
    noise: float
    node: int = -1
    place: Place | None = None

    @property
    def asked(self) -> Array:
        """要填的那一部分。"""
        return np.asarray(self.expected[self.rows])

    def pick(self, candidate: Array) -> Array | None:
        """另一个数组里与要填的对应的那一部分；形状不同而又只问一行时为 ``None``。"""
        if not self.rows:
            return candidate
        return np.asarray(candidate[self.rows]) if candidate.shape == self.expected.shape else None


class Sheet:
    """一张练习的全部格。

    Attributes:
        trace: 记录。
        cells: 编号到格，按填写的次序。
        forward: 算子调用的编号到它的格。
        edges: 边到它的格：局部导数、贡献、和，有哪些是哪些。
        finals: 张量的编号到最终梯度的格。
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.cells: dict[str, Cell] = {}
        self.forward: dict[int, Cell] = {}
        self.edges: dict[Place, dict[str, Cell]] = {}
        self.finals: dict[int, Cell] = {}
        self._counts = dict.fromkeys("FDCSG", 0)
        self.call = {record.id: call_of(trace, record) for record in trace.nodes}
        for record in asked_nodes(trace):
            cell = self._cell(FORWARD, record.output, trace.values[record.output].data, node=record.id)
            if cell is not None:
                self.forward[record.id] = cell
        for place, step, edge in edges_of(trace):
            self._edge(place, step, edge)
        for value in trace.values:
            if value.kind == "leaf" and value.grad is not None:
                final = self._cell(FINAL, value.id, value.grad)
                if final is not None:
                    self.finals[value.id] = final

    def fingerprint(self) -> str:
        """程序的结构与给定的数的指纹：程序改过，练习就对不上了。"""
        nodes = [[r.op, r.inputs, r.output, sorted(r.attrs.items())] for r in self.trace.nodes]
        given = [[v.label, list(v.shape), [] if v.kind == "result" else _digits(v.data)] for v in self.trace.values]
        steps = [[place, edge.value] for place, _, edge in edges_of(self.trace)]
        text = json.dumps([nodes, given, steps], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _edge(self, place: Place, step: Step, edge: EdgeRecord) -> None:
        found: dict[str, Cell] = {}
        local = self._local(step, edge)
        given = {
            LOCAL: local,
            CONTRIBUTION: None if is_copy(self.trace, step.record) else edge.contribution,
            SUM: None if edge.before is None else edge.after,
        }
        for kind, expected in given.items():
            cell = None if expected is None else self._cell(kind, edge.value, expected, place=place)
            if cell is not None:
                found[kind] = cell
        self.edges[place] = found

    def _local(self, step: Step, edge: EdgeRecord) -> Array | None:
        """逐元素的算子的局部导数；不是逐元素的、全是 1 的数组为 ``None``。"""
        call = self.call[step.node]
        if edge.contribution.size > math.prod(step.incoming.shape):
            return None
        if call is None or not isinstance(step.incoming, np.ndarray) or is_copy(self.trace, step.record):
            return None
        y: Any = self.trace.values[step.record.output].data
        ones = np.ones_like(step.incoming)
        local = call.vjp(edge.input, ones, y)
        if local is None or local.shape != ones.shape or (local.size > 1 and np.all(local == 1)):
            return None
        probe = np.random.default_rng(0).uniform(1, 2, ones.shape).astype(ones.dtype)
        found = call.vjp(edge.input, probe, y)
        is_elementwise = found is not None and np.allclose(found, probe * local, rtol=1e-4, atol=0, equal_nan=True)
        return local if is_elementwise else None

    def _cell(self, kind: str, value: int, expected: Any, node: int = -1, place: Place | None = None) -> Cell | None:
        """立一格；太大而没有留下的、空的、复数的不问。"""
        if not isinstance(expected, np.ndarray) or not expected.size or expected.dtype.kind not in "fiub":
            return None
        if expected.ndim and expected.size > ASKED and expected.shape[-1] > LONGEST:
            return None
        self._counts[kind] += 1
        name = f"{kind}{self._counts[kind]}"
        noise = 0.0 if expected.dtype.kind != "f" else 8 * float(np.finfo(expected.dtype).eps) * _scale(expected)
        cell = Cell(name, kind, value, expected.astype(np.float64), _row(expected), noise, node, place)
        self.cells[name] = cell
        return cell


def call_of(trace: Trace, record: NodeRecord) -> Call | None:
    """一次算子调用；自定义算子、有输入大得没留下来的为 ``None``。"""
    inputs = [None if i is None else trace.values[i].data for i in record.inputs]
    if not isinstance(record.declared, Op) or any(not isinstance(x, np.ndarray | None) for x in inputs):
        return None
    return Call(record.declared, tuple(inputs), record.raw_attrs)


def asked_nodes(trace: Trace) -> Iterator[NodeRecord]:
    """前向要填的算子调用：在图上的；没有图的程序与第一趟反传之后的，全部都算。"""
    started = not trace.backwards
    for event in trace.events:
        if event.kind == "seed":
            started = True
        if event.kind == "forward" and event.node is not None:
            record = trace.nodes[event.node]
            if (started or any(record.needs)) and not is_copy(trace, record):
                yield record


def is_copy(trace: Trace, record: NodeRecord) -> bool:
    """输出的数与输入一个不差、次序也相同。"""
    if record.op not in _COPIES or record.inputs[0] is None:
        return False
    x, y = trace.values[record.inputs[0]].data, trace.values[record.output].data
    return x.size == y.size


def edges_of(trace: Trace) -> Iterator[tuple[Place, Step, EdgeRecord]]:
    """全部反向的边，按发生的先后。"""
    for backward in trace.backwards:
        for step in backward.steps:
            for i, edge in enumerate(step.edges):
                yield (backward.id, step.index, i), step, edge


def _row(array: Array) -> tuple[int, ...]:
    """大数组只问一行：变化最大的那一行。"""
    if array.size <= ASKED or array.ndim < 2:
        return ()
    rows = np.abs(array.astype(np.float64)).reshape(-1, array.shape[-1])
    best = int(np.argmax(np.where(np.isfinite(rows), rows, 0).sum(axis=1)))
    return tuple(int(i) for i in np.unravel_index(best, array.shape[:-1]))


def _scale(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return max(float(finite.max(initial=0.0)), 1.0)


def _digits(data: Any) -> list[str]:
    return [f"{x:.6g}" for x in data.ravel().tolist()] if isinstance(data, np.ndarray) else ["large"]
