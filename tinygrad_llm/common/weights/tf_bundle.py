"""TensorFlow 检查点（V2）的读法，不用 TensorFlow：``model.ckpt.index`` 与 ``model.ckpt.data-00000-of-00001``。

流入：文件名的前缀；流出：名字到轮到时才读的张量。下一个文件：``tf_gpt2.py``（其中的名字）。

``.index`` 是 LevelDB 的有序表：末尾 48 字节指向「块的索引」，它再指向各个数据块；块里的键只存与前一个不同的部分，块后有
一个字节的压缩方式与校验和。值是 protobuf：dtype、形状、哪个分片、起点、长度、校验和。每个校验和都核对。
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.lazy import Array, LazyTensor
from tinygrad_llm.common.manifest import read_bounded
from tinygrad_llm.common.weights.crc32c import masked_crc32c
from tinygrad_llm.common.weights.snappy import SnappyError, decompress

__all__ = ["read_bundle"]

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES, TRAILER_BYTES = 48, 5
MAX_INDEX_BYTES, MAX_BLOCK_BYTES, MAX_RANK = 64 << 20, 16 << 20, 8
DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 19: np.dtype("<f2")}
"""TensorFlow 的类型号；别的类型（如步数）不是权重。"""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _DamagedError(ValueError):
    """索引不合法；在 ``read_bundle`` 里补上文件名。"""


class _Entry(NamedTuple):
    """一个张量的描述。"""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    is_sliced: bool


def read_bundle(prefix: Path) -> dict[str, LazyTensor]:
    """读索引；各张量轮到时才读，读时核对校验和。

    Args:
        prefix: 去掉 ``.index`` 的路径。

    Raises:
        CheckpointError: 缺文件，或内容不合法。
    """
    path = prefix.with_name(f"{prefix.name}.index")
    data = read_bounded(path, MAX_INDEX_BYTES)
    try:
        rows = dict(_rows(data))
        shards = _shards(rows.pop(b"", b""))
        entries = {_name(key): _entry(value) for key, value in rows.items()}
    except (_DamagedError, SnappyError) as error:
        raise _refuse(path, f"index is damaged: {error}") from error
    sizes = {}
    for shard in sorted({entry.shard for entry in entries.values()}):
        file = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
        if shard >= shards or not file.is_file():
            raise _refuse(file, "data file is missing")
        sizes[shard] = (file, file.stat().st_size)
        if sum(entry.size for entry in entries.values() if entry.shard == shard) > sizes[shard][1]:
            raise _refuse(file, "data file is shorter than the index says")
    return {name: _tensor(name, entry, *sizes[entry.shard]) for name, entry in entries.items() if entry.dtype in DTYPES}


def _refuse(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"TensorFlow checkpoint {problem}", where=str(path), fix="fetch the files again")


def _tensor(name: str, entry: _Entry, path: Path, file_bytes: int) -> LazyTensor:
    dtype = DTYPES[entry.dtype]
    if entry.is_sliced or len(entry.shape) > MAX_RANK:
        raise _refuse(path, f"stores {name[:60]!a} in a way that is not supported")
    if entry.size != math.prod(entry.shape) * dtype.itemsize or entry.offset + entry.size > file_bytes:
        raise _refuse(path, f"does not hold all of {name[:60]!a}")
    return LazyTensor(entry.shape, dtype.newbyteorder("="), partial(_read, name, entry, path))


def _read(name: str, entry: _Entry, path: Path) -> Array:
    try:
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
    except OSError as error:
        raise _refuse(path, f"cannot be read: {error.strerror}") from error
    if len(data) != entry.size or masked_crc32c(data) != entry.crc:
        raise _refuse(path, f"is damaged: the checksum of {name[:60]!a} differs")
    array = np.frombuffer(data, DTYPES[entry.dtype]).reshape(entry.shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# ---- 有序表 ----


def _rows(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """全部键值，按键的次序。"""
    if len(data) < FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise _DamagedError("it does not end as a table does")
    footer, at = data[-FOOTER_BYTES:], 0
    for _ in range(2):  # 跳过元数据块的位置
        _, at = _varint(footer, at)
    index = _handle(footer, at)
    for _, value in _block(data, *index):
        yield from _block(data, *_handle(value, 0))


def _handle(data: bytes, at: int) -> tuple[int, int]:
    """一个块的起点与长度。"""
    offset, at = _varint(data, at)
    size, _ = _varint(data, at)
    return offset, size


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """一个块里的键值；键与前一个共有的开头不重复存。"""
    end = offset + size
    if end + TRAILER_BYTES > len(data):
        raise _DamagedError("a block runs past the end")
    kind, crc = data[end], struct.unpack("<I", data[end + 1 : end + TRAILER_BYTES])[0]
    if masked_crc32c(data[offset : end + 1]) != crc:
        raise _DamagedError("the checksum of a block differs")
    if kind not in (0, 1):
        raise _DamagedError(f"a block is compressed in the unknown way {kind}")
    block = decompress(data[offset:end], MAX_BLOCK_BYTES) if kind else data[offset:end]
    restarts = struct.unpack("<I", block[-4:])[0] if len(block) >= 4 else 0
    stop = len(block) - 4 * (restarts + 1)
    if stop < 0:
        raise _DamagedError("a block has too many restart points")
    key, at = b"", 0
    while at < stop:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + fresh + length > stop:
            raise _DamagedError("an entry runs past its block")
        key = key[:shared] + block[at : at + fresh]
        at += fresh + length
        yield key, block[at - length : at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """变长整数与它之后的位置；至多 64 位。"""
    found = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _DamagedError("a number runs past the end")
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
    raise _DamagedError("a number has too many bytes")


# ---- protobuf ----


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """一条消息的字段号与值；嵌套的消息是它的字节。"""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            width, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            width = 4 if kind == _FIXED32 else 8
        else:
            raise _DamagedError(f"a field of the unknown kind {kind}")
        if at + width > len(data):
            raise _DamagedError("a field runs past the end")
        part = data[at : at + width]
        at += width
        yield tag >> 3, part if kind == _BYTES else int.from_bytes(part, "little")


def _shards(header: bytes) -> int:
    """表头：分片数；字节序须是小端的。"""
    found = dict(_fields(header))
    count = found.get(1, 0)
    if not isinstance(count, int) or not 1 <= count < 100_000 or found.get(2, 0) != 0:
        raise _DamagedError("the header is missing, or the file is big-endian")
    return count


def _name(key: bytes) -> str:
    try:
        name = key.decode()
    except UnicodeDecodeError as error:
        raise _DamagedError("a name is not UTF-8") from error
    if not re.fullmatch(r"[\x20-\x7e]{1,500}", name):
        raise _DamagedError("a name is not printable")
    return name


def _entry(data: bytes) -> _Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] = ()
    is_sliced = False
    for number, value in _fields(data):
        if number == 2 and isinstance(value, bytes):
            shape = tuple(_sizes(value))
        elif number == 7:
            is_sliced = True
        elif number in numbers and isinstance(value, int):
            numbers[number] = value
        else:
            raise _DamagedError(f"an entry has the unknown field {number}")
    return _Entry(numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], is_sliced)


def _sizes(shape: bytes) -> Iterator[int]:
    """形状：字段 2 是一维，其中的字段 1 是大小（0 时省略）。"""
    for number, value in _fields(shape):
        if number != 2 or not isinstance(value, bytes):
            raise _DamagedError("a shape is unknown")
        size = dict(_fields(value)).get(1, 0)
        if not isinstance(size, int) or size >= 1 << 40:
            raise _DamagedError("a shape is impossible")
        yield size
