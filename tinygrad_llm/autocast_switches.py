"""``torch`` 顶层与 autocast 有关的老名字：问它用什么类型、开没开，清掉换过型的权重。"""

from __future__ import annotations

from tinygrad_llm import dtypes
from tinygrad_llm.amp import get_autocast_dtype, is_autocast_enabled
from tinygrad_llm.autograd.mode import switch


def get_autocast_gpu_dtype() -> dtypes.dtype:
    """GPU 上的 autocast 用的类型，``float16``。"""
    return get_autocast_dtype("cuda")


def get_autocast_cpu_dtype() -> dtypes.dtype:
    """CPU 上的 autocast 用的类型。"""
    return get_autocast_dtype("cpu")


def is_autocast_cpu_enabled() -> bool:
    """CPU 上的 autocast 是否打开。"""
    return is_autocast_enabled("cpu")


def is_autocast_cache_enabled() -> bool:
    """autocast 换过型的权重是否留着再用。"""
    return switch.autocast is None or switch.autocast.cached is not None


def clear_autocast_cache() -> None:
    """丢掉换过型的权重。"""
    if switch.autocast is not None and switch.autocast.cached is not None:
        switch.autocast.cached.clear()
