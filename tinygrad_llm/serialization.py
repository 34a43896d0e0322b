"""``save`` 与 ``load``：训练脚本要存的东西，写成一个 safetensors 文件，从不用 pickle。

流入：字典、列表、数、字符串与 Tensor 组成的对象；流出：一个文件，或者反过来。张量用 safetensors 存，别的工具也能读；
其余的结构是一段 JSON，放在 metadata 里，连同格式的版本与全部内容的 CRC-32。对象怎样变成 JSON 见 ``structure.py``。

读的一侧把文件当作不可信的输入：读到什么都不会执行；坏文件以一条 ``RuntimeError`` 告终，改动一个字节也认得出来。
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.safetensors import encode_safetensors, read_safetensors
from tinygrad_llm.cpu import require_cpu
from tinygrad_llm.ops.op import Array
from tinygrad_llm.structure import Decoder, Encoder
from tinygrad_llm.tensor import Tensor

VERSION = "1"
MAX_STRUCTURE_BYTES = 10_000_000  # safetensors 的头有上限；成百万的数应当放进张量
_VERSION, _STRUCTURE, _CHECKSUM = "tinygrad_llm.version", "tinygrad_llm.object", "tinygrad_llm.crc32"

File = str | os.PathLike[str] | IO[bytes]


def save(obj: Any, f: File) -> None:
    """把对象存进文件：``load`` 读回同样的结构、同样的数值。

    能存的：``None``、布尔、数、字符串、列表、元组、字典、``OrderedDict``、``Size``、dtype、device、NumPy 的数与数组，
    以及 Tensor 与 Parameter；可以任意嵌套。共享同一块内存、形状相同的 Tensor 只存一份，读回来仍共享。

    Args:
        obj: 对象。
        f: 路径，或以二进制打开的文件；是路径时要么写成完整的新文件，要么旧文件不变。

    Raises:
        TypeError: 有存不了的对象，消息里是它的位置与改法。
        ValueError: 套得太深，自己包含自己，或张量以外的部分太大。
        RuntimeError: 目录不存在。
        OSError: 写不进去。
    """
    encoder = Encoder()
    structure = json.dumps(encoder.node(obj), separators=(",", ":"))
    if len(structure) > MAX_STRUCTURE_BYTES:
        raise ValueError(f"save: {len(structure):,} bytes beside the tensors is too much; put long lists in tensors")
    checksum = _checksum(structure, encoder.arrays)
    chunks = encode_safetensors(encoder.arrays, {_VERSION: VERSION, _CHECKSUM: checksum, _STRUCTURE: structure})
    if isinstance(f, (str, os.PathLike)):
        path = Path(f)
        if not path.parent.is_dir():
            raise RuntimeError(f"save: parent directory {path.parent} does not exist")
        write_atomically(path, b"".join(chunks))
        return
    for chunk in chunks:
        f.write(chunk)


def load(f: File, map_location: Any = None, *, weights_only: bool = True, mmap: bool | None = None) -> Any:
    """读回 ``save`` 存的对象；别处写的 ``.safetensors`` 读成「名字 → Tensor」的字典。

    Args:
        f: 路径，或以二进制打开的文件（读到末尾）。
        map_location: 放到哪个设备；只能是 CPU。函数与字典也接受：文件里没有别的设备上的张量要它们来搬。
        weights_only: 与 torch 同名；文件里只有数据，没有代码，取什么值都一样安全。
        mmap: 与 torch 同名；总是整个读进内存。

    Returns:
        对象；其中的张量与文件无关，可以改写。

    Raises:
        RuntimeError: 文件被截断、改动过，不是 safetensors，版本不认得，或 ``map_location`` 不是 CPU。
        OSError: 文件不存在或读不了。
    """
    if map_location is not None and not (callable(map_location) or isinstance(map_location, Mapping)):
        require_cpu(map_location)
    if isinstance(f, (str, os.PathLike)):
        return _read(Path(f), str(f))
    with tempfile.TemporaryDirectory() as folder:  # 读的一侧按路径核对文件的大小
        copy = Path(folder) / "object.safetensors"
        copy.write_bytes(f.read())
        return _read(copy, "the file object")


def _read(path: Path, shown: str) -> Any:
    with path.open("rb") as file:
        _refuse_foreign(file.read(9), shown)
    try:
        arrays, metadata = read_safetensors(path)
    except CheckpointError as error:
        raise RuntimeError(f"load: {shown}: {error.problem}; use another copy of the file") from error
    ours = [key for key in metadata if key.startswith("tinygrad_llm")]
    try:
        if not ours:
            return {name: Tensor.wrap(array) for name, array in arrays.items()}
        return Decoder(arrays).object(json.loads(_structure(metadata, arrays)))
    except (TypeError, ValueError, RuntimeError) as error:  # 嵌套过深是 RecursionError，也是 RuntimeError
        raise RuntimeError(f"load: {shown}: {error}") from error


def _refuse_foreign(head: bytes, shown: str) -> None:
    """认出 torch 的文件与别的格式；safetensors 的第 9 个字节总是 ``{``。"""
    if head[8:9] == b"{":
        return
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        raise RuntimeError(
            f"load: {shown} was written by torch.save and holds a pickle, which tinygrad_llm never opens; convert it "
            "once where PyTorch is installed: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'model.safetensors')"
        )
    raise RuntimeError(f"load: {shown} is not a safetensors file, or it is truncated")


def _structure(metadata: Mapping[str, str], arrays: Mapping[str, Array]) -> str:
    """核对版本与校验和，取出 JSON。"""
    version = metadata.get(_VERSION)
    if version != VERSION:
        raise ValueError(f"format version {version!r} is not {VERSION!r}; it was written by another tinygrad_llm")
    structure = metadata.get(_STRUCTURE, "")
    if metadata.get(_CHECKSUM) != _checksum(structure, arrays):
        raise ValueError("the content differs from what was saved (checksum); use another copy of the file")
    return structure


def _checksum(structure: str, arrays: Mapping[str, Array]) -> str:
    """结构与全部张量（名字、dtype、形状、字节）的 CRC-32。"""
    crc = zlib.crc32(structure.encode("ascii", "backslashreplace"))
    for name in sorted(arrays):
        array = np.asarray(arrays[name], arrays[name].dtype.newbyteorder("<"), order="C")
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"
