"""两张按算子列的表：内存的一张（``memory_summary``），一步训练的时间的一张（``op_table``）。

流入：内存账与事件；流出：文本。下一站：``training.py``。
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinygrad_llm.profiler.events import BACKWARD, MODULE, OP, RANGE, FunctionEvent
from tinygrad_llm.profiler.ledger import GRADIENT, HELD, INPUT, KINDS, OUTPUT, Ledger
from tinygrad_llm.profiler.process import process_memory
from tinygrad_llm.profiler.profiler import latest_ledger, profile
from tinygrad_llm.profiler.table import Column, drawn, memory_text

_PROCESS = {
    "resident": "resident",
    "peak": "peak resident",
    "heap used": "C heap in use",
    "heap free": "C heap free lists",
    "mapped": "C heap mapped blocks",
}
_NO_PROFILE = "no profile has recorded memory: run the step under tinygrad_llm.profiler.profile(profile_memory=True)"


class _Usage(NamedTuple):
    """一个算子的内存：各个种类此刻、峰值那一刻与一共申请的字节数；图替它留着的，最多的时候。"""

    op: str
    now: dict[str, int]
    peak: dict[str, int]
    made: dict[str, int]
    most: int


def memory_summary() -> str:
    """内存用在哪里：本进程的几个数，与最近一次 ``profile(profile_memory=True)`` 的按算子的表。

    表里只有算子申请的数组与图留着的值；一块内存只算一次，参数、优化器的状态不在内。``at peak`` 是总数最大那一刻的账，
    各行相加就是峰值；``most`` 是图替这个算子留得最多的时候，各行未必在同一刻。
    """
    lines = ["process memory"]
    lines += [f"  {_PROCESS[name]:<22}{memory_text(size):>12}" for name, size in process_memory().items()]
    ledger = latest_ledger()
    return "\n".join([*lines, "", *([_NO_PROFILE] if ledger is None else _ledger_lines(ledger))])


def _ledger_lines(ledger: Ledger) -> list[str]:
    now, peak, made, most = ledger.totals(), ledger.totals(at_peak=True), ledger.made(), ledger.most_held()
    names = dict.fromkeys(op for op, _ in made)
    rows = [_Usage(op, _of(now, op), _of(peak, op), _of(made, op), most.get(op, 0)) for op in names]
    rows.sort(key=lambda row: (row.peak[OUTPUT] + row.peak[GRADIENT], row.most, row.made[OUTPUT]), reverse=True)
    total = _Usage("Total", _of(now), _of(peak), _of(made), ledger.most_in_all())
    live = total.now[OUTPUT] + total.now[GRADIENT] + total.now[INPUT]
    title = f"arrays of the last profile: {memory_text(live)} live, {memory_text(ledger.peak)} at the peak"
    if total.peak[INPUT]:
        title += f" ({memory_text(total.peak[INPUT])} of it are inputs that the graph holds)"
    return [title, *drawn(_USAGE_COLUMNS, [*rows, total], last=True)]


def _of(table: dict[tuple[str, str], int], op: str | None = None) -> dict[str, int]:
    """一个算子（缺省为全部）各个种类的字节数。"""
    return {kind: sum(size for (name, k), size in table.items() if k == kind and op in (None, name)) for kind in KINDS}


_USAGE_COLUMNS = [
    Column("Op", lambda row: row.op, 32, "<"),
    Column("Output now", lambda row: memory_text(row.now[OUTPUT])),
    Column("at peak", lambda row: memory_text(row.peak[OUTPUT])),
    Column("in all", lambda row: memory_text(row.made[OUTPUT])),
    Column("Gradient now", lambda row: memory_text(row.now[GRADIENT])),
    Column("at peak", lambda row: memory_text(row.peak[GRADIENT])),
    Column("in all", lambda row: memory_text(row.made[GRADIENT])),
    Column("Held now", lambda row: memory_text(row.now[HELD])),
    Column("at peak", lambda row: memory_text(row.peak[HELD])),
    Column("most", lambda row: memory_text(row.most)),
]


class _Cost:
    """一个算子（或用户画出的一段）花的时间。

    Attributes:
        name: 名字。
        calls: 前向几次；画出的一段则是几段。
        forward_ns: 前向自己的时间。
        backward_ns: 反向自己的时间。
        other_ns: 画出的一段自己的时间。
        flops: 浮点运算次数。
        held: 图替它留着的字节数，最多的时候。
    """

    def __init__(self, name: str, held: int) -> None:
        self.name, self.held = name, held
        self.calls, self.forward_ns, self.backward_ns, self.other_ns, self.flops = 0, 0.0, 0.0, 0.0, 0

    @property
    def total_ns(self) -> float:
        """合计。"""
        return self.forward_ns + self.backward_ns + self.other_ns

    def add(self, event: FunctionEvent) -> None:
        """算上一件事。"""
        self_ns = event.self_cpu_time_total * 1e3
        self.calls += event.kind != BACKWARD
        self.forward_ns += self_ns if event.kind == OP else 0
        self.backward_ns += self_ns if event.kind == BACKWARD else 0
        self.other_ns += self_ns if event.kind in (RANGE, MODULE) else 0
        self.flops += event.flops


def op_table(prof: profile, row_limit: int = 20) -> str:
    """最费时的算子：前向与反向各多少毫秒、占几成、几次、每秒多少 GFLOP、图替它留着多少字节。

    时间不含里面套着的别的事件；几个线程的相加。最外层的 ``record_function`` 是整个过程，不列入。

    Args:
        prof: 做完了的剖析，最好打开了 ``profile_memory`` 与 ``with_flops``。
        row_limit: 至多几行；其余的合成一行。
    """
    events = prof.events()
    held = {} if prof.ledger is None else prof.ledger.most_held()
    costs: dict[str, _Cost] = {}
    for event in events:
        if event.kind in (OP, BACKWARD) or event.cpu_parent is not None:
            name = event.op or event.name
            costs.setdefault(name, _Cost(name, held.get(name, 0))).add(event)
    rows = sorted(costs.values(), key=lambda one: one.total_ns, reverse=True)
    if len(rows) > row_limit:
        rows[row_limit - 1 :] = [_merged(f"{len(rows) - row_limit + 1} others", rows[row_limit - 1 :])]
    whole = _merged("Total", rows)
    whole.held = 0 if prof.ledger is None else prof.ledger.most_in_all()
    return "\n".join(drawn(_cost_columns(whole.total_ns or 1.0), [*rows, whole], last=True))


def _merged(name: str, rows: Iterable[_Cost]) -> _Cost:
    found = _Cost(name, 0)
    for one in rows:
        for field, value in vars(one).items():
            if field != "name":
                setattr(found, field, getattr(found, field) + value)
    return found


def _cost_columns(whole_ns: float) -> list[Column]:
    return [
        Column("Op", lambda one: one.name, 32, "<"),
        Column("Calls", lambda one: str(one.calls)),
        Column("Forward ms", lambda one: _ms(one.forward_ns)),
        Column("Backward ms", lambda one: _ms(one.backward_ns)),
        Column("Total ms", lambda one: _ms(one.total_ns)),
        Column("Share", lambda one: f"{one.total_ns / whole_ns:.1%}"),
        Column("GFLOP/s", lambda one: f"{one.flops / one.total_ns:.1f}" if one.flops else ""),
        Column("Held", lambda one: memory_text(one.held) if one.held else ""),
    ]


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.2f}" if ns else ""
