"""``torch.backends.cudnn``：cuDNN 的开关，可读可写，缺省值与 torch 相同，对 CPU 没有影响。"""

from __future__ import annotations

from tinygrad_llm.absent import attributes

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """没有 cuDNN。"""
    return False


def version() -> None:
    """没有 cuDNN，所以是 ``None``。"""


__getattr__ = attributes(__name__)
