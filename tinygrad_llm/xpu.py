"""``torch.xpu`` 在没有 Intel GPU 时的样子：``is_available()`` 为假，播种与清缓存无妨，等它就报错。"""

from __future__ import annotations

from typing import Any, NoReturn

from tinygrad_llm.absent import attributes


def is_available() -> bool:
    """没有 Intel GPU。"""
    return False


def is_initialized() -> bool:
    """从不初始化。"""
    return False


def device_count() -> int:
    """设备的个数。"""
    return 0


def manual_seed(seed: int) -> None:
    """没有设备的数列可播。"""


def manual_seed_all(seed: int) -> None:
    """没有设备的数列可播。"""


def empty_cache() -> None:
    """没有缓存可清。"""


def synchronize(device: Any = None) -> NoReturn:
    """没有设备可等，报错。"""
    raise RuntimeError("xpu.synchronize needs an Intel GPU, and tinygrad_llm runs on the CPU only; use torch_llm")


__getattr__ = attributes(__name__)
