"""``torch.backends`` 里 MKL、OpenMP 等计算库：一个也没有用到，``is_available()`` 都是假。"""

from __future__ import annotations

from tinygrad_llm.absent import attributes


def is_available() -> bool:
    """没有用到这个库。"""
    return False


__getattr__ = attributes(__name__)
