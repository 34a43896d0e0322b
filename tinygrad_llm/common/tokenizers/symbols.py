r"""符号：训练与编码的时候，每个 token 用一个字符代表，于是「合并」就是字符串的 ``replace``。

流入：字节；流出：符号串。下一个文件：``split.py``（文本怎样切成块）。

第 n 号符号是一个 token：0–255 号是字节本身，256 + i 号由第 i 次合并造出。字节写成 GPT-2 的可见字符（``" the"`` 写成
``Ġthe``），``vocab.bpe`` 与 ``tokenizer.json`` 里也是这样写的；合并造出的符号接在它们的码位之后。
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BYTE_CHARS", "byte_of", "chars_of", "numbers_of", "symbol_of"]


def _byte_chars() -> str:
    """256 个字节各自的字符：可见的 Latin-1 字符就是它自己，其余 68 个依次取 U+0100 起的字符。"""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return "".join(chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256))


BYTE_CHARS = _byte_chars()
"""第 b 个字符代表字节 b。"""

_BYTE_TABLE = dict(enumerate(BYTE_CHARS))
_BYTES = {char: byte for byte, char in enumerate(BYTE_CHARS)}
_SHIFT = ord(max(BYTE_CHARS)) + 1 - 256  # 256 号符号的码位紧接在字节的字符之后


def chars_of(data: bytes) -> str:
    """字节串 → 符号串，一个字节一个字符。"""
    return data.decode("latin-1").translate(_BYTE_TABLE)


def symbol_of(number: int) -> str:
    """第 ``number`` 号符号的字符；它也许落在代理项的码位上，所以符号串从不编码、不显示。"""
    return BYTE_CHARS[number] if number < 256 else chr(number + _SHIFT)


def numbers_of(symbols: Iterable[str]) -> list[int]:
    """符号串 → 各符号的号码。"""
    return [_BYTES[char] if char in _BYTES else ord(char) - _SHIFT for char in symbols]


def byte_of(char: str) -> int | None:
    """一个可见字符代表的字节；不是这 256 个字符之一时为 ``None``。"""
    return _BYTES.get(char)
