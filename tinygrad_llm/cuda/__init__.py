"""``torch.cuda`` 在没有 GPU 的机器上的样子：问有没有，答没有；要它干活，报错。

``if torch.cuda.is_available():`` 护着的代码原样可跑。没有护着的分三类：
播种、清缓存、查用量照 torch 的 CPU 版什么也不做；非要有设备不可的报错；``Event``、``Stream`` 之类没有。
"""

from __future__ import annotations

from typing import Any, NoReturn

from tinygrad_llm.absent import attributes
from tinygrad_llm.cpu import DeviceError

_initialized = False


def is_available() -> bool:
    """没有 GPU。"""
    return False


def is_initialized() -> bool:
    """从不初始化。"""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """没有 GPU，谈不上支持。"""
    return False


def device_count() -> int:
    """GPU 的个数。"""
    return 0


def get_arch_list() -> list[str]:
    """编译时针对的 GPU 架构，一个也没有。"""
    return []


# ---- 没有护着也无妨的


def manual_seed(seed: int) -> None:
    """没有 GPU 的数列可播；CPU 的用 ``tinygrad_llm.manual_seed``。"""


def manual_seed_all(seed: int) -> None:
    """没有 GPU 的数列可播。"""


def seed() -> None:
    """没有 GPU 的数列可播。"""


def seed_all() -> None:
    """没有 GPU 的数列可播。"""


def get_rng_state_all() -> list[Any]:
    """每个 GPU 一份状态，所以是空表。"""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """恢复 ``get_rng_state_all`` 的结果。

    Raises:
        RuntimeError: 给了某个 GPU 的状态。
    """
    if len(new_states) > 0:
        raise _no_gpu("set_rng_state_all")


def empty_cache() -> None:
    """没有缓存可清。"""


def memory_allocated(device: Any = None) -> int:
    """GPU 上的字节数。"""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """峰值本来就是 0；torch 的 CPU 版在这里碰巧报 ``AttributeError``。"""


def memory_stats(device: Any = None) -> dict[str, Any]:
    """没有统计。"""
    return {}


class OutOfMemoryError(RuntimeError):
    """显存不够；没有显存，从不抛出，只为 ``except cuda.OutOfMemoryError`` 认得。"""


def ipc_collect() -> None:
    """没有进程间共享的显存可回收。"""


# ---- 非要有设备不可的


def _no_gpu(name: str) -> DeviceError:
    return DeviceError(
        f"cuda.{name} needs a GPU, and tinygrad_llm runs on the CPU only; "
        "guard it with cuda.is_available(), or use torch_llm"
    )


def current_device() -> NoReturn:
    """没有当前设备，报错。"""
    raise _no_gpu("current_device")


def set_device(device: Any) -> NoReturn:
    """没有设备可选，报错。"""
    raise _no_gpu("set_device")


def get_device_name(device: Any = None) -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("get_device_name")


def get_device_properties(device: Any = None) -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("get_device_properties")


def get_device_capability(device: Any = None) -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("get_device_capability")


def mem_get_info(device: Any = None) -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("mem_get_info")


def synchronize(device: Any = None) -> NoReturn:
    """没有设备可等，与 torch 的 CPU 版一样报错。"""
    raise _no_gpu("synchronize")


def initial_seed() -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("initial_seed")


def get_rng_state(device: Any = "cuda") -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("get_rng_state")


def set_rng_state(new_state: Any, device: Any = "cuda") -> NoReturn:
    """没有设备，报错。"""
    raise _no_gpu("set_rng_state")


__getattr__ = attributes(__name__, ("amp",))
