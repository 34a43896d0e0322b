"""TensorBoard 的事件文件：一条条带校验的记录，每条是一个 protobuf 消息。

流入：字段号与值；流出：TensorBoard 读得懂的字节。格式是 TFRecord：长度、长度的校验、内容、内容的校验。
protobuf 只用到几种字段，手写即可，不必为画几条曲线安装 TensorBoard。下一站：``tensorboard.py``。
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli，低位在前
_uid = itertools.count()


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_CRC_TABLE = [_crc_of_byte(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
    """CRC-32C（Castagnoli）。"""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    """TFRecord 存的不是 CRC 本身：循环右移 15 位再加一个常数。"""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """一条 TFRecord。"""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


# ---- protobuf 的几种字段


def varint(number: int, value: int) -> bytes:
    """整数或枚举字段；负数按 64 位补码。"""
    return _varint(number << 3) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def double(number: int, value: float) -> bytes:
    """``double`` 字段。"""
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def single(number: int, value: float) -> bytes:
    """``float`` 字段；超出范围的成为无穷。"""
    with np.errstate(over="ignore"):
        return _varint(number << 3 | 5) + np.array(value, "<f4").tobytes()


def block(number: int, content: bytes | str) -> bytes:
    """字符串、字节或子消息字段。"""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def doubles(number: int, values: Iterable[float]) -> bytes:
    """一串 ``double`` 合成的字段。"""
    return block(number, np.asarray(values, "<f8").tobytes())


# ---- 文件


class EventFile:
    """一个只往后写的事件文件；第一条记录是格式的版本。

    Args:
        folder: 所在的目录，没有就建。
        suffix: 文件名的后缀。
        max_queue: 积了这么多条就写到盘上。
        flush_secs: 离上次写到盘上有这么多秒也写。
    """

    def __init__(self, folder: Path, suffix: str = "", max_queue: int = 10, flush_secs: float = 120) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_uid)}{suffix}"
        self._file = (folder / name).open("wb")
        self._max_queue, self._flush_secs = max_queue, flush_secs
        self.flush()
        self.write(block(3, "brain.Event:2"))
        self.flush()

    def write(self, content: bytes, step: int | None = None, walltime: float | None = None) -> None:
        """写一个 ``Event`` 消息。

        Args:
            content: 时间与步数以外的字段。
            step: 步数。
            walltime: 时刻（自 1970 年起的秒数）；不给就是现在。
        """
        moment = double(1, time.time() if walltime is None else walltime)
        self._file.write(record(moment + (b"" if step is None else varint(2, step)) + content))
        self._pending += 1
        if self._pending >= self._max_queue or time.monotonic() - self._flushed_at >= self._flush_secs:
            self.flush()

    def flush(self) -> None:
        """把积下的记录写到盘上。"""
        self._file.flush()
        self._pending, self._flushed_at = 0, time.monotonic()

    def close(self) -> None:
        """写完并关上。"""
        self._file.close()
