"""把文件可靠地放到盘上：要么是完整的新内容，要么还是旧内容，断电与 kill -9 也不例外。

流入：路径与字节；流出：已经落盘的文件。下一个文件：``checkpoint.py``、``runlog.py`` 与 ``report.py`` 都用它。
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["file_digest", "process_is_gone", "sync_folder", "temporary_sibling", "write_atomically"]

READ_BYTES = 1 << 20


def write_atomically(path: Path, data: bytes) -> None:
    """先写同目录的临时文件，落盘后改名到位；读者只会看到旧的或新的完整内容。

    Args:
        path: 目标文件，其目录须已存在。
        data: 全部内容。

    Raises:
        OSError: 写不进去；此时目标不变，临时文件已删除。
    """
    temporary = temporary_sibling(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  与 fsync 一道用 os 的函数，测试才能逐个注入失败
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def file_digest(path: Path) -> str:
    """一个文件的 SHA-256，一段一段地读。

    Raises:
        OSError: 读不了。
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def temporary_sibling(path: Path) -> Path:
    """同目录的临时名字，带进程号：谁留下的一望可知，进程死了便可清扫。"""
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def sync_folder(folder: Path) -> None:
    """把目录项本身落盘，否则断电后改名可能丢失；Windows 不能打开目录，也不需要。"""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def process_is_gone(pid: int) -> bool:
    """这个进程是否已不在；同号的遗留物（容器里进程号常常重复）是前世留下的，也算不在。

    Args:
        pid: 写在临时名字里的进程号。
    """
    if pid == os.getpid():
        return True
    if os.name == "nt":
        return False  # Windows 上 os.kill 真的会杀进程，宁可不扫
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
