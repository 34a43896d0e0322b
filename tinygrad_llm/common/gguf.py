"""GGUF 的元数据：``llama.cpp`` 的单文件格式开头的那一部分，不读权重。

流入：文件；流出：键值（其中有分词器的词表）与各张量的名字、形状、类型和位置。格式是小端的：魔数、版本、张量数、键值数，
然后逐个是键值，再逐个是张量的描述。文件来自网上，所以每个长度都先与文件剩下的字节数比较，再据它分配内存。
下一个文件：``tokenizers/gguf_vocab.py``（其中的词表）。
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from .errors import DataError

__all__ = ["GGUF", "TensorInfo", "read_gguf"]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ITEMS = 1 << 24
MAX_METADATA_BYTES = 1 << 28
MAX_DIMS, MAX_DEPTH = 8, 4
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}

Value: TypeAlias = Any  # 数、布尔、文字，或它们的列表


@dataclass(frozen=True)
class TensorInfo:
    """一个张量的描述。

    Attributes:
        name: 名字。
        shape: 形状，GGUF 的次序（最里面的一维在前）。
        type: GGML 的类型号（0 是 F32，1 是 F16，其余多是量化）。
        offset: 在数据区里的字节位置。
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True)
class GGUF:
    """一个文件的元数据。

    Attributes:
        version: 格式的版本。
        metadata: 键到值。
        tensors: 各张量，按文件里的次序。
        data_start: 张量描述之后的第一个字节，权重从它之后对齐处开始。
    """

    version: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_start: int


def read_gguf(path: Path) -> GGUF:
    """读出元数据与张量的描述。

    Raises:
        DataError: 读不了，不是 GGUF，或内容不合法、不完整。
    """
    try:
        with path.open("rb") as file:
            return _parse(_Reader(file, path.stat().st_size, str(path)))
    except OSError as error:
        raise DataError(
            f"cannot read the GGUF file: {error.strerror}", where=str(path), fix="check the path"
        ) from error


def _parse(reader: _Reader) -> GGUF:
    if reader.take(4) != MAGIC:
        raise reader.error("not a GGUF file")
    version, tensors, keys = reader.number("<I"), reader.number("<Q"), reader.number("<Q")
    if version not in VERSIONS:
        raise reader.error(f"GGUF version {version} is not one of {VERSIONS} (or the file is big-endian)")
    metadata: dict[str, Value] = {}
    for _ in range(keys):
        key = reader.string()
        if key in metadata:
            raise reader.error(f"key {key[:60]!r} appears twice")
        metadata[key] = reader.value(reader.number("<I"))
    infos = tuple(_tensor(reader) for _ in range(tensors))
    return GGUF(version, metadata, infos, reader.at)


def _tensor(reader: _Reader) -> TensorInfo:
    name, dims = reader.string(), reader.number("<I")
    if dims > MAX_DIMS:
        raise reader.error(f"tensor {name[:60]!r} has {dims} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(dims))
    return TensorInfo(name, shape, reader.number("<I"), reader.number("<Q"))


class _Reader:
    """从头读到尾的文件；知道读到了哪里、还剩多少，读元数据不超过 ``MAX_METADATA_BYTES``。"""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self.file, self.where, self.at = file, where, 0
        self.limit = min(size, MAX_METADATA_BYTES)
        self.is_clipped = size > MAX_METADATA_BYTES

    def error(self, problem: str) -> DataError:
        """一个指明文件与位置的错误。"""
        return DataError(problem, where=f"{self.where}, byte {self.at}", fix="fetch the file again")

    def take(self, count: int) -> bytes:
        """接着的 ``count`` 个字节；先看够不够，再分配内存。"""
        if count > self.limit - self.at:
            what = f"the metadata exceeds {MAX_METADATA_BYTES} bytes" if self.is_clipped else "the file ends too early"
            raise self.error(what)
        data = self.file.read(count)
        if len(data) != count:
            raise self.error("the file ends too early")
        self.at += count
        return data

    def number(self, layout: str) -> int:
        """一个整数，``layout`` 照 ``struct`` 的写法。"""
        found: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return found

    def string(self) -> str:
        """长度加 UTF-8。"""
        data = self.take(self.number("<Q"))
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.error("a string is not UTF-8") from error

    def value(self, type: int, depth: int = 0) -> Value:
        """一个值；数组的元素同属一种类型，可以嵌套几层。"""
        if type == _STRING:
            return self.string()
        if type == _ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if count > MAX_ITEMS or depth >= MAX_DEPTH:
                raise self.error(f"an array of {count} items at depth {depth}")
            if inner in _SCALARS:
                return self._scalars(inner, count)
            return [self.value(inner, depth + 1) for _ in range(count)]
        if type in _SCALARS:
            return self._scalars(type, 1)[0]
        raise self.error(f"unknown value type {type}")

    def _scalars(self, type: int, count: int) -> list[Any]:
        dtype = np.dtype(_SCALARS[type])
        found: list[Any] = np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
        return [bool(one) for one in found] if type == _BOOL else found
