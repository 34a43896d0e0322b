"""``torch.mps`` 在没有 Apple GPU 时的样子：``is_available()`` 为假，播种无妨，要它干活就报错。"""

from __future__ import annotations

from typing import NoReturn

from tinygrad_llm.absent import attributes


def is_available() -> bool:
    """没有 Apple GPU。"""
    return False


def device_count() -> int:
    """设备的个数。"""
    return 0


def manual_seed(seed: int) -> None:
    """没有设备的数列可播。"""


def synchronize() -> NoReturn:
    """没有设备可等，报错。"""
    raise _no_gpu("synchronize")


def empty_cache() -> NoReturn:
    """没有缓存可清；与 torch 的 CPU 版一样报错。"""
    raise _no_gpu("empty_cache")


def current_allocated_memory() -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("current_allocated_memory")


def _no_gpu(name: str) -> RuntimeError:
    return RuntimeError(f"mps.{name} needs an Apple GPU, and tinygrad_llm runs on the CPU only; use torch_llm")


__getattr__ = attributes(__name__)
