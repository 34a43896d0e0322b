"""运行环境：用哪个设备、什么精度、为什么。读环境的事只在这里做。

流入：``TorchConfig`` 与本机的硬件；流出：``Runtime``。下一站：``loop.py``。
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.system import peak_memory_bytes
from tinygrad_llm.common.torch_config import TorchConfig

SM80 = (8, 0)
"""从这一代（Ampere）起，CUDA 设备有 bfloat16 的矩阵乘法。"""
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """在哪里、以什么精度运行。

    Attributes:
        device: 设备。
        low: autocast 的低精度类型；``None`` 表示不降精度。
        reasons: 为什么这样选，一句一条。
    """

    device: torch.device
    low: torch.dtype | None = None
    reasons: tuple[str, ...] = ()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """前向用的上下文：矩阵乘法降精度，归一化与损失不降。"""
        if self.low is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.low)

    @property
    def scales_loss(self) -> bool:
        """要不要放大损失：float16 的指数只有 5 位，小的梯度会变成 0。"""
        return self.low is torch.float16

    def wait(self) -> None:
        """等设备算完；CPU 上调用返回时就已经算完了。"""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def peak_memory_bytes(self) -> int:
        """设备内存至今的峰值（MPS 只说得出此刻的）；在 CPU 上是本进程的。"""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self.device.type == "mps":
            return torch.mps.driver_allocated_memory()
        return peak_memory_bytes()

    def describe(self) -> str:
        """给人看的一行。"""
        low = "" if self.low is None else f", {str(self.low).removeprefix('torch.')} autocast"
        return f"device {self.device}{low} ({'; '.join(self.reasons)})"


def pick_runtime(settings: TorchConfig) -> Runtime:
    """按设置与硬件选定。

    Args:
        settings: ``device``、``precision``、``tf32`` 与 ``dtype``。

    Returns:
        选定的环境。

    Raises:
        UserError: 点名要的设备或精度这里没有。
    """
    device, why = _device(settings)
    low, because = _precision(settings, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    return Runtime(device, low, (why, because))


def pick_device(dtype: str) -> torch.device:
    """生成与评估用的设备：不点名时选出来的那一个。

    Args:
        dtype: 权重的类型，``"float32"`` 或 ``"float64"``。
    """
    return pick_runtime(TorchConfig(dtype="float64" if dtype == "float64" else "float32")).device


def _device(settings: TorchConfig) -> tuple[torch.device, str]:
    """选一个设备；几个进程合训时，本机上的第几个进程就用第几块 GPU。"""
    device, why = _kind_of_device(settings)
    launch = launched()
    if launch.world == 1 or device.type == "cpu":
        return device, why
    if device.type == "mps":
        raise UserError("several processes cannot share MPS", where=f"{launch.world} processes", fix="use --device cpu")
    if launch.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{launch.local_world} processes on a machine with {torch.cuda.device_count()} GPUs",
            where="--nproc-per-node",
            fix="start at most one process per GPU",
        )
    torch.cuda.set_device(launch.local_rank)
    return torch.device("cuda", launch.local_rank), why


def _kind_of_device(settings: TorchConfig) -> tuple[torch.device, str]:
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if settings.device != "auto":
        if not has[settings.device]:
            found = ", ".join(name for name, there in has.items() if there)
            raise UserError(
                f"this machine or this build of torch has no {settings.device}",
                where="--device",
                fix=f"use one of {found}, or --device auto",
            )
        if settings.device == "mps" and settings.dtype == "float64":
            raise UserError("MPS has no float64", where="--device mps --dtype float64", fix="use --dtype float32")
        return torch.device(settings.device), "as --device says"
    if has["cuda"]:
        return torch.device("cuda"), torch.cuda.get_device_name()
    if has["mps"] and settings.dtype != "float64":
        return torch.device("mps"), "no CUDA"
    return torch.device("cpu"), "no CUDA" + (", and MPS has no float64" if has["mps"] else ", no MPS")


def _precision(settings: TorchConfig, device: torch.device) -> tuple[torch.dtype | None, str]:
    native = has_bfloat16(device)
    if settings.dtype == "float64":
        return None, "float64"
    if settings.precision in _DTYPES:
        if settings.precision == "bfloat16" and not native:
            return torch.bfloat16, "as --precision says, though this device only emulates bfloat16"
        return _DTYPES[settings.precision], "as --precision says"
    if settings.precision == "float32":
        return None, "as --precision says"
    if device.type == "cuda" and native:
        return torch.bfloat16, "native bfloat16"
    hint = "; --precision bfloat16 may be faster here" if native and device.type == "cpu" else ""
    return None, f"float32{hint}"


def has_bfloat16(device: torch.device) -> bool:
    """这个设备有没有 bfloat16 的矩阵乘法：CUDA 8.0 起；CPU 有 AMX 或 AVX-512 BF16；MPS 从 macOS 14 起。"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= SM80
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # torch 还没有公开的说法
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in names)
