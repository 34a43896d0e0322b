"""``torch.backends.cuda``：矩阵乘法在 GPU 上的开关，可读可写，对 CPU 没有影响。"""

from __future__ import annotations

from types import SimpleNamespace

from tinygrad_llm.absent import attributes

matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
)
"""缺省值与 torch 相同。"""


def is_built() -> bool:
    """没有编译 CUDA。"""
    return False


__getattr__ = attributes(__name__)
