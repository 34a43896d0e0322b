"""时间线：一份记录里的前向与反向，首尾相接地排在一根时间轴上，外加 Chrome trace。

流入：``Trace``；流出：``Span`` 的清单，或一个可以在 ``chrome://tracing``、ui.perfetto.dev 打开的 JSON 文件。
画成图的是 ``overlay.py``。

记录里只有每一步用了多久，没有几点开始：步与步之间解释器与录制自己花的时间不在其中，所以这里把各步紧挨着排。
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinygrad_llm.profiler.events import BACKWARD, MODULE, OP, RANGE, FunctionEvent
from tinygrad_llm.profiler.trace import write_trace
from tinygrad_llm.tracing.real.flops import backward_flops_of, flops_of
from tinygrad_llm.tracing.trace import NodeRecord, Trace


class Span(NamedTuple):
    """时间轴上的一段：一个算子的前向，或一个节点的反向。

    Attributes:
        node: 哪次算子调用。
        is_backward: 是不是反向。
        start_ns: 从零算起的开始。
        end_ns: 结束。
        flops: 浮点运算次数；反向只数矩阵乘积。
        held_bytes: 这一段之后，图一共替反向留着多少字节；几个算子留着同一个数组的，各算一次。
    """

    node: NodeRecord
    is_backward: bool
    start_ns: int
    end_ns: int
    flops: int
    held_bytes: int

    @property
    def elapsed_ns(self) -> int:
        """用了多久。"""
        return self.end_ns - self.start_ns


def timeline(trace: Trace, first: int = 0, last: int | None = None) -> list[Span]:
    """按发生的先后排好的各段。

    Args:
        trace: 记录。
        first: 从第几件事（``trace.events``）起。
        last: 到第几件事为止，不含；缺省到最后。

    Returns:
        各段，首尾相接。
    """
    found: list[Span] = []
    now = held = 0
    for event in trace.events[first:last]:
        if event.kind == "forward" and event.node is not None:
            node = trace.nodes[event.node]
            held += node.saved_bytes
            spent, flops = node.time_ns, forward_flops_of(trace, node)
        elif event.kind == "backward" and event.backward is not None and event.step is not None:
            step = trace.backwards[event.backward].steps[event.step]
            node = trace.nodes[step.node]
            held -= node.saved_bytes
            spent, flops = step.time_ns, backward_flops_of(node.op, *_shapes(trace, node), node.needs)
        else:
            continue
        found.append(Span(node, event.kind == "backward", now, now + spent, flops, max(held, 0)))
        now += spent
    return found


def forward_flops_of(trace: Trace, node: NodeRecord) -> int:
    """一次算子调用的浮点运算次数。"""
    return flops_of(node.op, *_shapes(trace, node), node.raw_attrs)


def _shapes(trace: Trace, node: NodeRecord) -> tuple[list[tuple[int, ...] | None], tuple[int, ...]]:
    """各输入与输出的形状。"""
    shapes = [None if i is None else trace.values[i].shape for i in node.inputs]
    return shapes, trace.values[node.output].shape


def runs(spans: Sequence[Span], depth: int) -> Iterator[tuple[str, bool, int, int]]:
    """同一个模块里连着的几段并成一段。

    Args:
        spans: ``timeline`` 的结果。
        depth: 模块的路径取到第几级；``h.0`` 这样的编号与它前面的名字算一级。

    Yields:
        （模块，是不是反向，开始，结束）；路径不够长的不给。
    """
    current: tuple[str, bool, int, int] | None = None
    for span in spans:
        levels = module_levels(span.node.module)
        name = ".".join(levels[:depth]) if len(levels) >= depth else ""
        if current is not None and current[:2] == (name, span.is_backward):
            current = (*current[:3], span.end_ns)
            continue
        if current is not None and current[0]:
            yield current
        current = (name, span.is_backward, span.start_ns, span.end_ns)
    if current is not None and current[0]:
        yield current


def module_levels(path: str) -> list[str]:
    """``h.0.attn.c_attn`` → ``["h.0", "attn", "c_attn"]``。"""
    levels: list[str] = []
    for part in path.split(".") if path else ():
        if part.isdigit() and levels:
            levels[-1] += f".{part}"
        else:
            levels.append(part)
    return levels


def write_chrome_trace(trace: Trace, path: str | Path) -> None:
    """写出 Chrome trace：模块套着算子，前向有箭头指到它的反向。

    Args:
        trace: 记录。
        path: 文件；以 ``.gz`` 结尾则压缩。
    """
    thread = threading.get_ident()
    spans = timeline(trace)
    write_trace(path, _events(trace, spans, thread), {thread: "recording"}, None, {"title": trace.title})


def _events(trace: Trace, spans: Sequence[Span], thread: int) -> Iterable[FunctionEvent]:
    for is_backward, part in itertools.groupby(spans, lambda span: span.is_backward):
        phase = list(part)
        name = "backward" if is_backward else "forward"
        yield FunctionEvent(name, RANGE, "", phase[0].start_ns, phase[-1].end_ns, thread)
    for depth in (1, 2, 3):
        for module, _, start_ns, end_ns in runs(spans, depth):
            yield FunctionEvent(module, MODULE, "", start_ns, end_ns, thread)
    for span in spans:
        node, kind = span.node, BACKWARD if span.is_backward else OP
        name = f"{node.op} backward" if span.is_backward else node.op
        event = FunctionEvent(name, kind, node.op, span.start_ns, span.end_ns, thread)
        event.flops, event.sequence_nr = span.flops, node.id
        event.input_shapes = [list(shape or ()) for shape in _shapes(trace, node)[0]]
        event.input_dtypes = [trace.values[i].dtype for i in node.inputs if i is not None]
        event.self_cpu_memory_usage = 0 if span.is_backward else node.saved_bytes
        if node.source is not None:
            event.stack = [f"{node.source['file']}:{node.source['line']}: {node.source['text'].strip()}"]
        yield event
