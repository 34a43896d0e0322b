"""safetensors 格式的读与写，只用 NumPy 与标准库。

流入：名字到数组的字典；流出：一个 ``.safetensors`` 文件，或者反过来。格式只有三段：8 字节的头长度（小端），一段 JSON
（每个张量的 dtype、形状、在数据区里的起止），一整块数据。下一个文件：``checkpoint.py`` 把几个这样的文件合成一个检查点。

读的一侧把文件当作不可信的输入：每个数先核对再使用，任何坏文件都以 ``CheckpointError`` 告终。
"""

from __future__ import annotations

import contextlib
import json
import math
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from .errors import CheckpointError
from .lazy import LazyTensor

__all__ = ["encode_safetensors", "lazy_safetensors", "read_safetensors", "write_safetensors"]

Array = npt.NDArray[Any]

MAX_HEADER_BYTES = 100_000_000  # 与官方实现相同
MAX_RANK = 32
ALIGNMENT = 8
METADATA_KEY = "__metadata__"

DTYPES: dict[str, np.dtype[Any]] = {
    "C64": np.dtype("<c8"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
STORED_DTYPES = {**DTYPES, "BF16": np.dtype("<u2")}  # NumPy 没有 bfloat16：按 uint16 读入，再展宽成 float32
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class _Entry(NamedTuple):
    """头里的一条：一个张量的名字、dtype、形状，在数据区里的起止字节。"""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


# ---- 写 ----


def write_safetensors(
    path: Path, tensors: Mapping[str, Array | LazyTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """写一个 safetensors 文件；同样的内容总是写出同样的字节。

    Args:
        path: 目标文件；已有则覆盖。
        tensors: 名字到数组；任意内存布局与字节序都可以。``LazyTensor`` 轮到时才读。
        metadata: 附带的字符串字典。

    Raises:
        TypeError: 数组的 dtype 没有对应的写法，或 metadata 不全是字符串。
        ValueError: 张量名占用了保留字 ``__metadata__``。
        OSError: 写不进去。
    """
    with path.open("wb") as file:
        for chunk in encode_safetensors(tensors, metadata):
            file.write(chunk)


def encode_safetensors(
    tensors: Mapping[str, Array | LazyTensor], metadata: Mapping[str, str] | None = None
) -> Iterator[bytes | memoryview]:
    """逐段产生 safetensors 文件的字节：先头，再一个个张量，不在内存里拼成整块。

    Args:
        tensors: 名字到数组，或轮到时才读的张量。
        metadata: 附带的字符串字典。

    Yields:
        依次写入文件的字节段。

    Raises:
        TypeError: 同 ``write_safetensors``。
        ValueError: 同 ``write_safetensors``。
    """
    header: dict[str, Any] = {}
    if metadata:
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise TypeError("safetensors metadata must map strings to strings")
        header[METADATA_KEY] = dict(metadata)
    # 元素宽的在前，每个张量的起点自然对齐；同宽的按名字排，字节因此与字典的次序无关
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    offset = 0
    for name in names:
        if name == METADATA_KEY:
            raise ValueError(f"a tensor cannot be named {METADATA_KEY}")
        array = tensors[name]
        dtype = DTYPE_NAMES.get(array.dtype.newbyteorder("<"))
        if isinstance(array, LazyTensor) and array.is_bfloat16:
            dtype = "BF16"
        if dtype is None:
            raise TypeError(f"safetensors cannot store {name} of dtype {array.dtype}")
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        stored = tensors[name]
        array = stored.read() if isinstance(stored, LazyTensor) else stored
        flat = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C").reshape(-1)
        yield flat.view(np.uint8).data
        del array, flat  # 读下一个之前放掉这一个


# ---- 读 ----


def read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """读一个 safetensors 文件。

    Args:
        path: 文件。

    Returns:
        ``(tensors, metadata)``；张量按在文件里的先后排列，可写，BF16 展宽成 float32。

    Raises:
        CheckpointError: 文件不存在、读不了，或内容不合法；消息里有文件名与出错之处。
    """
    with _opened(path) as file:
        entries, metadata = _read_header(file, path)
        return {entry.name: _read_tensor(file, entry, path) for entry in entries}, metadata


def lazy_safetensors(path: Path) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """只读头：各张量的形状与类型已知，内容轮到时才读。

    Args:
        path: 文件。

    Returns:
        同 ``read_safetensors``，只是张量还没有读。

    Raises:
        CheckpointError: 同 ``read_safetensors``；读某个张量时也可能抛出。
    """
    with _opened(path) as file:
        entries, metadata = _read_header(file, path)
        start = file.tell()

    def read(entry: _Entry) -> Array:
        with _opened(path) as file:
            file.seek(start + entry.begin)
            return _read_tensor(file, entry, path)

    return {
        entry.name: LazyTensor(entry.shape, _dtype_read(entry), partial(read, entry)) for entry in entries
    }, metadata


def _dtype_read(entry: _Entry) -> np.dtype[Any]:
    return np.dtype(np.float32) if entry.dtype == "BF16" else DTYPES[entry.dtype].newbyteorder("=")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            _refuse(path, "is not a regular file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CheckpointError(
            f"cannot read the tensor file: {error.strerror}", where=str(path), fix="check the path"
        ) from error


def _refuse(path: Path, problem: str) -> NoReturn:
    raise CheckpointError(f"tensor file {problem}", where=str(path), fix="use another copy of the file")


def _read_header(file: BufferedReader, path: Path) -> tuple[list[_Entry], dict[str, str]]:
    """读头并逐条核对；返回的条目首尾相接，恰好铺满数据区。"""
    file_bytes = path.stat().st_size
    prefix = file.read(8)
    if len(prefix) < 8:
        _refuse(path, f"is too short: {file_bytes} bytes")
    header_bytes = int.from_bytes(prefix, "little")
    if header_bytes > min(MAX_HEADER_BYTES, file_bytes - 8):
        _refuse(path, f"is truncated or damaged: header of {header_bytes} bytes in a file of {file_bytes}")
    text = file.read(header_bytes)
    if not text.startswith(b"{"):
        _refuse(path, "has a header that is not a JSON object")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"has a damaged header: {str(error)[:100]}")
    metadata = _checked_metadata(header.pop(METADATA_KEY, {}), path)
    entries = [_checked_entry(name, fields, path) for name, fields in header.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    reached = 0
    for entry in entries:
        if entry.begin != reached:
            _refuse(path, f"has a gap or an overlap before {_shown(entry.name)}")
        reached = entry.end
    if reached != file_bytes - 8 - header_bytes:
        _refuse(path, f"holds {file_bytes - 8 - header_bytes} bytes of data, but its header describes {reached}")
    return entries, metadata


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON 对象的键必须唯一、且是合法的 Unicode；``json`` 默认让后一个悄悄覆盖前一个。"""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    for key in found:
        key.encode("utf-8")  # 孤立的代理项在这里抛出 UnicodeEncodeError，它也是 ValueError
    return found


def _checked_metadata(metadata: Any, path: Path) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "has metadata that is not a table of strings")
    return metadata


def _checked_entry(name: str, fields: Any, path: Path) -> _Entry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"has a damaged entry for {_shown(name)}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORED_DTYPES:
        _refuse(path, f"stores {_shown(name)} as {_shown(dtype)}, which is not supported")
    if not _is_naturals(shape) or len(shape) > MAX_RANK or not _is_naturals(offsets) or len(offsets) != 2:
        _refuse(path, f"has a damaged shape or offset for {_shown(name)}")
    itemsize = STORED_DTYPES[dtype].itemsize
    if math.prod(max(size, 1) for size in shape) * itemsize >= 2**62:  # 含 0 的形状也可能大到 NumPy 拒绝
        _refuse(path, f"has an impossible shape for {_shown(name)}")
    begin, end = offsets
    if end - begin != math.prod(shape) * itemsize:
        _refuse(path, f"gives {_shown(name)} {end - begin} bytes, but shape {shape} of {dtype} needs another number")
    return _Entry(name, dtype, tuple(shape), begin, end)


def _is_naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _read_tensor(file: BufferedReader, entry: _Entry, path: Path) -> Array:
    flat = np.empty(entry.end - entry.begin, np.uint8)
    if flat.size and file.readinto(flat.data) != flat.size:
        _refuse(path, f"ended while {_shown(entry.name)} was being read")
    if entry.dtype == "BOOL" and flat.size and flat.max() > 1:
        _refuse(path, f"holds a byte that is neither true nor false in {_shown(entry.name)}")
    array = flat.view(STORED_DTYPES[entry.dtype]).reshape(entry.shape)
    if entry.dtype == "BF16":  # bfloat16 是 float32 的高 16 位
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
