"""Snappy 的解压：TensorFlow 检查点的索引有时用它压缩。

流入：一个压缩块；流出：原文。格式：先是原文的长度（变长整数），再是一串元素。每个元素的首字节末两位说明种类：
00 是一段原样的字节，其余三种是从已解出的部分往回数几个字节、抄若干个。
"""

from __future__ import annotations

__all__ = ["SnappyError", "decompress"]


class SnappyError(ValueError):
    """压缩块不合法。"""


def decompress(data: bytes, limit: int) -> bytes:
    """解压一个块。

    Args:
        data: 压缩块。
        limit: 原文至多几个字节；声明得更长的不解。

    Raises:
        SnappyError: 不合法，或解出的长度与声明的不同。
    """
    size, at = _length(data)
    if size > limit:
        raise SnappyError(f"a block of {size} bytes exceeds {limit}")
    found = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            count, at = _literal_length(tag >> 2, data, at)
            if at + count > len(data):
                raise SnappyError("a literal runs past the end")
            found += data[at : at + count]
            at += count
        else:
            count, back, at = _copy(tag, data, at)
            _repeat(found, back, count)
        if len(found) > size:
            raise SnappyError("the block is longer than it says")
    if len(found) != size:
        raise SnappyError("the block is shorter than it says")
    return bytes(found)


def _length(data: bytes) -> tuple[int, int]:
    """开头的变长整数，与它之后的位置。"""
    size = 0
    for at, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return size, at + 1
    raise SnappyError("the length is damaged")


def _literal_length(code: int, data: bytes, at: int) -> tuple[int, int]:
    """60 以下就是长度减一；60–63 表示长度减一在后面 1–4 个字节里。"""
    if code < 60:
        return code + 1, at
    width = code - 59
    return int.from_bytes(data[at : at + width], "little") + 1, at + width


def _copy(tag: int, data: bytes, at: int) -> tuple[int, int, int]:
    """抄几个、往回几个、之后的位置。"""
    if tag & 3 == 1:  # 11 位的距离，3 位的长度
        return ((tag >> 2) & 7) + 4, (tag >> 5) << 8 | _byte(data, at), at + 1
    width = 2 if tag & 3 == 2 else 4
    return (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little"), at + width


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise SnappyError("a copy runs past the end")
    return data[at]


def _repeat(found: bytearray, back: int, count: int) -> None:
    """抄自己的末尾；距离比个数短时，抄到的是刚抄下的，于是成了重复。"""
    if not 0 < back <= len(found):
        raise SnappyError("a copy starts before the beginning")
    start = len(found) - back
    if back >= count:
        found += found[start : start + count]
        return
    piece = bytes(found[start:])
    found += (piece * (count // back + 1))[:count]
