"""给文件夹封上清单：每个文件的大小与 SHA-256，写在最后；读之前先按它核对。

流入：文件名到字节段；流出：落了盘、封了口的文件夹，或「哪个文件坏了」的 ``CheckpointError``。
下一个文件：``checkpoint.py`` 用它保存与载入检查点。
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, NoReturn

from .errors import CheckpointError
from .files import file_digest, sync_folder

__all__ = [
    "MANIFEST",
    "read_bounded",
    "read_json",
    "refuse",
    "seal",
    "sealed_names",
    "verify_sealed",
    "write_file",
    "write_sealed",
]

MANIFEST = "MANIFEST.json"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 64 << 10


def write_sealed(folder: Path, contents: Mapping[str, Iterable[bytes | memoryview]]) -> None:
    """写好一个文件夹的全部文件，最后写清单；返回时都已落盘。

    Args:
        folder: 已存在的空文件夹。
        contents: 文件名到依次写入的字节段。

    Raises:
        OSError: 写不进去；文件夹里可能留下半截文件，由调用者删除。
    """
    seal(folder, {name: write_file(folder / name, chunks) for name, chunks in contents.items()})


def seal(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """文件都已写好：写下清单，封口。

    Args:
        folder: 装着这些文件的文件夹。
        files: 文件名到清单里的一条，见 ``write_file`` 与 ``sealed_names``。

    Raises:
        OSError: 写不进去。
    """
    write_file(folder / MANIFEST, [_manifest_bytes({"format_version": FORMAT_VERSION, "files": files})])
    sync_folder(folder)


def sealed_names(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """别的库写好的文件：文件名到清单里的一条。"""
    return {path.name: {"size": path.stat().st_size, "sha256": _sha256(path)} for path in paths}


def verify_sealed(folder: Path, names: Set[str], hashed: Set[str] | None = None) -> None:
    """按清单核对：先清单自身，再每个文件的大小，再每个文件的摘要。

    Args:
        folder: 封过口的文件夹。
        names: 清单应当列出的文件名。
        hashed: 只核对这几个文件的摘要（别的不会去读）；``None`` 为全部。

    Raises:
        CheckpointError: 有文件缺失、读不了、大小或内容变了；消息里有文件名。
    """
    path = folder / MANIFEST
    manifest = read_json(path, MAX_MANIFEST_BYTES)
    manifest.pop("checksum", None)
    if read_bounded(path, MAX_MANIFEST_BYTES) != _manifest_bytes(manifest):
        refuse(path, "is damaged: it does not match its own checksum")
    if manifest.get("format_version") != FORMAT_VERSION:
        refuse(path, f"has format version {manifest.get('format_version')!a}; this program reads {FORMAT_VERSION}")
    files = manifest.get("files")
    if not isinstance(files, dict) or files.keys() != names:
        refuse(path, f"does not list exactly {', '.join(sorted(names))}")
    for name, expected in files.items():
        if not isinstance(expected, dict) or expected.keys() != {"size", "sha256"}:
            refuse(path, f"has a damaged entry for {name}")
        if not (folder / name).is_file():
            refuse(folder / name, "is missing")
        size = (folder / name).stat().st_size
        if size != expected["size"]:
            refuse(folder / name, f"has {size} bytes instead of {expected['size']}")
    for name, expected in files.items():
        if (hashed is None or name in hashed) and _sha256(folder / name) != expected["sha256"]:
            refuse(folder / name, "is damaged: its SHA-256 differs from the manifest")


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """读一个 JSON 对象，长度有上限。

    Args:
        path: 文件。
        limit: 最多多少字节。

    Returns:
        解析出的字典。

    Raises:
        CheckpointError: 文件缺失、读不了、太大，或不是 JSON 对象。
    """
    try:
        content = json.loads(read_bounded(path, limit).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        refuse(path, f"is not valid JSON: {str(error)[:100]}")
    if not isinstance(content, dict):
        refuse(path, "does not hold a JSON object")
    return content


def read_bounded(path: Path, limit: int) -> bytes:
    """读整个文件，长度有上限。

    Args:
        path: 文件。
        limit: 最多多少字节。

    Returns:
        文件的全部字节。

    Raises:
        CheckpointError: 文件缺失、读不了或太大。
    """
    if not path.is_file():
        refuse(path, "is missing")
    try:
        with path.open("rb") as file:
            data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)  # ``read`` 先按声明的数分配
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror}")
    if len(data) > limit:
        refuse(path, f"is larger than {limit} bytes")
    return data


def refuse(path: Path, problem: str) -> NoReturn:
    """报告一个坏文件。

    Args:
        path: 坏在哪个文件。
        problem: 接在 ``checkpoint file`` 之后的半句英文。

    Raises:
        CheckpointError: 总是。
    """
    raise CheckpointError(f"checkpoint file {problem}", where=str(path), fix="use another checkpoint")


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """写一个新文件并落盘；返回清单里的一条。摘要取自内存里的字节，所以写坏了也能发现。

    Args:
        path: 还不存在的文件。
        chunks: 依次写入的字节段。

    Raises:
        OSError: 写不进去。
    """
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _manifest_bytes(content: Mapping[str, Any]) -> bytes:
    """清单的唯一写法：键排序，并带上自身内容的摘要，于是清单坏了也认得出是清单。"""
    body = json.dumps(content, sort_keys=True)
    checksum = hashlib.sha256(body.encode("utf-8")).hexdigest()
    return (json.dumps({**content, "checksum": checksum}, sort_keys=True, indent=1) + "\n").encode("utf-8")


def _sha256(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror}")
