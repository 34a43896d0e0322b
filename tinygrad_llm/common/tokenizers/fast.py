"""快的那条编码路径：同样的合并与切块交给 tiktoken，它用 Rust 写成。

流入：各符号的字节与切法；流出：一个 ``tiktoken.Encoding``，它的 id 就是符号的号码。
读得懂的那条路径见 ``bpe.py``，两者结果相同。
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from tinygrad_llm.common.tokenizers.split import SPACE, tiktoken_pattern

if TYPE_CHECKING:
    import tiktoken

__all__ = ["is_risky", "tiktoken_encoding"]

RISKY_RUN = 10_000
_LONG_SPACE = re.compile(f"[{SPACE}]{{{RISKY_RUN // 3},}}")


def tiktoken_encoding(symbols: Sequence[bytes], pattern: str) -> tiktoken.Encoding | None:
    """同样的合并与切法；没有安装 tiktoken 时为 ``None``。

    Args:
        symbols: 第 n 号符号的字节，前 256 个是字节本身。
        pattern: 切法的名字。
    """
    try:
        import tiktoken
    except ImportError:
        return None
    ranks = {token: number for number, token in enumerate(symbols)}
    return tiktoken.Encoding("ours", pat_str=tiktoken_pattern(pattern), mergeable_ranks=ranks, special_tokens={})


def is_risky(text: str) -> bool:
    """这段文本里有没有成千上万个相连的空白：tiktoken 的正则引擎会在上面栈溢出，要走另一条路径。"""
    if len(text) < RISKY_RUN // 3:
        return False
    data = text.encode("utf-8", "replace")
    if b" " * RISKY_RUN not in data.translate(_space_table()):
        return False
    return _LONG_SPACE.search(text) is not None


@cache
def _space_table() -> bytes:
    """凡是可能属于空白的字节都换成空格，用来在一瞬间排除绝大多数文本；Unicode 的空白都在 U+3000 以内。"""
    spaces = {byte for char in map(chr, range(0x3001)) if char.isspace() for byte in char.encode()}
    return bytes(0x20 if byte in spaces else 0x61 for byte in range(256))
