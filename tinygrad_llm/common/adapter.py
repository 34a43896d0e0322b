"""LoRA 的设置与初值；两个引擎共用。

流入：秩、缩放与要添支路的层；流出：校验过的设置，由种子决定的初值。下一站：两边的 ``lora.py``。
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox

__all__ = ["TARGETS", "LoRAConfig", "initial_adapter"]

TARGETS = ("c_attn", "c_proj", "c_fc", "c_gate")
"""可以添支路的层；``c_proj`` 在注意力与前馈网络里各有一个。"""


@dataclass(frozen=True)
class LoRAConfig:
    """LoRA 的设置。"""

    rank: int = 8
    """秩 r。"""
    alpha: float = 16.0
    """缩放 α，支路实际乘 α/r。"""
    dropout: float = 0.0
    """支路输入的 dropout 概率。"""
    targets: tuple[str, ...] = ("c_attn", "c_proj", "c_fc")
    """添在哪些层上。"""

    def __post_init__(self) -> None:
        problems = []
        if self.rank < 1:
            problems.append(f"rank must be at least 1, got {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            problems.append(f"alpha must be a finite number above 0, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if not self.targets or set(self.targets) - set(TARGETS):
            problems.append(f"targets must be some of {', '.join(TARGETS)}, got {', '.join(self.targets) or 'none'}")
        if problems:
            raise UserError("; ".join(problems), where="LoRA settings", fix="correct the values named above")


def initial_adapter(shapes: dict[str, tuple[int, int, int]], seed: int) -> dict[str, NDArray[np.float64]]:
    """支路的初值：A 均匀分布在 ``±1/√in`` 之间，B 为 0。

    Args:
        shapes: 层的名字到 ``(out, in, r)``。
        seed: 种子。

    Returns:
        ``名字.lora_A`` 与 ``名字.lora_B`` 到数组。
    """
    arrays: dict[str, Any] = {}
    for name, (out, inner, rank) in shapes.items():
        bound = 1 / math.sqrt(inner)
        arrays[f"{name}.lora_A"] = philox(seed, f"{name}.lora_A").uniform(-bound, bound, (rank, inner))
        arrays[f"{name}.lora_B"] = np.zeros((out, rank))
    return arrays
