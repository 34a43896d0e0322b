"""分片：一批文档走完只看单份的各阶段，留下中间结果；查重之后，再写成最终的文件。

流入：一个分片的文档；流出：工作文件夹里的中间文件与一份记录，或输出文件夹里的一个 ``.jsonl``。
两个函数都在工作进程里运行，只凭参数与磁盘做事，所以跑在哪台机器、第几次跑都一样。下一个文件：``pipeline.py``。
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.cleaning.config import CleanConfig
from tinygrad_llm.common.cleaning.decontaminate import Leaks
from tinygrad_llm.common.cleaning.minhash import band_keys
from tinygrad_llm.common.cleaning.stages import document_stages, run_stages
from tinygrad_llm.common.cleaning.statistics import Statistics
from tinygrad_llm.common.cleaning.tally import Tally
from tinygrad_llm.common.cleaning.words import shingles
from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.errors import OutOfDiskError
from tinygrad_llm.common.files import write_atomically

__all__ = ["ROW", "ShardTask", "WriteTask", "clean_shard", "put", "read_documents", "shard_digest", "write_shard"]

ROW = np.dtype([("offset", "<i8"), ("digest", "<u8", 2), ("chars", "<i8"), ("shingles", "<i8")])
"""每份留下的文档在中间结果里占的一行。"""
ORIGIN = "origin"


@dataclass(frozen=True)
class ShardTask:
    """清洗一个分片。

    Attributes:
        index: 第几个，从 0 起。
        documents: 它的文档。
        digest: 这些文档的摘要，见 ``shard_digest``。
        folder: 工作文件夹。
        config: 设置。
        leaks: 考题的索引。
    """

    index: int
    documents: tuple[Document, ...]
    digest: str
    folder: Path
    config: CleanConfig
    leaks: Leaks | None


@dataclass(frozen=True)
class WriteTask:
    """写出一个分片。

    Attributes:
        index: 第几个。
        kept: (N,)，中间结果里的各份留不留。
        folder: 工作文件夹。
        out: 写到哪个文件夹。
        is_compressed: 是否写成 ``.gz``。
    """

    index: int
    kept: npt.NDArray[np.bool_]
    folder: Path
    out: Path
    is_compressed: bool


def clean_shard(task: ShardTask) -> dict[str, Any]:
    """让一个分片走完只看单份的各阶段；上次已经做完的，直接取回记录。

    Args:
        task: 分片。

    Returns:
        记录：``digest``、``kept``（留下几份）、``tallies``、``before``（统计）。

    Raises:
        OutOfDiskError: 写不进去。
    """
    stem = task.folder / f"{task.index:05}"
    if (record := _finished(stem.with_suffix(".json"), task.digest)) is not None:
        return record
    before, tallies = Statistics(), dict[str, Tally]()
    stages = document_stages(task.config, task.leaks)
    needs_keys = "near" in task.config.stages
    lines, rows, keys = [], [], []
    offset = 0
    for document in run_stages(stages, _counted(task.documents, before), tallies):
        line = _line(document)
        grams = shingles(document.text, task.config.near.shingle) if needs_keys else np.empty(0, np.uint64)
        rows.append((offset, _digest(document.text), len(document.text), grams.size))
        if needs_keys:
            keys.append(band_keys(grams, task.config.near))
        lines.append(line)
        offset += len(line)
    put(stem.with_suffix(".jsonl"), b"".join(lines))
    _put_array(stem.with_suffix(".rows.npy"), np.array(rows, ROW))
    if needs_keys:
        shape = (task.config.near.bands, len(keys))
        _put_array(stem.with_suffix(".keys.npy"), np.array(keys, np.uint64).reshape(shape[::-1]).T)
    record = {
        "digest": task.digest,
        "kept": len(rows),
        "tallies": {name: tally.to_json() for name, tally in tallies.items()},
        "before": before.to_json(),
    }
    put(stem.with_suffix(".json"), json.dumps(record).encode())  # 最后写它：有它就说明前面的都在
    return dict(json.loads(json.dumps(record)))  # 与从盘上取回的一模一样


def write_shard(task: WriteTask) -> dict[str, Any]:
    """把一个分片里留下的文档写成最终的文件；一份也没留下就不写。

    Args:
        task: 分片与去留。

    Returns:
        ``name``、``size``、``sha256``、``documents``（没有写文件时没有这几项）与 ``after``（统计）。

    Raises:
        OutOfDiskError: 写不进去。
    """
    after = Statistics()
    lines = []
    with (task.folder / f"{task.index:05}.jsonl").open("rb") as file:
        for line, is_kept in zip(file, task.kept, strict=True):
            if is_kept:
                lines.append(line)
                after.add(json.loads(line)["text"])
    entry: dict[str, Any] = {"after": after.to_json()}
    if lines:
        data = b"".join(lines)
        name = f"shard-{task.index:05}.jsonl"
        if task.is_compressed:
            name, data = f"{name}.gz", gzip.compress(data, 4, mtime=0)
        put(task.out / name, data)
        entry |= {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "documents": len(lines)}
    return entry


def read_documents(path: Path, offsets: npt.NDArray[np.int64]) -> Iterator[Document]:
    """从中间文件里按位置取几份文档。

    Args:
        path: 中间文件。
        offsets: 各份的起点，字节。

    Yields:
        文档。
    """
    with path.open("rb") as file:
        for offset in offsets.tolist():
            file.seek(offset)
            content = json.loads(file.readline())
            yield Document(content["text"], content[ORIGIN])


def shard_digest(documents: tuple[Document, ...]) -> str:
    """一批文档的摘要：正文、出处与随行的字段，差一个字符就不同。"""
    digest = hashlib.blake2b(digest_size=16)
    for document in documents:
        meta = json.dumps(dict(document.meta), sort_keys=True, default=str) if document.meta else ""
        for part in (document.text, document.source, meta):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def put(path: Path, data: bytes) -> None:
    """可靠地写一个文件。

    Args:
        path: 目标。
        data: 内容。

    Raises:
        OutOfDiskError: 写不进去。
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write: {error.strerror}", where=str(path), fix="free some space, then run the same command again"
        ) from error


def _counted(documents: tuple[Document, ...], statistics: Statistics) -> Iterator[Document]:
    for document in documents:
        statistics.add(document.text)
        yield document


def _line(document: Document) -> bytes:
    """一行 JSON：正文、最初的出处与随行的字段。"""
    content = {**document.meta, "text": document.text}
    content.setdefault(ORIGIN, document.source)
    return (json.dumps(content, ensure_ascii=False, default=str) + "\n").encode("utf-8", "replace")


def _digest(text: str) -> tuple[int, int]:
    data = hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")


def _put_array(path: Path, array: npt.NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    put(path, buffer.getvalue())


def _finished(path: Path, digest: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return record if record.get("digest") == digest else None
