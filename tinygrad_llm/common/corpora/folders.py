"""找文件：一个文件、一个文件夹或一个通配式，成为次序固定的文件清单。

流入：用户写的路径；流出：路径的列表，按相对路径的 POSIX 写法逐字符排序，各平台相同（``part-10`` 在 ``part-2`` 之前）。
下一个文件：``opening.py``。
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.corpora.opening import KINDS, explain, kind_of

__all__ = ["files_of", "is_pattern", "known_suffixes"]

_WILDCARDS = set("*?[")


def is_pattern(source: str) -> bool:
    """是否通配式，如 ``data/*.parquet``。"""
    return not _WILDCARDS.isdisjoint(source)


def files_of(source: str, faults: Faults) -> list[Path]:
    """列出要读的文件。

    文件夹递归地读，只取认识的后缀（``KINDS``，以及它们的 ``.gz`` 与 ``.zst``）；``.json`` 例外，它多半是清单，
    点名才读。以「.」开头的文件与文件夹略去；符号链接照走，绕回自己的祖先时报告。

    Args:
        source: 文件、文件夹或通配式；已知存在或含通配符。
        faults: 坏输入的处置：读不了的子文件夹、断了的链接、不是普通文件的东西。

    Returns:
        文件；一个也没有时为空。

    Raises:
        DataError: 遇到上述坏输入，而 ``faults`` 不许略过。
    """
    path = Path(source)
    if path.is_dir():
        found: list[Path] = []
        _walk(path, (), found, faults)
        return sorted(found, key=lambda file: file.relative_to(path).as_posix())
    if path.exists() or not is_pattern(source):
        return [path]
    base = Path(path.anchor or ".")
    pattern = path.relative_to(base) if path.anchor else path
    return sorted((file for file in base.glob(str(pattern)) if file.is_file()), key=lambda file: file.as_posix())


def _walk(folder: Path, ancestors: tuple[tuple[int, int], ...], found: list[Path], faults: Faults) -> None:
    """深入一个文件夹；``ancestors`` 是一路上各文件夹的身份（设备号与 inode），用来认出绕圈的链接。"""
    try:
        status = folder.stat()
        names = sorted(os.listdir(folder))  # noqa: PTH208  只要名字
    except OSError as error:
        return faults.take(explain(error), folder)
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        fix = "remove the symbolic link that points to a folder above it"
        return faults.take(BadInput("symbolic link loop", fix, "symbolic link loop"), folder)
    for name in names:
        if not name.startswith("."):
            _visit(folder / name, (*ancestors, identity), found, faults)
    return None


def _visit(path: Path, ancestors: tuple[tuple[int, int], ...], found: list[Path], faults: Faults) -> None:
    """一个目录项：文件夹走进去，认识的普通文件记下。"""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if kind_of(path):  # 不认识的后缀，断了也与我们无关
            faults.take(explain(error), path)
        return
    if stat.S_ISDIR(mode):
        _walk(path, ancestors, found, faults)
    elif kind_of(path) and ".json" not in [suffix.lower() for suffix in path.suffixes[-2:]]:
        if stat.S_ISREG(mode):
            found.append(path)
        else:
            problem = BadInput("not a regular file", "remove it from the folder", "not a regular file")
            faults.take(problem, path)


def known_suffixes() -> str:
    """文件夹里会读的后缀，用于消息。"""
    return ", ".join(suffix for suffix in KINDS if suffix != ".json")
