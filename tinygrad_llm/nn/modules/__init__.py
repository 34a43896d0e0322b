"""与 ``torch.nn.modules`` 同一路径：全局钩子在 ``module`` 里，别的名字都取自 ``tinygrad_llm.nn``。"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import elsewhere
from tinygrad_llm.nn.modules import module

__all__ = ["module"]


def __getattr__(name: str) -> Any:
    from tinygrad_llm import nn

    return getattr(nn, name) if hasattr(nn, name) else elsewhere(__name__, name)
