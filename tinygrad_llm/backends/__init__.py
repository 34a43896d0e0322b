"""``torch.backends``：各种后端有没有，以及几个只对 GPU 有意义的开关。

开关可以照常读写（训练脚本的开头常写上几句），对 NumPy 的结果没有影响：这里的 float32 始终按完整精度计算。
"""

from __future__ import annotations

from tinygrad_llm.absent import attributes
from tinygrad_llm.backends import cuda, cudnn, mps

__getattr__ = attributes(__name__, ("mha",))

__all__ = ["cuda", "cudnn", "mps"]
