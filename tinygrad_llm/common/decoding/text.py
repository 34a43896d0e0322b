"""token 一个个到来，能放心显示的文字一段段放出。

流入：token；流出：新显示的文字，与是否碰到了停止串。两样东西要压住不放：还没凑齐的 UTF-8 字节，
以及可能是停止串开头的那几个字。特殊 token 从不显示成文字。下一个文件：``generation.py``。
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from tinygrad_llm.common.tokenizers.interface import TextTokenizer, TokenIdError

__all__ = ["TextStream"]


class TextStream:
    """一个序列的文字。

    Args:
        tokenizer: 分词器。
        stop: 停止串。

    Attributes:
        is_stopped: 碰到停止串了；此后不再有文字。
    """

    def __init__(self, tokenizer: TextTokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._specials = {tokenizer.special(name) for name in tokenizer.specials}
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.is_stopped = False

    def push(self, token: int) -> str:
        """来了一个 token；返回由此可以显示的文字，可以为空。"""
        if token in self._specials:
            return self._released(self._utf8.decode(b"", final=True))
        try:
            data = self._tokenizer.token_bytes(token)
        except TokenIdError:  # 词表里空着的 id，或模型为凑整多出的行
            data = b""
        return self._released(self._utf8.decode(data))

    def finish(self) -> str:
        """不会再有 token 了：放出压住的文字，凑不齐的字节显示为 U+FFFD。"""
        shown = self._released(self._utf8.decode(b"", final=True))
        held, self._held = self._held, ""
        return shown + held

    def _released(self, new: str) -> str:
        if self.is_stopped:
            return ""
        text = self._held + new
        found = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]


def _overlap(text: str, stop: str) -> int:
    """``text`` 的末尾有几个字恰是 ``stop`` 的开头；取最长的。"""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
