"""弄坏它：把记下的反传照五种常见的错法各重走一遍，让人看见错在哪里、错成多少。

流入：一次记录（``Trace``）；流出：每种错法的梯度与步骤，写进 JSON 的 ``faults``（见 ``SCHEMA.md``），
供播放器与正确的并排显示。

这里没有预先写好的错数：每一步都用记下的节点（``NodeRecord.vjp``）真的再算一遍，只在一处做错。
次序与累加的三种错，要到「一个值用了两次」时才露出来；不对广播轴求和，要有广播才露出来；忘了清零则处处都错。
各个玩具会错成多少，写在 ``toys/`` 各文件的文档里。
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_llm.autograd.traversal import unbroadcast
from tinygrad_llm.ops.op import Array, Op
from tinygrad_llm.ops.shape import along
from tinygrad_llm.tracing.arrays import Summary, array_json
from tinygrad_llm.tracing.json_form import step_json
from tinygrad_llm.tracing.trace import Backward, EdgeRecord, NodeRecord, Step, Trace

MAX_ELEMENTS = 20_000
"""各步的数合起来多于这么多的记录不重走：页面装不下六份，人也看不过来。"""

MAX_LISTED = 400
"""一种错法至多列出这么多步；其余的照样走完，只是不列。"""

MAX_VISITS = 30_000
"""朴素递归至多走这么多步：路径的条数随深度成倍增长，大一点的图永远走不完。"""


@dataclass
class Fault:
    """一种错法在一次记录上的结果。

    Attributes:
        name: 名字，标识符。
        title_zh: 中文名。
        title_en: 英文名。
        why_zh: 错在哪里。
        why_en: 错在哪里，英文。
        grads: 值的编号 → 它最后得到的（错的）梯度；没有收到梯度的不在其中。
        steps: 最后那趟反传的各步，与正确的同样的写法；至多 ``MAX_LISTED`` 步。
        differs: 梯度与正确的不同的那些值；连形状都不同的、少了梯度的也算。
        total_steps: 最后那趟一共走了几步。
        note_zh: 走不完或没有列全时，说出原因；否则为空。
        note_en: 同上，英文。
    """

    name: str
    title_zh: str
    title_en: str
    why_zh: str
    why_en: str
    grads: dict[int, Array] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    differs: list[int] = field(default_factory=list)
    total_steps: int = 0
    note_zh: str = ""
    note_en: str = ""


class Walk:
    """在记录上走反传。不给错法时，次序、累加与求和都与引擎相同。

    Args:
        trace: 记录。
        accumulates: 后到的梯度加上去；否则盖掉先到的。
        sums: 对广播出来的轴求和。

    Attributes:
        grads: 值的编号 → 至今收到的梯度。
        steps: 最近一趟走过的步，至多 ``MAX_LISTED`` 步。
        count: 最近一趟走了几步。
    """

    def __init__(self, trace: Trace, *, accumulates: bool = True, sums: bool = True) -> None:
        self.trace, self.accumulates, self.sums = trace, accumulates, sums
        self.grads: dict[int, Array] = {}
        self.steps: list[Step] = []
        self.count = 0

    def maker(self, value: int) -> NodeRecord | None:
        """产生一个值的、反传要经过的节点；叶子没有。"""
        made_by = self.trace.values[value].producer
        node = None if made_by is None else self.trace.nodes[made_by]
        return node if node is not None and any(node.needs) else None

    def go(self, backward: Backward, order: Order) -> None:
        """走完一趟反传；只有叶子上从前的梯度还在。

        Args:
            backward: 哪一趟：起点与起点的梯度。
            order: 按什么次序走各个节点。
        """
        past = {value: g for value, g in self.grads.items() if self.maker(value) is not None}
        self.grads = {value: g for value, g in self.grads.items() if value not in past}
        self.steps, self.count = [], 0
        reached = [self.receive(value, np.asarray(seed)) for value, seed in backward.roots]
        with np.errstate(all="ignore"):
            order(self, [node for node, _, _ in reached if node is not None])
        self.grads = {**past, **self.grads}

    def receive(self, value: int, g: Array) -> tuple[NodeRecord | None, Array | None, Array]:
        """一个值收到一份梯度；返回产生它的节点，以及之前与之后的梯度。"""
        before = self.grads.get(value)
        after = self.grads[value] = g if before is None or not self.accumulates else before + g
        return self.maker(value), before, after

    def fire(self, node: NodeRecord) -> list[NodeRecord]:
        """一个节点把自己此刻的梯度分给各个输入；返回收到梯度的节点，按输入的次序。"""
        g, reached = self.grads[node.output], []
        step = Step(self.count, node.id, g, 0, [], None, None, node)
        for position, raw in self.local(node, g):
            value = node.inputs[position]
            if value is None:
                continue
            part = self.fitted(raw, value)
            maker, before, after = self.receive(value, part)
            axes = _summed_axes(raw.shape, part.shape)
            step.edges.append(EdgeRecord(position, value, raw, part, before, after, raw.shape, axes, step))
            if maker is not None:
                reached.append(maker)
        self.count += 1
        if self.count <= MAX_LISTED:
            self.steps.append(step)
        return reached

    def local(self, node: NodeRecord, g: Array) -> list[tuple[int, Array]]:
        """一个节点的 VJP；不累加时，取了两次的那一行也不累加。"""
        if not self.accumulates and node.op in _TAKES_ROWS:
            return [(0, _overwritten(self.trace, node, g))]
        return node.vjp(g)

    def fitted(self, raw: Array, value: int) -> Array:
        """VJP 的结果 → 加上去的那一份：还原成输入的形状与 dtype；不求和时，多出来的轴就留着。"""
        like = np.asarray(self.trace.values[value].data)
        is_smaller = np.broadcast_shapes(raw.shape, like.shape) == like.shape
        part = unbroadcast(raw, like.shape) if self.sums or is_smaller else raw
        return part if part.dtype == like.dtype else part.astype(like.dtype)


Order = Callable[[Walk, list[NodeRecord]], None]


def newest_first(walk: Walk, roots: list[NodeRecord]) -> None:
    """引擎的次序：总是轮到创建得最晚的节点，那时它的梯度已经收齐。"""
    _by_age(walk, roots, sign=-1)


def oldest_first(walk: Walk, roots: list[NodeRecord]) -> None:
    """次序颠倒：先轮到创建得最早的，每个节点只走一次，后到的梯度再也传不下去。"""
    _by_age(walk, roots, sign=1)


def _by_age(walk: Walk, roots: list[NodeRecord], sign: int) -> None:
    seen = {node.id for node in roots}
    heap = [sign * one for one in seen]
    heapq.heapify(heap)
    while heap:
        for node in walk.fire(walk.trace.nodes[sign * heapq.heappop(heap)]):
            if node.id not in seen:
                seen.add(node.id)
                heapq.heappush(heap, sign * node.id)


def recursively(walk: Walk, roots: list[NodeRecord]) -> None:
    """朴素递归：每收到一份就往下走一遍，传下去的却是累计值。"""
    stack = list(reversed(roots))
    while stack:
        stack += reversed(walk.fire(stack.pop()))


def faults(trace: Trace) -> list[Fault]:
    """五种错法各走一遍。

    Args:
        trace: 一次记录。

    Returns:
        五种错法的结果。没有反传的、太大的、有自定义算子或钩子的，都不重走，结果为空。
    """
    truth = Walk(trace)
    if not _can_walk(trace):
        return []
    _walk(truth, newest_first)
    if not _reproduces(truth):
        return []
    results = [
        _recursive(trace),
        _wrong("no_accumulation", Walk(trace, accumulates=False), newest_first),
        _unsummed(trace),
        _forgotten(trace),
        _wrong("wrong_order", Walk(trace), oldest_first),
    ]
    for fault in results:
        fault.differs = _differing(truth.grads, fault.grads) if fault.total_steps else []
    return results


def faults_json(trace: Trace) -> list[dict[str, Any]]:
    """同 ``faults``，写成 ``SCHEMA.md`` 里 ``faults`` 一项的样子。"""
    plain = ("name", "title_zh", "title_en", "why_zh", "why_en", "differs", "total_steps", "note_zh", "note_en")
    return [
        {
            **{name: getattr(one, name) for name in plain},
            "grads": {str(value): array_json(g) for value, g in sorted(one.grads.items())},
            "steps": [step_json(step) for step in one.steps],
        }
        for one in faults(trace)
    ]


def _walk(walk: Walk, order: Order) -> None:
    """依次走完各趟反传；一趟开始时，叶子上留着多少与记录里相同。"""
    for backward in walk.trace.backwards:
        for one in backward.accumulated:
            if one.before is None:
                walk.grads.pop(one.value, None)
            else:
                walk.grads.setdefault(one.value, np.asarray(one.before))
        walk.go(backward, order)


def _wrong(name: str, walk: Walk, order: Order) -> Fault:
    _walk(walk, order)
    return _finished(Fault(name, *_WORDS[name]), walk)


def _recursive(trace: Trace) -> Fault:
    """朴素递归；路径太多就只报出步数。"""
    walk = Walk(trace)
    visits = max(_visits(walk, backward) for backward in trace.backwards)
    if visits <= MAX_VISITS:
        return _wrong("naive_recursion", walk, recursively)
    fault = Fault("naive_recursion", *_WORDS["naive_recursion"])
    right = max(len(backward.steps) for backward in trace.backwards)
    fault.note_zh = f"走不完：要走 {visits:,} 步，按正确的次序只要 {right} 步。"
    fault.note_en = f"It would take {visits:,} steps; in the right order it takes {right}."
    return fault


def _unsummed(trace: Trace) -> Fault:
    """不对广播轴求和；形状对不上而走不下去时，留下走到那里的结果。"""
    walk, note = Walk(trace, sums=False), ""
    try:
        _walk(walk, newest_first)
    except (ValueError, IndexError) as error:
        note = str(error)
    fault = _finished(Fault("no_broadcast_sum", *_WORDS["no_broadcast_sum"]), walk)
    if note:
        fault.note_zh = f"走到这里，形状对不上了：{note}"
        fault.note_en = f"It stops here, the shapes do not fit: {note}"
    return fault


def _forgotten(trace: Trace) -> Fault:
    """最后那一趟再走一遍，叶子上还留着这一次的梯度；只列出再走的这一遍。"""
    walk = Walk(trace)
    _walk(walk, newest_first)
    walk.go(trace.backwards[-1], newest_first)
    return _finished(Fault("forgotten_zero_grad", *_WORDS["forgotten_zero_grad"]), walk)


def _finished(fault: Fault, walk: Walk) -> Fault:
    fault.grads, fault.steps, fault.total_steps = walk.grads, walk.steps, walk.count
    if walk.count > len(walk.steps):
        fault.note_zh = f"一共 {walk.count:,} 步，这里列出开头的 {len(walk.steps)} 步。"
        fault.note_en = f"{walk.count:,} steps in all; the first {len(walk.steps)} are listed."
    return fault


def _visits(walk: Walk, backward: Backward) -> int:
    """朴素递归要走的步数：从起点出发的各条路径一共经过多少次节点。"""
    visits: Counter[int] = Counter()
    for root, _ in backward.roots:
        visits.update(node.id for node in (walk.maker(root),) if node is not None)
    for node in reversed(walk.trace.nodes):
        for value, need in zip(node.inputs, node.needs, strict=True):
            maker = walk.maker(value) if need and value is not None else None
            if maker is not None and visits[node.id]:
                visits[maker.id] += visits[node.id]
    return sum(visits.values())


def _can_walk(trace: Trace) -> bool:
    """有反传，各步都留着重算所需的值，又没有大到看不过来；用户自己的算子不重跑，它可能有副作用。"""
    steps = [step for backward in trace.backwards for step in backward.steps]
    edges = [edge for step in steps for edge in step.edges]
    arrays = [array for edge in edges for array in (edge.raw, edge.contribution, edge.after)]
    is_kept = all(isinstance(s.record.declared, Op) and s.record.saved is not None for s in steps)
    is_plain = not any(isinstance(one, Summary) for one in (*arrays, *(value.data for value in trace.values)))
    is_plain = is_plain and not any(value.dtype == "bfloat16" for value in trace.values)
    return bool(steps) and is_kept and is_plain and sum(one.size for one in arrays) <= MAX_ELEMENTS


def _reproduces(walk: Walk) -> bool:
    """正确的走法重现了记录里的梯度；有钩子改过梯度的，就重现不了。"""
    recorded = {value.id: np.asarray(value.grad) for value in walk.trace.values if value.grad is not None}
    return not [v for v in _differing(recorded, walk.grads) if v in recorded]


def _differing(right: dict[int, Array], wrong: dict[int, Array]) -> list[int]:
    """梯度不同的那些值：只差相加次序的舍入不算。"""
    return sorted(v for v in {*right, *wrong} if v not in right or v not in wrong or not _same(right[v], wrong[v]))


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    eps = max(np.finfo(one.dtype).eps for one in (a, b))
    scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
    return bool(np.allclose(a, b, rtol=64 * eps, atol=64 * eps * scale, equal_nan=True))


def _summed_axes(raw: tuple[int, ...], part: tuple[int, ...]) -> tuple[int, ...]:
    """``raw`` 的哪些轴被求和掉了。"""
    extra = len(raw) - len(part)
    return tuple(i for i, n in enumerate(raw) if i < extra or (n != 1 and part[i - extra] == 1))


# ---- 取行的算子：反向本应把同一行收到的几份加起来


def _row_key(trace: Trace, node: NodeRecord) -> Any:
    """``embedding`` 与 ``index`` 取的是哪些行；``gather`` 逐元素给出下标。"""
    if node.op == "index":
        return node.raw_attrs["key"]
    index = np.asarray(trace.values[node.inputs[1] or 0].data)
    return along(index, node.raw_attrs["dim"]) if node.op == "gather" else index


def _overwritten(trace: Trace, node: NodeRecord, g: Array) -> Array:
    """``grad[ids] = g``：同一行写了几次，只剩最后一次；应为 ``np.add.at(grad, ids, g)``。"""
    table = np.asarray(trace.values[node.inputs[0] or 0].data)
    grad = np.zeros(table.shape, table.dtype)
    grad[_row_key(trace, node)] = g
    return grad


_TAKES_ROWS = ("embedding", "gather", "index")

_WORDS = {
    "naive_recursion": (
        "朴素递归",
        "naive recursion",
        "每收到一份就往下递归，传下去的却是累计值：先到的那份传了两遍。",
        "It recurses on every arrival and passes the running total on: what came first is counted twice.",
    ),
    "no_accumulation": (
        "不累加",
        "no accumulation",
        "后到的梯度盖掉先到的：一个值用了几次，只有最后一次算数。",
        "A later contribution overwrites the earlier one: of several uses only the last counts.",
    ),
    "no_broadcast_sum": (
        "广播轴不求和",
        "no sum over broadcast axes",
        "输入被广播过，它的梯度却停在广播之后的形状上，没有加回来。",
        "The input was broadcast, and its gradient keeps the broadcast shape instead of being summed back.",
    ),
    "forgotten_zero_grad": (
        "忘了 zero_grad",
        "forgotten zero_grad",
        "上一次的梯度还留在 .grad 里，这一次的又加了上去。",
        "The gradients of the last step are still in .grad, and this step is added to them.",
    ),
    "wrong_order": (
        "次序颠倒",
        "wrong order",
        "先轮到创建得最早的节点：梯度还没收齐就往下传，后到的再也传不下去。",
        "The oldest node goes first: it passes on what has arrived so far, and the rest never goes further.",
    ),
}
"""名字 → 中文名、英文名、错在哪里（中文、英文）。"""
