"""``torch.profiler.profile``：在 ``with`` 之内计时，各个线程的每个算子、每个节点的反向都在内。

流入：引擎的每一步；流出：``key_averages()`` 的表与 Chrome trace。平时引擎不知道有这回事：``extras.users`` 仍是 0。
下一站：``recorder.py``。
"""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tinygrad_llm.profiler import recorder
from tinygrad_llm.profiler.annotations import watch_modules, watch_optimizers
from tinygrad_llm.profiler.events import RANGE, FunctionEvent, nested
from tinygrad_llm.profiler.ledger import Ledger
from tinygrad_llm.profiler.recorder import Options, Recorder
from tinygrad_llm.profiler.schedule import ProfilerAction, ProfilerActivity, checked_activities, every_step
from tinygrad_llm.profiler.table import EventList
from tinygrad_llm.profiler.trace import write_trace
from tinygrad_llm.utils.hooks import RemovableHandle

_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
_latest: dict[str, Ledger] = {}


def latest_ledger() -> Ledger | None:
    """最近一次记了内存的剖析的内存账，也许还在进行；没有则为 ``None``。"""
    return _latest.get("ledger")


class profile:  # noqa: N801  与 torch 同名
    """剖析 ``with`` 之内的计算；所有线程都算在内。

    Args:
        activities: 记什么活动；只有 ``ProfilerActivity.CPU``，给出别的只警告一声。
        schedule: 步号 → 动作，见 ``schedule``；给了它就要每步调用 ``step()``。
        on_trace_ready: 每轮记录完之后调用，参数是自己。
        record_shapes: 记下各输入的形状与 dtype。
        profile_memory: 记内存账：每个算子申请多少、图替它留着多少。
        with_stack: 记下调用它的代码行。
        with_flops: 记下矩阵乘积的浮点运算次数。
        with_modules: 每一层（``nn.Module``）的前向也记成一段。
        acc_events: 几轮的事件都留着；否则 ``events()`` 只有最近一轮的。

    Attributes:
        step_num: 走到了第几步。
        current_action: 这一步做什么。
        ledger: 最近一轮的内存账；没有记则为 ``None``。

    Raises:
        AssertionError: ``activities`` 里没有 CPU。
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        acc_events: bool = False,
    ) -> None:
        checked_activities(activities)
        self.schedule, self.on_trace_ready, self.acc_events = schedule or every_step, on_trace_ready, acc_events
        self.options = Options(record_shapes, profile_memory, with_stack, with_flops, with_modules)
        self.step_num, self.current_action = 0, self.schedule(0)
        self._marks_steps = schedule is not None
        self._recorder: Recorder | None = None
        self._events: list[FunctionEvent] | None = None
        self._threads: dict[int, str] = {}
        self.ledger: Ledger | None = None
        self._metadata: dict[str, Any] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- 起止

    def start(self) -> None:
        """开始。

        Raises:
            RuntimeError: 已经有一个在进行。
        """
        self._go(ProfilerAction.NONE, self.current_action)
        self._open_step()

    def stop(self) -> None:
        """结束；正在记录的，记到这里为止。"""
        self._close_step()
        self._go(self.current_action, None)

    def step(self) -> None:
        """一步做完了，下一步开始。"""
        self._close_step()
        before, self.step_num = self.current_action, self.step_num + 1
        self.current_action = self.schedule(self.step_num)
        self._go(before, self.current_action)
        self._open_step()

    def _go(self, before: ProfilerAction, after: ProfilerAction | None) -> None:
        """从一种动作换到另一种；``after`` 为 ``None`` 表示到头了。"""
        saves = before is ProfilerAction.RECORD_AND_SAVE or (before is ProfilerAction.RECORD and after is None)
        goes_on = before is ProfilerAction.RECORD and after in _RECORDING
        if before in _RECORDING and not goes_on:
            self._finish()
            if not saves:
                warnings.warn("Incorrect schedule: RECORD is not followed by RECORD_AND_SAVE", stacklevel=4)
            elif self.on_trace_ready is not None:
                self.on_trace_ready(self)
        if after in _RECORDING and not goes_on:
            self._begin()
        elif after is ProfilerAction.WARMUP:
            if before is not ProfilerAction.WARMUP:
                self._begin()
        elif before is ProfilerAction.WARMUP:
            self._halt()

    def _begin(self) -> None:
        """开始计时；预热时记下的丢掉，重新开始。"""
        self._halt()
        one = self._recorder = recorder.start(self.options)
        self._handles += watch_optimizers(one)
        if self.options.modules:
            self._handles += watch_modules(one)
        if one.ledger is not None:
            _latest["ledger"] = one.ledger

    def _halt(self) -> None:
        """停止计时。"""
        if self._recorder is not None:
            recorder.stop()
            self._recorder = None
        while self._handles:
            self._handles.pop().remove()

    def _finish(self) -> None:
        one = self._recorder
        assert one is not None
        self._halt()
        kept = self._events or [] if self.acc_events else []
        self._events = nested([*kept, *one.events])
        self._threads |= one.threads
        self.ledger = one.ledger

    def _open_step(self) -> None:
        if self._marks_steps and self._recorder is not None:
            self._recorder.before(self)

    def _close_step(self) -> None:
        if self._marks_steps and self._recorder is not None:
            self._recorder.end(self, f"ProfilerStep#{self.step_num}", RANGE)

    # ---- 结果

    def events(self) -> EventList:
        """记下的事件，按开始的先后；正在进行的，记到此刻为止。

        Raises:
            AssertionError: 还没有开始过。
        """
        if self._recorder is not None:
            found = nested(self._recorder.events)
        elif self._events is None:
            raise AssertionError("Profiler must be initialized before accessing events")
        else:
            found = self._events
        return EventList(found, has_memory=self.options.memory, has_flops=self.options.flops)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """名字相同的合成一条，见 ``EventList.key_averages``。"""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def add_metadata(self, key: str, value: str) -> None:
        """在 trace 里附一条说明。"""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """同上，``value`` 是 JSON 文本。"""
        self._metadata[key] = json.loads(value)

    def export_chrome_trace(self, path: str | Path) -> None:
        """写出 Chrome trace；文件名以 ``.gz`` 结尾则压缩。"""
        write_trace(path, self.events(), self._threads, self.ledger, self._metadata)

    def export_stacks(self, path: str | Path, metric: str = "self_cpu_time_total") -> None:
        """写出火焰图工具要的文件，见 ``EventList.export_stacks``；要先打开 ``with_stack``。"""
        self.events().export_stacks(path, metric)


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """给 ``on_trace_ready`` 用：每轮的 trace 写进一个文件夹，TensorBoard 的插件从那里读。

    Args:
        dir_name: 文件夹；没有就建。
        worker_name: 文件名的开头；缺省为主机名加进程号。
        use_gzip: 是否压缩。
    """

    def handle(prof: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        name = worker_name or f"{platform.node()}_{os.getpid()}"
        prof.export_chrome_trace(folder / f"{name}.{time.time_ns()}.pt.trace.json{'.gz' if use_gzip else ''}")

    return handle
