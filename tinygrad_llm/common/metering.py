"""一步跑得多快、用了多少：tokens/s、MFU、内存；与这一回在哪里跑的自述。

流入：引擎、设置与每步的秒数；流出：日志与进度里的数字。下一个文件：``loop.py``。
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.peak import Multiplier, peak_of
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import folder_commit, git_commit, hardware
from tinygrad_llm.common.work import row_flops

__all__ = ["Meter", "open_meter", "session_record"]


class Metered(Multiplier, Protocol):
    """量得出自己的引擎。"""

    name: str

    def describe(self) -> str:
        """在哪里、怎样算。"""

    def memory_bytes(self) -> int:
        """内存至今的峰值。"""


@dataclass(frozen=True)
class Meter:
    """一步的尺子。

    Attributes:
        model: 模型。
        peak_flops_per_s: 这里的矩阵乘法每秒至多多少次；几个进程各有一份时合计。
        trained: 要学的参数与形状；``None`` 是全部。
    """

    model: GPTConfig
    peak_flops_per_s: float
    trained: Mapping[str, tuple[int, ...]] | None = None

    def figures(self, elapsed_s: float, rows: int, width: int) -> dict[str, float]:
        """``rows`` 行、每行 ``width`` 个 token 的一步用了 ``elapsed_s`` 秒：每秒多少 token，用上了峰值的几成（MFU）。

        重算的不计；冻住的参数没有梯度要算，也不计。
        """
        flops = self._row_flops(width) * rows
        return {"tokens_per_s": rows * width / elapsed_s, "mfu": flops / elapsed_s / self.peak_flops_per_s}

    @functools.cached_property
    def _row_flops(self) -> Callable[[int], int]:
        """一行的浮点运算次数；每种长度只算一次，不占每一步的时间。"""
        return functools.cache(lambda width: row_flops(self.model, width, self.trained))


def open_meter(session: Session, engine: Metered, devices: int = 1) -> Meter:
    """量出峰值，备好尺子。

    Args:
        session: 训练的模型与批次。
        engine: 引擎。
        devices: 几份这样的设备一道算。
    """
    settings = session.settings
    where = f"{engine.name}: {engine.describe()}, {settings.dtype}, {settings.workers or 'all'} cores"
    return Meter(session.model, peak_of(settings.folder, where, engine) * devices, session.trained)


def session_record(session: Session, engine: Metered, meter: Meter) -> dict[str, Any]:
    """这一回从哪一步起、在哪里跑、代码是哪一版；写成 JSON 的值。"""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    if engine.name == "torch":
        versions["torch"] = importlib.metadata.version("torch")
    return {
        "step": session.first_step,
        "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "engine": engine.name,
        "device": engine.describe(),
        "versions": versions,
        "hardware": hardware(),
        "code": _code(),
        "folder_commit": _here(str(Path.cwd())),
        "peak_flops_per_s": meter.peak_flops_per_s,
    }


@functools.cache
def _code() -> str | None:
    return git_commit()


@functools.cache
def _here(folder: str) -> str | None:
    return folder_commit(Path(folder))
