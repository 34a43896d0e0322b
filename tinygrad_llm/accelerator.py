"""``torch.accelerator`` 在没有加速器时的样子：问有没有，答没有；要它干活，报错。"""

from __future__ import annotations

from typing import Any, NoReturn

from tinygrad_llm.absent import attributes


def is_available() -> bool:
    """没有加速器。"""
    return False


def device_count() -> int:
    """加速器的个数。"""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """没有加速器，所以是 ``None``。"""


def current_device_index() -> NoReturn:
    """没有当前设备，报错。"""
    raise _none("current_device_index")


def set_device_index(device: Any, /) -> NoReturn:
    """没有设备可选，报错。"""
    raise _none("set_device_index")


def synchronize(device: Any = None, /) -> NoReturn:
    """没有设备可等，报错。"""
    raise _none("synchronize")


def _none(name: str) -> RuntimeError:
    return RuntimeError(f"accelerator.{name} needs an accelerator, and tinygrad_llm has none; use torch_llm")


__getattr__ = attributes(__name__)
