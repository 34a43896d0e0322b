"""核对分片：大小看一眼就知道，内容要逐字节读一遍。

流入：文件夹与它的索引；流出：没有话说，或一条指名文件的 ``DataError``。
读一遍同时算摘要、找最大的 id、看文档的起点，几个文件由几个线程一起读。下一个文件：``store.py``。
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tinygrad_llm.common.batches.index import (
    DTYPES,
    Index,
    documents_name,
    refuse,
    shard_name,
)
from tinygrad_llm.common.files import write_atomically

__all__ = ["STAMP", "check_contents", "check_sizes"]

STAMP = ".verified.json"
READ_BYTES = 4 << 20


def check_sizes(folder: Path, index: Index) -> None:
    """每个文件都在，而且恰好那么大。

    Raises:
        DataError: 缺文件，或大小不对。
    """
    for name, entry in index.files.items():
        path = folder / name
        if not path.is_file():
            refuse(path, "is missing")
        if (size := path.stat().st_size) != entry.size:
            refuse(path, f"has {size:,} bytes instead of {entry.size:,}")


def check_contents(
    folder: Path, index: Index, *, again: bool = False, on_file: Callable[[str], None] | None = None
) -> None:
    """逐字节核对内容：摘要、id、文档的起点。

    Args:
        folder: 文件夹，大小已核对。
        index: 索引。
        again: 即使以前核对过、文件看来没有动过，也再读一遍。
        on_file: 每核对完一个文件调用一次。

    Raises:
        DataError: 内容不对；消息里有文件名。
    """
    stamp = _stamp(folder, index)
    if not again and _stamped(folder) == stamp:
        return
    names = [*index.files]
    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        for name, _ in zip(names, pool.map(lambda name: _read(folder / name, index), names), strict=True):
            if on_file is not None:
                on_file(name)
    for name in index.splits:
        _check_documents(folder, index, name)
    with contextlib.suppress(OSError):  # 只读的盘上留不下记号，下次再核对就是
        write_atomically(folder / STAMP, json.dumps(stamp).encode())


def _read(path: Path, index: Index) -> None:
    """读一个文件：算摘要；是分片就看每个 id 是否小于词表大小。"""
    digest, largest = hashlib.sha256(), 0
    is_shard = path.suffix == ".bin" and not path.name.endswith(documents_name(""))
    try:
        with path.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                digest.update(chunk)
                if is_shard:
                    largest = max(largest, int(np.frombuffer(chunk, f"<u{DTYPES[index.dtype]}").max()))
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror}")
    if digest.hexdigest() != index.files[path.name].sha256:
        refuse(path, "is damaged: its SHA-256 differs from the index")
    if largest >= index.vocab_size:
        refuse(path, f"holds token id {largest}, the vocabulary has {index.vocab_size}")


def _check_documents(folder: Path, index: Index, split: str) -> None:
    """文档的起点从 0 严格上升，每一处以及末尾都是 ``eot``。"""
    entry, path = index.splits[split], folder / documents_name(split)
    starts = np.fromfile(path, "<u8").astype(np.int64)
    edges = np.append(starts, entry.tokens - 1)
    if starts[0] != 0 or (np.diff(edges) < 2).any():
        refuse(path, "does not hold ascending document starts")
    homes = edges // index.shard_tokens
    for i in np.unique(homes).tolist():
        shard = folder / shard_name(split, i)
        ids = np.memmap(shard, f"<u{DTYPES[index.dtype]}", "r")
        if (ids[edges[homes == i] - i * index.shard_tokens] != index.eot).any():
            refuse(shard, f"does not begin every document with token id {index.eot}")


def _stamp(folder: Path, index: Index) -> dict[str, object]:
    """文件们此刻的样子：修改时间与 inode（复制出来的须重新核对）；大小已与索引相同。"""
    found = {name: (folder / name).stat() for name in sorted(index.files)}
    return {"index": index.checksum, "files": {name: [s.st_mtime_ns, s.st_ino] for name, s in found.items()}}


def _stamped(folder: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / STAMP).read_bytes()[: 64 << 20])
    return None
