"""Chrome trace：在 ``chrome://tracing`` 或 ui.perfetto.dev 里打开。

流入：事件、线程的名字与内存账；流出：一个 JSON 文件，时间的单位是微秒。
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tinygrad_llm.profiler.events import BACKWARD, MODULE, OP, RANGE, FunctionEvent
from tinygrad_llm.profiler.ledger import HELD, Ledger

_CATEGORIES = {OP: "cpu_op", BACKWARD: "cpu_op", RANGE: "user_annotation", MODULE: "python_function"}


def write_trace(
    path: str | Path,
    events: Iterable[FunctionEvent],
    threads: Mapping[int, str],
    ledger: Ledger | None,
    metadata: Mapping[str, Any],
) -> None:
    """写出 trace；文件名以 ``.gz`` 结尾则压缩。

    Args:
        path: 文件。
        events: 事件。
        threads: 线程号到线程的名字。
        ledger: 内存账；没有记则为 ``None``。
        metadata: 写在最外层的说明，值须能写成 JSON。
    """
    events, pid = list(events), os.getpid()
    origin = min((event.start_ns for event in events), default=0)
    rows = [*_names(pid, threads), *_spans(pid, events, origin), *_flows(pid, events, origin)]
    if ledger is not None:
        rows += _memory(pid, ledger, origin)
    text = json.dumps({"schemaVersion": 1, "displayTimeUnit": "ms", **metadata, "traceEvents": rows})
    data = text.encode()
    Path(path).write_bytes(gzip.compress(data) if str(path).endswith(".gz") else data)


def _names(pid: int, threads: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": "python"}}
    for thread, name in threads.items():
        args = {"name": f"thread {thread} ({name})"}
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": thread, "args": args}


def _spans(pid: int, events: Iterable[FunctionEvent], origin: int) -> Iterator[dict[str, Any]]:
    for i, event in enumerate(events):
        args: dict[str, Any] = {"Ev Idx": i}
        if event.sequence_nr >= 0:
            args["Sequence number"] = event.sequence_nr
        if event.input_shapes:
            args |= {"Input Dims": list(event.input_shapes), "Input type": list(event.input_dtypes)}
        if event.self_cpu_memory_usage:
            args["Bytes"] = event.self_cpu_memory_usage
        if event.flops:
            args["FLOPs"] = event.flops
        if event.stack:
            args["Call stack"] = ";".join(reversed(event.stack))
        yield {
            "ph": "X",
            "cat": _CATEGORIES[event.kind],
            "name": event.trace_name,
            "pid": pid,
            "tid": event.thread,
            "ts": (event.start_ns - origin) / 1e3,
            "dur": (event.end_ns - event.start_ns) / 1e3,
            "args": args,
        }


def _flows(pid: int, events: Iterable[FunctionEvent], origin: int) -> Iterator[dict[str, Any]]:
    """从前向指到它的反向的箭头。"""
    ends: dict[int, dict[str, FunctionEvent]] = {}
    for event in events:
        if event.sequence_nr >= 0:
            ends.setdefault(event.sequence_nr, {}).setdefault(event.kind, event)
    for number, pair in ends.items():
        for kind, phase in ((OP, "s"), (BACKWARD, "f")) if len(pair) == 2 else ():
            event = pair[kind]
            place = {"pid": pid, "tid": event.thread, "ts": (event.start_ns - origin) / 1e3}
            yield {"ph": phase, "id": number, "cat": "fwdbwd", "name": "fwdbwd", "bp": "e", **place}


def _memory(pid: int, ledger: Ledger, origin: int) -> Iterator[dict[str, Any]]:
    """内存的曲线：活着的数组，与其中图留着的。"""
    live = held = 0
    for change in sorted(ledger.changes, key=lambda one: one.time_ns):
        if change.kind == HELD:
            held += change.nbytes
        else:
            live += change.nbytes
        args = {"live": live, "held for backward": held}
        yield {"ph": "C", "name": "memory", "pid": pid, "tid": 0, "ts": (change.time_ns - origin) / 1e3, "args": args}
