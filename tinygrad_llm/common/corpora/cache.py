"""下载的缓存：一份语料一个文件夹，里面的文件都是核对过的。

流入：目录里的一份语料；流出：缓存里的文件。布局是 ``缓存/corpora/NAME/文件`` 与 ``checksums.json``，
后者记着每个文件的大小与 SHA-256。这里只读；写入见 ``fetching.py``。
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinygrad_llm.common import environment
from tinygrad_llm.common.corpora.catalogue import Entry
from tinygrad_llm.common.errors import DataError

__all__ = ["CHECKSUMS", "COMMAND", "cached_files", "entry_folder", "present_files", "read_records"]

CHECKSUMS = "checksums.json"
COMMAND = "python -m torch_llm data fetch"


def entry_folder(entry: Entry) -> Path:
    """一份语料在缓存里的文件夹；不保证已经存在。"""
    return environment.cache_folder() / "corpora" / entry.name


def present_files(entry: Entry) -> list[Path]:
    """缓存里已有的成品，按目录的次序。"""
    folder = entry_folder(entry)
    return [folder / file.name for file in entry.files if (folder / file.name).is_file()]


def cached_files(entry: Entry) -> list[Path]:
    """供读取的文件；只核对大小（摘要在 ``fetch`` 时核对）。

    Args:
        entry: 语料。

    Returns:
        至少一个文件，按目录的次序。

    Raises:
        DataError: 还没有下载，或有文件的大小变了。
    """
    paths = present_files(entry)
    if not paths:
        fix = f"run: {COMMAND} {entry.name}"
        raise DataError(f"the corpus {entry.name} is not in the cache", where=str(entry_folder(entry)), fix=fix)
    records = read_records(entry_folder(entry))
    known = {file.name: file.size for file in entry.files if file.is_exact}
    for path in paths:
        size, found = records.get(path.name, {}).get("size", known.get(path.name)), path.stat().st_size
        if size is not None and found != size:
            problem = f"the cached file has {found:,} bytes, and it should have {size:,}"
            raise DataError(problem, where=str(path), fix=f"run: {COMMAND} {entry.name}")
    return paths


def read_records(folder: Path) -> dict[str, Any]:
    """读一份语料的记录。

    Args:
        folder: 它在缓存里的文件夹。

    Returns:
        文件名到 ``size``、``sha256``、``url`` 与 ``pinned``；还没有记录时为空。

    Raises:
        DataError: 记录坏了。
    """
    path = folder / CHECKSUMS
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        fix = f"delete it to record the checksums anew, or restore it; then run: {COMMAND} {folder.name}"
        raise DataError("the record of checksums is damaged", where=str(path), fix=fix) from error
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise DataError("the record of checksums is damaged", where=str(path), fix="delete it and fetch again")
    return records
