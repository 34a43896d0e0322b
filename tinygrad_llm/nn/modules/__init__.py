"""与 ``torch.nn.modules`` 同一路径：``module`` 与 ``utils`` 是自己的，别的名字都取自 ``tinygrad_llm.nn``。"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import elsewhere
from tinygrad_llm.nn.modules import module, utils

__all__ = ["module", "utils"]


def __getattr__(name: str) -> Any:
    from tinygrad_llm import nn

    return getattr(nn, name) if hasattr(nn, name) else elsewhere(__name__, name)
