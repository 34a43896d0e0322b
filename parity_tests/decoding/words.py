"""测试用的小词表：单字节都在，另有几个长 token；也可以缺几个字节。

流入：几个词；流出：有 ``TextTokenizer`` 接口、可以逐字节核对的分词器。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tinygrad_llm.common.tokenizers.interface import outside

END = "<|end|>"


class WordTokenizer:
    """按最长匹配切词；末一个 id 是特殊 token ``<|end|>``。

    Args:
        words: 各 token 的字节，不重复。
    """

    def __init__(self, words: Sequence[bytes]) -> None:
        self.words = tuple(words)
        self.specials: tuple[str, ...] = (END,)
        self.vocab_size = len(self.words) + 1

    def encode(self, text: str) -> list[int]:
        """最长匹配。"""
        data, found = text.encode(), []
        while data:
            word = max((w for w in self.words if data.startswith(w)), key=len)
            found.append(self.words.index(word))
            data = data[len(word) :]
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本。"""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def special(self, name: str) -> int:
        """``<|end|>`` 的 id。"""
        assert name == END
        return len(self.words)

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节。"""
        if not 0 <= id < self.vocab_size:
            raise outside(id, self.vocab_size)
        return self.words[id] if id < len(self.words) else END.encode()

    def save(self, path: Path) -> None:
        """用不到。"""
        raise NotImplementedError


BYTES = tuple(bytes([value]) for value in range(256))
JSON_WORDS = ['{"', '"}', '":', '", "', "true", "null", "[]", "},", "12", "0.", 'a"', "ab", "\n  ", " é", "中文", "中"]
JSON_TOKENIZER = WordTokenizer([*BYTES, *(word.encode() for word in JSON_WORDS), "中".encode()[:2], b'\xad\xe6"'])
