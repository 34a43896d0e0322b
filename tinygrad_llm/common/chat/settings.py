"""``chat`` 的设置。

流入：命令行与 TOML；流出：``ChatConfig``。下一个文件：``dialogue.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinygrad_llm.common.chat.templates import TEMPLATES
from tinygrad_llm.common.decoding.settings import TextConfig

__all__ = ["ChatConfig"]


@dataclass(frozen=True)
class ChatConfig(TextConfig):
    """与一个模型对话；``--prompt`` 只问一句。"""

    prompt: str = ""
    """只问这一句，答完就走。"""
    tokens: int = 512
    """一次回答至多几个 token。"""
    temperature: float = 0.7
    """温度；0 表示总取概率最大的。"""
    template: str = ""
    """对话的模板：ours、alpaca 或 chatml；缺省为模型自己的，或由它有哪些特殊 token 推断。"""
    system: str = ""
    """开头的一句 system。"""
    tools: Literal["none", "python"] = "none"
    """``python``：回答恰是一个 python 代码块时，在沙箱里运行，把结果作为引文交回给它。"""
    load: Path | None = None
    """接着一份存下的对话谈。"""

    def problems(self) -> list[str]:
        """不对的设置，各一句。"""
        found = super().problems()
        if self.template and self.template not in TEMPLATES:
            found.append(f"--template must be one of {', '.join(TEMPLATES)}, got {self.template!r}")
        return found
