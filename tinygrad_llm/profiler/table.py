"""一串事件与它们的表：``prof.key_averages().table(...)``，列与 torch 的相同。

流入：``FunctionEvent`` 或汇总；流出：排好的文本。下一站：``trace.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_llm.profiler.events import FunctionEvent, FunctionEventAvg, time_text

_DEVICES = ("cuda", "xpu", "privateuse1")
_STACK_METRICS = ("self_cpu_time_total", "self_cuda_time_total", "self_xpu_time_total", "self_privateuse1_time_total")


class Column(NamedTuple):
    """表的一列：列名、取一格的函数、最宽几个字符、靠左还是靠右。"""

    title: str
    cell: Callable[[Any], str]
    most: int | None = None
    align: str = ">"


class EventList(list[Any]):
    """一串事件，或一串汇总。

    Args:
        events: 事件。
        has_memory: 记了内存。
        has_flops: 记了浮点运算次数。
    """

    def __init__(self, events: Iterable[Any] = (), *, has_memory: bool = False, has_flops: bool = False) -> None:
        super().__init__(events)
        self.has_memory, self.has_flops = has_memory, has_flops

    @property
    def self_cpu_time_total(self) -> float:
        """全部事件自己的历时之和，微秒。"""
        return sum(float(one.self_cpu_time_total) for one in self)

    def key_averages(
        self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """名字相同的合成一条。

        Args:
            group_by_input_shapes: 形状不同的分开。
            group_by_stack_n: 最里面这么多层代码行不同的分开。
            group_by_overload_name: torch 的一个算子有几种重载；这里只有一种，分不分都一样。
        """
        groups: dict[Any, list[FunctionEvent]] = {}
        for event in self:
            shapes = str(list(event.input_shapes)) if group_by_input_shapes and event.input_shapes else ""
            groups.setdefault((event.key, shapes, tuple(event.stack[:group_by_stack_n])), []).append(event)
        averages = []
        for (key, shapes, stack), events in groups.items():
            one = FunctionEventAvg(key, events)
            one.input_shapes, one.stack = (list(events[0].input_shapes) if shapes else ""), list(stack)
            averages.append(one)
        return EventList(averages, has_memory=self.has_memory, has_flops=self.has_flops)

    def total_average(self) -> FunctionEventAvg:
        """全部事件合成一条。"""
        total = FunctionEventAvg("Total", ())
        for name in ("count", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage"):
            setattr(total, name, sum(getattr(one, name) for one in self))
        total.flops = sum(one.flops for one in self)
        return total

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int | None = 75,
        max_name_column_width: int | None = 55,
        max_shapes_column_width: int | None = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """排成表。

        Args:
            sort_by: 按哪个字段从大到小排；``"cuda_time_total"`` 之类全是 0，等于不排。
            row_limit: 至多几行；-1 表示不限。
            max_src_column_width: 代码行一列最宽几个字符。
            max_name_column_width: 名字一列最宽几个字符。
            max_shapes_column_width: 形状一列最宽几个字符。
            header: 写在表上方的一行。
            top_level_events_only: 只列没有被别的事件套着的。
            time_unit: 时间的单位 ``"s"``、``"ms"`` 或 ``"us"``；缺省随大小而定。

        Raises:
            AttributeError: 没有 ``sort_by`` 这个字段。
        """
        rows = list(self)
        if not rows:
            return ""
        if sort_by is not None:
            field = sort_by
            for name in _DEVICES:
                field = field.replace(name, "device")
            rows.sort(key=lambda one: getattr(one, field), reverse=True)
        if top_level_events_only:
            rows = [one for one in rows if getattr(one, "cpu_parent", None) is None]
        columns = self._columns(max_name_column_width, max_shapes_column_width, max_src_column_width, time_unit)
        lines = drawn(columns, rows if row_limit < 0 else rows[:row_limit])
        total = f"Self CPU time total: {time_text(self.self_cpu_time_total, time_unit)}"
        return "\n".join([*([header] if header else []), *lines, total, ""])

    def _columns(self, name: int | None, shapes: int | None, source: int | None, unit: str | None) -> list[Column]:
        whole = self.self_cpu_time_total or 1.0
        columns = [
            Column("Name", lambda one: one.key, name),
            Column("Self CPU %", lambda one: f"{one.self_cpu_time_total / whole:.2%}"),
            Column("Self CPU", lambda one: time_text(one.self_cpu_time_total, unit)),
            Column("CPU total %", lambda one: f"{one.cpu_time_total / whole:.2%}"),
            Column("CPU total", lambda one: time_text(one.cpu_time_total, unit)),
            Column("CPU time avg", lambda one: time_text(one.cpu_time, unit)),
        ]
        if self.has_memory:
            columns += [
                Column("CPU Mem", lambda one: memory_text(one.cpu_memory_usage)),
                Column("Self CPU Mem", lambda one: memory_text(one.self_cpu_memory_usage)),
            ]
        columns.append(Column("# of Calls", lambda one: str(one.count)))
        if any(len(one.input_shapes) for one in self):
            columns.append(Column("Input Shapes", lambda one: str(one.input_shapes), shapes))
        if any(one.stack for one in self):
            columns.append(Column("Source Location", lambda one: one.stack[0] if one.stack else "", source, "<"))
        if self.has_flops:
            scale, prefix = _flops_unit(max(one.flops for one in self))
            columns.append(
                Column(f"Total {prefix}FLOPs", lambda one: f"{one.flops / scale:.3f}" if one.flops else "--")
            )
        return columns

    def export_stacks(self, path: str | Path, metric: str = "self_cpu_time_total") -> None:
        """写出火焰图工具要的一行一叠：``最外层;…;最里层 微秒数``。

        Args:
            path: 文件。
            metric: ``"self_cpu_time_total"``；别的设备的一律是 0，写不出一行。

        Raises:
            ValueError: 没有这个指标。
        """
        if metric not in _STACK_METRICS:
            raise ValueError(f"metric should be one of: {list(_STACK_METRICS)}")
        totals: dict[str, int] = {}
        for event in self if metric == "self_cpu_time_total" else ():
            if event.stack and int(event.self_cpu_time_total) > 0:
                line = ";".join(frame.replace(" ", "_").replace(";", "_") for frame in reversed(event.stack))
                totals[line] = totals.get(line, 0) + int(event.self_cpu_time_total)
        Path(path).write_text("".join(f"{line} {us}\n" for line, us in totals.items()), encoding="utf-8")


def drawn(columns: Sequence[Column], rows: Sequence[Any], *, last: bool = False) -> list[str]:
    """画出一张表的各行；``last`` 表示末一行是合计，与上面隔一条线。"""
    cells = [[_clipped(column.cell(row), column.most) for column in columns] for row in rows]
    cells.insert(0, [column.title for column in columns])
    widths = [max(map(len, texts)) for texts in zip(*cells, strict=True)]
    aligns = [column.align for column in columns]
    title, *body = [
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(line, aligns, widths, strict=True))
        for line in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    if last and body:
        body.insert(-1, rule)
    return [rule, title, rule, *body, rule]


def _clipped(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


def memory_text(nbytes: float) -> str:
    """字节数写成 ``64.00 KB`` 的样子，与 torch 相同。"""
    size = abs(nbytes)
    for unit, power in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size >= 1 << power:
            return f"{nbytes / (1 << power):.2f} {unit}"
    return f"{nbytes:.0f} B"


def _flops_unit(most: int) -> tuple[float, str]:
    return next(((s, p) for s, p in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")) if most >= s), (1.0, ""))
