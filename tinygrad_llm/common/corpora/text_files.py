r"""纯文本文件：整篇是一份文档，太长的在段落之间切开。

流入：字节流；流出：``Document``，换行统一为 ``\n``。内存只与一片的大小有关。下一个文件：``record_files.py``。

先在字节上切片，再逐片解码：切口总在换行之后（找不到换行时在字符之间），所以各片首尾相接即为原文，
而一处坏字节只牵连它所在的那一片，位置也说得准。
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.corpora.opening import BROKEN_STREAM, explain, open_bytes

__all__ = ["PIECE_BYTES", "decoded", "text_documents", "unix_newlines"]

PIECE_BYTES = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Piece(NamedTuple):
    """一片字节，以及它在文件里的位置：首字节的偏移（解压之后的）与行号（从 1 起）。"""

    data: bytes
    offset: int
    line: int


def text_documents(
    path: Path, faults: Faults, *, separator: str = "", piece_bytes: int = PIECE_BYTES
) -> Iterator[Document]:
    r"""读一个文本文件。

    Args:
        path: 文件，可以是 ``.gz`` 与 ``.zst``。
        faults: 坏输入的处置；略过时，损失的是含有坏字节的那一片。
        separator: 文档之间的记号（如 TinyStories 的 ``<|endoftext|>``），本身不进正文；空串表示没有。
        piece_bytes: 一片至多多少字节；更长的文档在空行、换行或字符之间切开。

    Yields:
        各份文档，出处是「文件:首行行号」；只有空白的略去。

    Raises:
        DataError: 打不开、不是 UTF-8、含 NUL 字节或压缩数据坏了，而 ``faults`` 不许略过。
    """
    try:
        stream = open_bytes(path)
    except BROKEN_STREAM as error:
        return faults.take(explain(error), path)
    mark = separator.encode()
    with stream:
        for piece in _pieces(stream, path, faults, mark, piece_bytes):
            try:
                text = unix_newlines(decoded(piece.data, piece.offset))
            except BadInput as bad:
                faults.take(bad, path, piece.line)
                continue
            if separator:
                text = text.strip("\n")
            if text and not text.isspace():
                yield Document(text, f"{path}:{piece.line}")


def decoded(data: bytes, offset: int) -> str:
    """把一片字节解码成文本；文件开头的 BOM 去掉。

    Args:
        data: 字节。
        offset: 首字节在文件里的偏移。

    Returns:
        文本。

    Raises:
        BadInput: 不是 UTF-8，或含 NUL 字节。
    """
    if offset == 0 and data.startswith(codecs.BOM_UTF8):
        data, offset = data[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        problem = f"not valid UTF-8 at byte offset {offset + error.start}"
        if offset == 0 and data.startswith(_UTF16_MARKS):
            raise BadInput(f"{problem}: this is UTF-16", "save the file as UTF-8", "not valid UTF-8") from error
        fix = "convert the file to UTF-8"
        raise BadInput(problem, fix, "not valid UTF-8", data.count(b"\n", 0, error.start)) from error
    bad = data.find(b"\0")
    if bad >= 0:
        fix = "this may be a binary file; use a text file"
        raise BadInput(f"NUL byte at byte offset {offset + bad}", fix, "NUL byte", data.count(b"\n", 0, bad))
    return text


def unix_newlines(text: str) -> str:
    r"""把 ``\r\n`` 与 ``\r`` 统一为 ``\n``。"""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _pieces(stream: BinaryIO, path: Path, faults: Faults, mark: bytes, piece_bytes: int) -> Iterator[_Piece]:
    """把字节流切成片；缓冲里至多有两片多一点。"""
    buffer = bytearray()
    offset, line, at_end = 0, 1, False
    while not at_end or buffer:
        cut = _cut(buffer, mark, piece_bytes, at_end=at_end)
        if cut is not None:
            stop, resume = cut
            yield _Piece(bytes(buffer[:stop]), offset, line)
            line += buffer.count(b"\n", 0, resume)
            offset += resume
            del buffer[:resume]
            continue
        try:
            block = stream.read(min(piece_bytes, PIECE_BYTES))
        except BROKEN_STREAM as error:
            return faults.take(explain(error), path, line + buffer.count(b"\n"))
        buffer += block
        at_end = not block


def _cut(buffer: bytearray, mark: bytes, piece_bytes: int, *, at_end: bool) -> tuple[int, int] | None:
    """下一片的终点与再下一片的起点；还要再读才知道时为 ``None``。"""
    if mark:
        found = buffer.find(mark, 0, piece_bytes + len(mark))
        if found >= 0:
            return found, found + len(mark)
    if len(buffer) <= piece_bytes + len(mark):
        return (len(buffer), len(buffer)) if at_end and buffer else None
    for newline in (b"\n\n", b"\n"):
        cut = buffer.rfind(newline, 0, piece_bytes) + len(newline)
        if 2 * cut > piece_bytes:
            return cut, cut
    cut = piece_bytes
    while cut > piece_bytes - 3 and cut > 1 and buffer[cut] & 0xC0 == 0x80:  # 不切开一个 UTF-8 字符
        cut -= 1
    if cut > 1 and buffer[cut - 1 : cut + 1] == b"\r\n":
        cut -= 1
    return cut, cut
