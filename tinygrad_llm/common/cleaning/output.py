"""输出文件夹的清单：每个文件的大小与 SHA-256，连同设置、输入的摘要与账目；写在最后。

流入：清单的内容；流出：``manifest.json``，与按它核对文件。清单自带摘要，改动一个字符就认得出。
下一个文件：``pipeline.py``。
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_llm.common.cleaning.shard import put
from tinygrad_llm.common.errors import DataError

__all__ = ["MANIFEST", "read_manifest", "verify_files", "write_manifest"]

MANIFEST = "manifest.json"
FORMAT = "cleaned corpus 1"


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """写清单。

    Args:
        folder: 输出文件夹。
        content: JSON 能表示的内容。

    Raises:
        OutOfDiskError: 写不进去。
    """
    content = json.loads(json.dumps({"format": FORMAT, **content}))  # 键都成了字符串，与读回来的一样
    text = json.dumps({**content, "checksum": _checksum(content)}, ensure_ascii=False, indent=1)
    put(folder / MANIFEST, (text + "\n").encode("utf-8", "replace"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """读清单，先按它自己的摘要核对。

    Args:
        folder: 输出文件夹。

    Returns:
        ``write_manifest`` 的内容。

    Raises:
        DataError: 缺失、读不了、坏了，或不是清洗的结果。
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum")
        is_sound = checksum == _checksum(content)
    except (OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            "cannot read the manifest of a cleaned corpus", where=str(path), fix="clean it again"
        ) from error
    if not is_sound or content.get("format") != FORMAT:
        raise DataError(
            "the manifest is damaged: it does not match its own checksum", where=str(path), fix="clean it again"
        )
    return dict(content)


def verify_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """按清单核对每个文件的大小与摘要。

    Args:
        folder: 输出文件夹。
        files: 文件名到 ``size`` 与 ``sha256``。

    Raises:
        DataError: 有文件缺失或变了；消息里有文件名。
    """
    for name, expected in files.items():
        path = folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read a cleaned file: {error.strerror}", where=str(path), fix="clean it again"
            ) from error
        if len(data) != expected["size"] or hashlib.sha256(data).hexdigest() != expected["sha256"]:
            raise DataError("a cleaned file differs from its manifest", where=str(path), fix="clean it again")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
