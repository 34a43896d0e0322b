"""``torch.profiler``：时间与内存花在哪些算子上。

流入：``with profile(...) as prof:`` 之内的计算；流出：表、Chrome trace 与 ``tinygrad_llm.memory_summary()``。
下一站：``profiler.py``。
"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.profiler.annotations import record_function
from tinygrad_llm.profiler.profiler import profile, tensorboard_trace_handler
from tinygrad_llm.profiler.schedule import ProfilerAction, ProfilerActivity, schedule, supported_activities

__getattr__ = attributes(__name__)

__all__ = [
    "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "supported_activities",
    "tensorboard_trace_handler",
]  # fmt: skip
