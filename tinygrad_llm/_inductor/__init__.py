"""``torch._inductor``：没有编译器，只有可以写的开关。"""

from __future__ import annotations

from tinygrad_llm._inductor import config
from tinygrad_llm.absent import attributes

__all__ = ["config"]
__getattr__ = attributes(__name__)
