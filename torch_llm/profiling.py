"""``python -m torch_llm pretrain --profile``：用 ``torch.profiler`` 剖析一步训练。

流入：一步训练的函数；流出：它的结果、最费时的算子的表，以及写出 Chrome trace 的函数。
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.common.profiling import Measured

_ROWS = 20


def measure_step(step: Callable[[], StepResult]) -> Measured:
    """剖析 ``step()``；有 GPU 时把 GPU 上的也记下，并按 GPU 的时间排。"""
    has_cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_cuda else [])]
    whole = record_function("train_step")
    with profile(activities=activities, record_shapes=True, profile_memory=True, with_flops=True) as prof, whole:
        result = step()
    order = "self_device_time_total" if has_cuda else "self_cpu_time_total"
    table = prof.key_averages().table(sort_by=order, row_limit=_ROWS)
    return Measured(result, f"\n{table}", lambda path: prof.export_chrome_trace(str(path)))
