"""``torch.autograd.profiler``：``torch.profiler`` 从前的样子。

流入：``with autograd.profiler.profile() as prof:`` 之内的计算；流出：``prof.table()`` 之类。做事的是 ``profiler.py``。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm.profiler import profiler
from tinygrad_llm.profiler.annotations import record_function
from tinygrad_llm.profiler.events import FunctionEvent, FunctionEventAvg
from tinygrad_llm.profiler.table import EventList


class profile(profiler.profile):  # noqa: N801  与 torch 同名
    """从前的 ``profile``：没有 ``schedule``，表可以直接要。

    Args:
        enabled: 为假则什么也不做。
        use_cuda: 别的设备没有，只警告一声。
        use_device: 同上。
        record_shapes: 记下各输入的形状与 dtype。
        with_flops: 记下矩阵乘积的浮点运算次数。
        profile_memory: 记内存账。
        with_stack: 记下调用它的代码行。
        with_modules: 每一层的前向也记成一段。
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        with_flops: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_modules: bool = False,
    ) -> None:
        super().__init__(
            record_shapes=record_shapes,
            with_flops=with_flops,
            profile_memory=profile_memory,
            with_stack=with_stack,
            with_modules=with_modules,
        )
        self.enabled = enabled
        device = "CUDA" if use_cuda else (use_device or "").upper()
        if device:
            warnings.warn(f"{device} is not available, disabling {device} profiling", UserWarning, stacklevel=2)

    def __enter__(self) -> profile:
        if self.enabled:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            self.stop()

    @property
    def function_events(self) -> EventList:
        """记下的事件。"""
        return self.events()

    @property
    def self_cpu_time_total(self) -> float:
        """全部事件自己的历时之和，微秒。"""
        return self.events().self_cpu_time_total

    def table(self, *args: Any, **kwargs: Any) -> str:
        """各个事件（没有汇总的）排成表，参数见 ``EventList.table``。"""
        return self.events().table(*args, **kwargs)

    def total_average(self) -> FunctionEventAvg:
        """全部事件合成一条。"""
        return self.events().total_average()


__all__ = ["EventList", "FunctionEvent", "profile", "record_function"]
