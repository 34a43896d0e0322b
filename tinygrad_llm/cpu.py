"""设备：本引擎只有 CPU，别的设备叫得出名字，用到时报错；也是 ``torch.cpu`` 那样的名字空间。

流入：设备的名字与序号；流出：``device`` 对象。``"cpu:1"`` 这样的序号照 torch 的样子记下，张量仍都在同一处内存里。
"""

from __future__ import annotations

import re
from typing import Any

from tinygrad_llm.ops.bfloat16 import extras

_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip
_DEVICE_STRING = re.compile(r"([a-z]+)(?::(0|[1-9][0-9]*))?")


class DeviceError(AssertionError, RuntimeError):
    """要用的设备这里没有。

    torch 的 CPU 版为此报 ``AssertionError``，带 CUDA 而没有显卡时报 ``RuntimeError``；两种 ``except`` 都接得住它。
    """


class device:  # noqa: N801  与 torch 同名
    """设备；张量只能在 CPU 上。也可用作上下文：``with device("cpu"):`` 之内它是缺省设备。

    Args:
        type: ``"cpu"``、``"cuda:0"`` 之类，或另一个 device。
        index: 序号；与名字里的序号只能给一个。
        device: ``type`` 的另一个名字，与 torch 相同。

    Attributes:
        type: 哪种设备。
        index: 序号，没有给就是 ``None``。

    Raises:
        RuntimeError: 没有这种设备，或名字、序号的写法不对。
        TypeError: 参数的类型不对。
    """

    __slots__ = ("index", "type")

    def __init__(self, type: Any = None, index: int | None = None, *, device: Any = None) -> None:
        source = type if device is None else device
        if not isinstance(source, str) and index is not None:
            raise TypeError(f"device(): argument 'type' (position 1) must be str, not {_kind(source)}")
        if index is not None and (not isinstance(index, int) or isinstance(index, bool)):
            raise TypeError(f"device(): argument 'index' (position 2) must be int, not {_kind(index)}")
        self.type, written = _parse(source)
        if index is not None and written is not None:
            raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {source}")
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        self.index = written if index is None else index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}{'' if self.index is None else f', index={self.index}'})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> device:
        _defaults.append(self)
        extras.users += self.type == "meta"  # 没有数据的张量要走一般路线，标记才传得下去
        return self

    def __exit__(self, *error: object) -> None:
        extras.users -= _defaults.pop().type == "meta"


def _kind(value: Any) -> str:
    return type(value).__name__


def _parse(source: Any) -> tuple[str, int | None]:
    """读出设备的类型与序号。"""
    if isinstance(source, device):
        return source.type, source.index
    if isinstance(source, int) and not isinstance(source, bool):  # torch 里单独一个整数是加速器的序号
        raise RuntimeError(f"device({source}): cannot access accelerator device when none is available")
    if not isinstance(source, str):
        raise TypeError(f"device() expects a name such as 'cpu' or a device, got {_kind(source)}")
    match = _DEVICE_STRING.fullmatch(source)
    if match is None:
        raise RuntimeError(f"Invalid device string: {source!r}")
    if match[1] not in _TYPES:
        raise RuntimeError(f"Expected one of {', '.join(_TYPES)} device type at start of device string: {source}")
    return match[1], None if match[2] is None else int(match[2])


CPU, META = device("cpu"), device("meta")
_defaults = [CPU]


def is_on_meta(name: Any) -> bool:
    """张量是不是该放在 ``meta`` 上；没写则看缺省设备。

    Raises:
        DeviceError: 既不是 CPU，也不是 ``meta``。
    """
    wanted = _defaults[-1] if name is None else device(name)
    if wanted.type not in ("cpu", "meta"):
        raise DeviceError(f"tinygrad_llm runs on the CPU only; device '{wanted}' needs torch_llm")
    return wanted.type == "meta"


def require_cpu(name: Any) -> None:
    """设备必须是 CPU；没写则看缺省设备。

    Raises:
        DeviceError: 不是 CPU。
    """
    if is_on_meta(name):
        raise DeviceError("tinygrad_llm runs on the CPU only; device 'meta' has no data to work with, use torch_llm")


def get_default_device() -> device:
    """新建张量的缺省设备。"""
    return _defaults[-1]


def set_default_device(device: Any) -> None:
    """设定缺省设备；``None`` 恢复成 ``device("cpu")``。别的设备此后用到时才报错，与 torch 一致。"""
    _defaults[0] = CPU if device is None else type(CPU)(device)


# ---- 与 torch.cpu 同名


def is_available() -> bool:
    """CPU 总在。"""
    return True


def device_count() -> int:
    """CPU 算一个设备。"""
    return 1


def current_device() -> str:
    """当前设备的名字。"""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """运算都是同步的，没有什么要等。"""
    require_cpu(device)
