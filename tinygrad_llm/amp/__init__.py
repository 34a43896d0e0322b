"""混合精度：``autocast`` 让矩阵乘法在 16 位里算，``GradScaler`` 防止 16 位梯度下溢。

本引擎在 CPU 上用 float32 模拟 16 位的舍入：数值与 torch 的 CPU autocast 相同，但不会更快。
"""

from __future__ import annotations

from tinygrad_llm.amp.autocast_mode import (
    autocast,
    custom_bwd,
    custom_fwd,
    get_autocast_dtype,
    is_autocast_available,
    is_autocast_enabled,
)
from tinygrad_llm.amp.grad_scaler import GradScaler

__all__ = [
    "GradScaler", "autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_available",
    "is_autocast_enabled",
]  # fmt: skip
