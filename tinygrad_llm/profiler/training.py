"""``python -m tinygrad_llm train --profile``：剖析一步训练。

流入：一步训练的函数；流出：它的结果、最费时的算子的表，以及写出 Chrome trace 的函数。
哪一步、何时写，见 ``common/profiling.py``。
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.common.profiling import Measured
from tinygrad_llm.profiler.annotations import record_function
from tinygrad_llm.profiler.profiler import profile
from tinygrad_llm.profiler.summary import memory_summary, op_table


def measure_step(step: Callable[[], StepResult]) -> Measured:
    """剖析 ``step()``；结果与不剖析时逐位相同。"""
    whole = record_function("train_step")
    with profile(record_shapes=True, profile_memory=True, with_flops=True) as prof, whole:
        result = step()
    events = prof.events()
    wall_us = next(event.cpu_time_total for event in events if event.name == whole.name)
    threads = len({event.thread for event in events if event.op})
    busy_us = sum(event.self_cpu_time_total for event in events if event.op)
    title = f"one step took {wall_us / 1e3:.1f} ms; ops took {busy_us / 1e3:.1f} ms on {threads} thread(s)"
    return Measured(result, f"{title}\n{op_table(prof)}\n\n{memory_summary()}", prof.export_chrome_trace)
