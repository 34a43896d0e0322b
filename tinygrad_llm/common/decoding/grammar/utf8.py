"""码位的区间写成 UTF-8 的样子：每个区间是几串字节的区间。

流入：``[low, high]``；流出：``[(首字节的区间), (第二字节的区间), …]`` 若干。下一个文件：``machine.py``。

同样长的两个码位，若高位相同而低位取遍全部，逐字节的区间就是精确的；否则从低位没有对齐的那一端切开，各自再写。
代理项（U+D800–U+DFFF）没有 UTF-8 的写法，略去。
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["utf8_ranges"]

_SURROGATES = (0xD800, 0xDFFF)
_LENGTH_ENDS = (0x7F, 0x7FF, 0xFFFF)  # 一、二、三个字节写得下的最大码位

ByteRanges = tuple[tuple[int, int], ...]


def utf8_ranges(low: int, high: int) -> Iterator[ByteRanges]:
    """``[low, high]`` 里全部码位的 UTF-8 写法。"""
    if low > high:
        return
    if low <= _SURROGATES[1] and high >= _SURROGATES[0]:
        yield from utf8_ranges(low, _SURROGATES[0] - 1)
        yield from utf8_ranges(_SURROGATES[1] + 1, high)
        return
    for end in _LENGTH_ENDS:
        if low <= end < high:
            yield from utf8_ranges(low, end)
            yield from utf8_ranges(end + 1, high)
            return
    for bits in (6, 12, 18):
        mask = (1 << bits) - 1
        if low > 0x7F and low & ~mask != high & ~mask:
            if low & mask:
                yield from utf8_ranges(low, low | mask)
                yield from utf8_ranges((low | mask) + 1, high)
                return
            if high & mask != mask:
                yield from utf8_ranges(low, (high & ~mask) - 1)
                yield from utf8_ranges(high & ~mask, high)
                return
    yield tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))
