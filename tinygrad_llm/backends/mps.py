"""``torch.backends.mps``：没有 Apple GPU。"""

from __future__ import annotations

from tinygrad_llm.absent import attributes


def is_available() -> bool:
    """没有 Apple GPU。"""
    return False


def is_built() -> bool:
    """没有编译 MPS。"""
    return False


__getattr__ = attributes(__name__)
