"""记下的一件事，与几件事的汇总：字段名同 ``torch.autograd.profiler_util``。

流入：起止时刻与线程；流出：谁套着谁、各自花了多久。时间的单位是微秒，内存是字节。下一站：``table.py``。
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

OP, BACKWARD, RANGE, MODULE = "op", "backward", "range", "module"
"""一件事的种类：算子的前向、节点的反向、用户画出的一段、一层的前向。"""


class Interval(NamedTuple):
    """起止时刻，微秒。"""

    start: float
    end: float

    def elapsed_us(self) -> float:
        """历时。"""
        return self.end - self.start


def time_text(us: float, unit: str | None = None) -> str:
    """微秒数写成 ``1.234ms`` 的样子；``unit`` 指定单位。"""
    unit = unit or ("s" if us >= 1e6 else "ms" if us >= 1e3 else "us")
    return f"{us / {'s': 1e6, 'ms': 1e3, 'us': 1.0}[unit]:.3f}{unit}"


class _Figures:
    """一件事与汇总共有的换算；别的设备的数一律是 0。"""

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    device_time = device_time_total = self_device_time_total = 0.0
    device_memory_usage = self_device_memory_usage = 0

    @property
    def cpu_time(self) -> float:
        """平均一次的历时。"""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def cpu_time_str(self) -> str:
        """平均一次的历时，带单位。"""
        return time_text(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        """总历时，带单位。"""
        return time_text(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        """自己的历时（除去里面套着的），带单位。"""
        return time_text(self.self_cpu_time_total)


class FunctionEvent(_Figures):
    """记下的一件事。

    Attributes:
        name: 名字：前向是算子名，反向是节点名，其余是用户起的。
        trace_name: Chrome trace 里的名字；只有 ``ProfilerStep#3`` 与 ``name`` 不同。
        kind: 种类。
        op: 哪个算子；前向与反向相同。
        start_ns: 何时开始。
        end_ns: 何时结束。
        thread: 线程号。
        input_shapes: 各输入的形状；没有要求记则为空。
        input_dtypes: 各输入的 dtype。
        self_cpu_memory_usage: 自己新申请的字节数。
        flops: 矩阵乘积的浮点运算次数。
        stack: 调用它的代码行，最里面的在前。
        sequence_nr: 前向与它的反向共有的号码；没有记图则为 -1。
        cpu_parent: 套着它的。
        cpu_children: 它套着的。
    """

    __slots__ = (
        "cpu_children", "cpu_parent", "end_ns", "flops", "input_dtypes", "input_shapes", "kind", "name", "op",
        "self_cpu_memory_usage", "sequence_nr", "stack", "start_ns", "thread", "trace_name",
    )  # fmt: skip

    count = 1

    def __init__(self, name: str, kind: str, op: str, start_ns: int, end_ns: int, thread: int) -> None:
        self.trace_name, self.kind, self.op = name, kind, op
        self.name = "ProfilerStep*" if name.startswith("ProfilerStep#") else name
        self.start_ns, self.end_ns, self.thread = start_ns, end_ns, thread
        self.input_shapes: Sequence[Any] = ()
        self.input_dtypes: Sequence[str] = ()
        self.stack: Sequence[str] = ()
        self.self_cpu_memory_usage, self.flops, self.sequence_nr = 0, 0, -1
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []

    def __repr__(self) -> str:
        return f"<FunctionEvent name={self.name} thread={self.thread} cpu_time={self.cpu_time_str}>"

    @property
    def key(self) -> str:
        """汇总时用的名字。"""
        return self.name

    @property
    def is_user_annotation(self) -> bool:
        """是不是用户用 ``record_function`` 画出的。"""
        return self.kind == RANGE

    @property
    def time_range(self) -> Interval:
        """起止时刻。"""
        return Interval(self.start_ns / 1e3, self.end_ns / 1e3)

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """历时。"""
        return (self.end_ns - self.start_ns) / 1e3

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """历时，除去里面套着的。"""
        return (self.end_ns - self.start_ns - sum(one.end_ns - one.start_ns for one in self.cpu_children)) / 1e3

    @property
    def cpu_memory_usage(self) -> int:
        """自己与里面套着的新申请的字节数。"""
        return self.self_cpu_memory_usage + sum(one.cpu_memory_usage for one in self.cpu_children)


class FunctionEventAvg(_Figures):
    """名字（或许还有形状、代码行）相同的几件事的汇总。

    Attributes:
        key: 名字。
        count: 几件。
        flops: 浮点运算次数之和。
        input_shapes: 各输入的形状；不按形状汇总则为空串。
        stack: 代码行；不按代码行汇总则为空。
    """

    def __init__(self, key: str, events: Iterable[FunctionEvent]) -> None:
        events = list(events)
        self.key, self.count = key, len(events)
        self.cpu_time_total = sum(one.cpu_time_total for one in events)
        self.self_cpu_time_total = sum(one.self_cpu_time_total for one in events)
        self.cpu_memory_usage = sum(one.cpu_memory_usage for one in events)
        self.self_cpu_memory_usage = sum(one.self_cpu_memory_usage for one in events)
        self.flops = sum(one.flops for one in events)
        self.input_shapes: Any = ""
        self.stack: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<FunctionEventAvg key={self.key} count={self.count} cpu_time={self.cpu_time_str}>"


def nested(events: Iterable[FunctionEvent]) -> list[FunctionEvent]:
    """按开始的先后排好，填上谁套着谁。

    Args:
        events: 按完成的先后排列；同一个线程里的两件事，要么一件套着另一件，要么不重叠。
    """
    finished = list(enumerate(events))
    finished.sort(key=lambda pair: (pair[1].start_ns, -pair[1].end_ns, -pair[0]))  # 起止全同时，后完成的在外面
    opened: dict[int, list[FunctionEvent]] = {}
    found = []
    for _, event in finished:
        outer = opened.setdefault(event.thread, [])
        while outer and outer[-1].end_ns < event.end_ns:
            outer.pop()
        event.cpu_parent, event.cpu_children = (outer[-1] if outer else None), []
        if outer:
            outer[-1].cpu_children.append(event)
        outer.append(event)
        found.append(event)
    return found


@functools.lru_cache(maxsize=256)
def source_line(filename: str, line: int, function: str) -> str:
    """代码行的写法，与 torch 相同。"""
    return f"{filename}({line}): {function}"
