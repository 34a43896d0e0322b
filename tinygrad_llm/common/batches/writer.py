"""写分片：token 一篇一篇流进来，一片一片落到盘上；全部写完才挂上正式的名字。

流入：每篇文档的 id；流出：一个封好口的分片文件夹。内存里至多有一批文档，与语料多大无关。
中途被杀、断电、盘满，留下的只是带 ``.tmp-进程号`` 的文件夹：没有索引，谁也不会把它当作成品；下一次会清扫掉。
下一个文件：``store.py``。
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinygrad_llm.common.batches.index import (
    FileEntry,
    Index,
    SplitEntry,
    documents_name,
    shard_name,
    write_index,
)
from tinygrad_llm.common.batches.tokens import Ids
from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError
from tinygrad_llm.common.files import process_is_gone, sync_folder, temporary_sibling

__all__ = ["SHARD_TOKENS", "HashedFile", "SplitWriter", "hashed", "publish", "unfinished_folder"]

SHARD_TOKENS = 1 << 27
"""一片的 token 数：uint16 时 256 MiB。"""


class HashedFile:
    """边写边算摘要的文件。

    Attributes:
        name: 文件名。
        size: 已写的字节数。
    """

    def __init__(self, path: Path) -> None:
        self.name, self.size = path.name, 0
        self._file: BinaryIO = path.open("xb")
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        """追加几个字节。"""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> FileEntry:
        """落盘并关上。"""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return FileEntry(self.size, self._digest.hexdigest())

    def abandon(self) -> None:
        """只关上，不落盘：这个文件不要了。"""
        with contextlib.suppress(OSError):
            self._file.close()


class SplitWriter:
    """写一个集合（训练或验证）。

    Attributes:
        documents: 已写的文档数。
        tokens: 已写的 token 数。
        text_bytes: 原文的字节数。
        files: 已写完的文件。
    """

    def __init__(self, folder: Path, split: str, *, dtype: str, eot: int, shard_tokens: int = SHARD_TOKENS) -> None:
        self.documents = self.tokens = self.text_bytes = 0
        self.files: dict[str, FileEntry] = {}
        self._folder, self._split, self._eot, self._shard_tokens = folder, split, eot, shard_tokens
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._starts = HashedFile(folder / documents_name(split))
        self._shard: HashedFile | None = None

    def add(self, ids: Ids, text_bytes: int) -> None:
        """写一篇文档：先 ``eot``，再它的 id。

        Args:
            ids: 一维整数数组，至少一个，都在词表之内。
            text_bytes: 原文的 UTF-8 字节数。
        """
        self._starts.write(np.array(self.tokens, "<u8").tobytes())
        self._append(np.concatenate([[self._eot], ids]).astype(self._dtype))
        self.documents += 1
        self.text_bytes += text_bytes

    def close(self) -> SplitEntry:
        """在末尾再写一个 ``eot``，各文件落盘。"""
        self._append(np.array([self._eot], self._dtype))
        self.files[self._starts.name] = self._starts.close()
        self._close_shard()
        return SplitEntry(self.documents, self.tokens, self.text_bytes, len(self.files) - 1)

    def abandon(self) -> None:
        """出了错：关上打开着的文件。"""
        self._starts.abandon()
        if self._shard is not None:
            self._shard.abandon()

    def _append(self, ids: Ids) -> None:
        while ids.size:
            if self._shard is None:
                self._shard = HashedFile(self._folder / shard_name(self._split, self.tokens // self._shard_tokens))
            room = self._shard_tokens - self.tokens % self._shard_tokens
            part, ids = ids[:room], ids[room:]
            self._shard.write(part.tobytes())
            self.tokens += part.size
            if part.size == room:
                self._close_shard()

    def _close_shard(self) -> None:
        if self._shard is not None:
            self.files[self._shard.name] = self._shard.close()
            self._shard = None


def hashed(path: Path) -> FileEntry:
    """已经写好的小文件的大小与摘要。"""
    data = path.read_bytes()
    return FileEntry(len(data), hashlib.sha256(data).hexdigest())


@contextlib.contextmanager
def unfinished_folder(target: Path) -> Iterator[Path]:
    """在目标旁边开一个临时文件夹；不论怎样离开，没有经 ``publish`` 改名的都删掉。

    Args:
        target: 最终的文件夹，不可已存在。

    Yields:
        临时文件夹。

    Raises:
        UserError: 目标已存在。
        OutOfDiskError: 盘满，或超出配额。
        DataError: 写不了。
    """
    if target.exists():
        raise UserError("the output already exists", where=str(target), fix="choose another --out, or remove it")
    temporary = temporary_sibling(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary.mkdir()
    except OSError as error:
        raise _cannot_write(target, temporary, error) from error
    try:
        yield temporary
    except OSError as error:
        place = Path(error.filename or temporary).absolute()
        if temporary.absolute() not in (place, *place.parents):
            raise  # 读语料时出的错，与这里无关
        raise _cannot_write(target, temporary, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish(temporary: Path, target: Path, index: Index) -> None:
    """写好索引，把临时文件夹改成正式的名字：从这一刻起它才存在。"""
    write_index(temporary, index)
    sync_folder(temporary)
    temporary.rename(target)
    sync_folder(target.parent)


def _sweep(target: Path) -> None:
    """删掉死去的进程为同一个目标留下的临时文件夹。"""
    for path in target.parent.glob(f"{target.name}.tmp-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdecimal() and process_is_gone(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _cannot_write(target: Path, temporary: Path, error: OSError) -> DataError:
    where = str(error.filename or target)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"cannot write the shards: {error.strerror}", where=where, fix="check the folder of --out")
    written = sum(path.stat().st_size for path in temporary.glob("*")) if temporary.is_dir() else 0
    free = shutil.disk_usage(target.parent).free
    return OutOfDiskError(
        f"the disk is full after {written:,} bytes of shards ({free:,} free): {error.strerror}",
        where=str(target),
        fix="free some space or choose another --out; nothing half-written is left behind",
    )
