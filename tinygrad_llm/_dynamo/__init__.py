"""``torch._dynamo``：没有编译器，开关都可以写，函数都原样交还。

训练脚本常在开头写 ``torch._dynamo.config.suppress_errors = True`` 之类；编译本身见 ``compiler.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm._dynamo import config
from tinygrad_llm.absent import attributes
from tinygrad_llm.compiler import allow_in_graph, assume_constant_result, disable, is_compiling, reset


def graph_break(msg: str = "") -> None:
    """没有图可断。"""


def mark_dynamic(t: Any, index: Any, **_: Any) -> None:
    """每次都照实际的形状算，不必标记。"""


def mark_static(t: Any, index: Any = None) -> None:
    """每次都照实际的形状算，不必标记。"""


__all__ = [
    "allow_in_graph", "assume_constant_result", "config", "disable", "graph_break", "is_compiling", "mark_dynamic",
    "mark_static", "reset",
]  # fmt: skip
__getattr__ = attributes(__name__)
