"""取来一份具名语料：下载、核对、记下、改名到位。

流入：语料名；流出：缓存里核对过的文件。目录里写明了摘要的，以目录为准；没写的，第一次下载时记下，以后照着核对。
先记摘要，再改名到位：断电最多留下一条多余的记录，不会留下一个没有来历的成品。下一个文件：``download.py``。
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from tinygrad_llm.common import environment
from tinygrad_llm.common.corpora.cache import CHECKSUMS, COMMAND, entry_folder, read_records
from tinygrad_llm.common.corpora.catalogue import CATALOGUE, Entry, RemoteFile
from tinygrad_llm.common.corpora.download import Patience, download, mirrored, notes_of
from tinygrad_llm.common.corpora.locking import exclusive
from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError
from tinygrad_llm.common.files import file_digest, sync_folder, write_atomically
from tinygrad_llm.common.progress import Progress

__all__ = ["LOCK", "fetch"]

LOCK = "fetch.lock"
_KIBI, _MEBI = 1 << 10, 1 << 20


def fetch(
    name: str,
    *,
    files: int = 0,
    mirror: str = "",
    offline: bool = False,
    patience: Patience = Patience(),  # noqa: B008  冻结的 dataclass
) -> list[Path]:
    """下载一份具名语料；已有的核对后沿用，断了的接着下。

    Args:
        name: 目录里的名字。
        files: 下载前几个文件；0 表示目录的默认值。
        mirror: 镜像的网址前缀；默认取自环境变量。
        offline: 不联网；环境变量也能要求这一点。
        patience: 等多久，试几次。

    Returns:
        核对过的文件。

    Raises:
        UserError: 没有这个名字，或文件数越界，或镜像不是网址。
        DataError: 下载失败，摘要不符，或断网而缓存里没有。
        OutOfDiskError: 盘上放不下，或缓存不可写。
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise UserError(f"unknown corpus: {name[:80]!r}", where="name", fix=f"use one of {', '.join(CATALOGUE)}")
    if not 0 <= files <= len(entry.files):
        raise UserError(f"{name} has {len(entry.files):,} files, got {files:,}", where="--files", fix="ask for fewer")
    mirror = mirror or environment.mirror()
    wanted = entry.files[: files or entry.default_files]
    urls = [mirrored(file.url, mirror) for file in wanted]  # 先查网址，再碰磁盘
    folder = entry_folder(entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / LOCK, lambda: _say(f"another process is fetching {name}; waiting for it")):
            offline = offline or environment.is_offline()
            return [
                _fetch_file(entry, file, url, offline=offline, patience=patience)
                for file, url in zip(wanted, urls, strict=True)
            ]
    except OSError as error:
        problem = f"cannot write the cache: {error.strerror}"
        fix = f"check the folder, or choose another with {environment.CACHE}"
        raise OutOfDiskError(problem, where=str(folder), fix=fix) from error


def _fetch_file(entry: Entry, file: RemoteFile, url: str, *, offline: bool, patience: Patience) -> Path:
    """一个文件：已有就核对，没有就下载、核对、记下、改名到位。"""
    folder = entry_folder(entry)
    path, part = folder / file.name, folder / f"{file.name}.part"
    expected = file.sha256 or read_records(folder).get(file.name, {}).get("sha256", "")
    if path.exists():
        digest = file_digest(path)
        if digest == (expected or digest):
            _record(folder, file, path, digest)
            return path
        _say(f"{path} was changed after its download; fetching it again")
    if offline:
        fix = f'on a machine with a network run "{COMMAND} {entry.name}", then copy its folder here'
        raise DataError(f"{file.name} is not in the cache, and we are offline", where=str(folder), fix=fix)
    had_part = part.exists()
    digest = _downloaded(file, url, part, patience)
    if digest != (expected or digest) and had_part:  # 续上的一截也许来自别的版本
        _say("the resumed file has a wrong checksum; starting over")
        digest = _downloaded(file, url, part, patience, anew=True)
    if digest != (expected or digest):
        _discard(part)
        problem = f"wrong checksum: sha256 {digest[:16]}…, and {expected[:16]}… was expected"
        fix = "try another --mirror" if file.sha256 else f"if its source was updated, delete {folder} and fetch again"
        raise DataError(problem, where=url, fix=fix)
    _record(folder, file, part, digest)
    os.replace(part, path)  # noqa: PTH105  与 files.py 的写法一致
    sync_folder(folder)
    _discard(part)
    return path


def _downloaded(file: RemoteFile, url: str, part: Path, patience: Patience, *, anew: bool = False) -> str:
    """下载到半成品，返回它的 SHA-256。"""
    if anew:
        _discard(part)
    size = file.size if file.is_exact else None
    with _Meter(file, part) as meter:
        download(url, part, size=size, expected_size=file.size, patience=patience, report=meter.report, note=meter.note)
    return file_digest(part)


class _Meter:
    """下载的进度：得到应答、知道全长以后才开始显示。"""

    def __init__(self, file: RemoteFile, part: Path) -> None:
        self._file, self._stack = file, ExitStack()
        self._first = part.stat().st_size if part.exists() else 0
        self._progress: Progress | None = None

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def report(self, done: int, total: int | None) -> None:
        total = total or self._file.size
        unit, name = (_MEBI, "MiB") if total >= 100 * _MEBI else (_KIBI, "KiB")
        if self._progress is None:
            bar = Progress(-(-total // unit), f"{self._file.name} ({name})", start=self._first // unit)
            self._progress = self._stack.enter_context(bar)
            self._started_at = monotonic()
        speed = max(done - self._first, 0) / 1e6 / max(monotonic() - self._started_at, 1e-3)
        self._progress.update(-(-done // unit), MB_per_s=speed)

    def note(self, text: str) -> None:
        (self._progress.note if self._progress else _say)(text)


def _record(folder: Path, file: RemoteFile, path: Path, digest: str) -> None:
    """记下一个文件；已经记着同样的内容时不写。"""
    records = read_records(folder)
    record = {"size": path.stat().st_size, "sha256": digest, "url": file.url, "pinned": bool(file.sha256)}
    if records.get(file.name) != record:
        text = json.dumps(records | {file.name: record}, indent=2, sort_keys=True)
        write_atomically(folder / CHECKSUMS, f"{text}\n".encode())


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    notes_of(part).unlink(missing_ok=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
