"""计时者：把引擎报来的每一步，与用户画出的每一段，各记成一件事。

流入：``autograd/observer.py`` 的调用；流出：一串 ``FunctionEvent`` 与一本内存账。下一站：``annotations.py``。
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.autograd import observer
from tinygrad_llm.autograd.function_node import Saved
from tinygrad_llm.profiler.events import BACKWARD, OP, FunctionEvent, source_line
from tinygrad_llm.profiler.flops import backward_flops, forward_flops
from tinygrad_llm.profiler.ledger import Ledger

_PACKAGE = str(Path(__file__).resolve().parents[1])


class Options(NamedTuple):
    """除了时间还记什么：形状、内存账、代码行、浮点运算次数、每一层的前向。"""

    shapes: bool = False
    memory: bool = False
    stack: bool = False
    flops: bool = False
    modules: bool = False


class _Open(threading.local):
    """一个线程里已经开始、还没有完成的：``(什么, 开始的时刻)``。"""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, int]] = []
        self.thread = threading.get_native_id()


class Recorder:
    """一次剖析的记录。

    Args:
        options: 除了时间还记什么。

    Attributes:
        events: 记下的，按完成的先后。
        threads: 线程号到线程的名字。
        ledger: 内存账；没有要求记则为 ``None``。
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.events: list[FunctionEvent] = []
        self.threads: dict[int, str] = {}
        self.ledger = Ledger() if options.memory else None
        self._open = _Open()
        self._flops: dict[int, int] = {}

    # ---- 引擎报来的

    def before(self, what: Any) -> None:
        """一步就要开始；看时刻是最后一件事，记账的时间因此不算在里面。"""
        self._open.steps.append((what, perf_counter_ns()))

    def forward(self, op: Any, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        """一次算子调用完成。"""
        name = op.__name__ if isinstance(op, type) else op.name
        event = self._finished(op, name, OP, name)
        if event is None:
            return
        node = next((found for found in (getattr(one, "node", None) for one in outputs) if found is not None), None)
        if node is not None:
            node = node.public
            event.sequence_nr = -node.order
        if self.options.shapes:
            event.input_shapes = [_shape(arg) for arg in args]
            event.input_dtypes = [_dtype(arg) for arg in args]
        if self.options.flops and not isinstance(op, type):
            event.flops = forward_flops(name, [tuple(_shape(arg)) for arg in args], outputs[0].array.shape)
            if node is not None and event.flops:
                self._flops[node.order] = event.flops
        if self.ledger is not None:
            saved = [] if node is None else _saved_arrays(node)
            event.self_cpu_memory_usage = self.ledger.forward(name, event.start_ns, args, outputs, node, saved)
        self.events.append(event)

    def backward(self, node: Any, g: Any, grads: Sequence[Any]) -> None:
        """一个节点的反向完成。"""
        name = node.public.function.__name__ if node.op is None else node.op.name
        event = self._finished(node, node.name(), BACKWARD, name)
        if event is None or node.public is not node:  # 多输出的自定义算子，每个输出另有一个转手的小节点
            return
        event.sequence_nr = -node.order
        if self.options.shapes:
            event.input_shapes, event.input_dtypes = [_shape(g)], [_dtype(g)]
        if self.options.flops and node.order in self._flops:
            event.flops = backward_flops(name, self._flops[node.order], node.plan.needs)
        if self.ledger is not None:
            event.self_cpu_memory_usage = self.ledger.backward(name, event.start_ns, node, g, grads)
        self.events.append(event)

    # ---- 用户画出的

    def end(self, what: Any, name: str, kind: str) -> None:
        """``before(what)`` 开始的一段到此为止。"""
        event = self._finished(what, name, kind, "")
        if event is not None:
            self.events.append(event)

    def _finished(self, what: Any, name: str, kind: str, op: str) -> FunctionEvent | None:
        """最近一个 ``before(what)`` 至今的一件事；其间半途而废的（抛出了异常）不算。没有开始过则为 ``None``。"""
        end_ns, steps = perf_counter_ns(), self._open.steps
        for i in reversed(range(len(steps))):
            if steps[i][0] is what:
                event = FunctionEvent(name, kind, op, steps[i][1], end_ns, self._open.thread)
                del steps[i:]
                self.threads.setdefault(event.thread, threading.current_thread().name)
                if self.options.stack:
                    event.stack = _callers()
                return event
        return None


def _saved_arrays(node: Any) -> list[Any]:
    """节点留下的数组；自定义算子留下的套着一层，换过存法的不在内存里，不算。"""
    values = [value.array() if type(value) is Saved else value for value in node.saved or ()]
    return [value for value in values if isinstance(value, np.ndarray)]


def _shape(value: Any) -> list[int]:
    """形状；不是数组则为空，与 torch 相同。"""
    return list(getattr(value, "array", value).shape) if hasattr(value, "shape") else []


def _dtype(value: Any) -> str:
    array = getattr(value, "array", value)
    return str(array.dtype) if isinstance(array, np.ndarray) else "Scalar" if isinstance(value, (int, float)) else ""


def _callers() -> list[str]:
    """本包之外调用到这里的代码行，最里面的在前。"""
    found, frame = [], sys._getframe(2)
    outer: Any = frame
    while outer is not None:
        code = outer.f_code
        if not code.co_filename.startswith(_PACKAGE):
            found.append(source_line(code.co_filename, outer.f_lineno, code.co_name))
        outer = outer.f_back
    return found


# ---- 进行中的记录

_running: dict[str, Recorder] = {}


def running() -> Recorder | None:
    """进行中的记录；没有则为 ``None``。"""
    return _running.get("recorder")


def start(options: Options) -> Recorder:
    """开始一次记录。

    Raises:
        RuntimeError: 已经有一次在进行。
    """
    recorder = Recorder(options)
    observer.observe(recorder)
    _running["recorder"] = recorder
    return recorder


def stop() -> None:
    """结束进行中的记录。"""
    observer.stop_observing()
    _running.clear()
