r"""语料：不联网也有的两份文本，或用户自己的文件。

流入：语料名或路径；流出：一段换行统一为 ``\n`` 的文本，以及训练与验证两部分。
下一个文件：``../tokenizers/bpe.py``（文本怎样变成 id）。
"""

from __future__ import annotations

import importlib
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinygrad_llm.common.errors import DataError, UserError

CORPUS_NAMES = ("python-docs", "python-source")
_TEXT_SUFFIXES = {".txt", ".md"}
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True)
class Corpus:
    r"""一份语料。

    Attributes:
        name: 语料名，或文件、文件夹的名字。
        text: 全文，换行统一为 ``\n``。
    """

    name: str
    text: str


def load_corpus(source: str) -> Corpus:
    """按名字或路径载入语料。

    Args:
        source: ``python-docs``（CPython 自带的语言参考）、``python-source``（标准库源码），
            或一个文本文件、一个含 ``.txt`` 与 ``.md`` 的文件夹（包括子文件夹，按相对路径排序）。

    Returns:
        语料。

    Raises:
        UserError: 既不是语料名，也不像路径。
        DataError: 文件缺失、为空、读不了或不是 UTF-8；文件夹里没有文本。
    """
    if source == "python-docs":
        return Corpus(source, _python_docs())
    if source == "python-source":
        return Corpus(source, _python_source(Path(sysconfig.get_paths()["stdlib"])))
    path = _existing_path(source)
    text = _read_folder(path) if path.is_dir() else _read_file(path)
    if not text.strip():
        raise DataError("the corpus is empty", where=source, fix="use a file with some text in it")
    return Corpus(path.resolve().name, text)


def split_text(text: str, val_fraction: float) -> tuple[str, str]:
    """把末尾一段留作验证，在行首切开。

    切点是「训练占 1 - val_fraction」处往前的第一个行首；若它远在一半以前（整篇几乎没有换行），就在该处的字符间切开。

    Args:
        text: 全文，至少两个字符。
        val_fraction: 验证部分所占的比例，在 (0, 1) 内。

    Returns:
        训练文本与验证文本，都不为空，首尾相接即为原文。

    Raises:
        UserError: 比例越界。
        DataError: 文本太短，分不成两份。
    """
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction must lie strictly between 0 and 1, got {val_fraction}", fix="try 0.1")
    if len(text) < 2:
        raise DataError(f"{len(text)} characters cannot be split in two", fix="use a longer text")
    target = min(max(round(len(text) * (1 - val_fraction)), 1), len(text) - 1)
    cut = text.rfind("\n", 0, target) + 1
    if 2 * cut < target:
        cut = target
    return text[:cut], text[cut:]


def _python_docs() -> str:
    """``pydoc_data.topics`` 里的各篇，按主题名排序；有些精简的发行版不带它。"""
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError) as error:
        raise DataError(
            "this Python does not ship its language reference",
            where="pydoc_data.topics",
            fix="use --corpus python-source or a text file",
        ) from error
    return _join(topic for _, topic in sorted(topics.items()) if isinstance(topic, str))


def _python_source(root: Path) -> str:
    """标准库的源码，不含测试与第三方包；极少数不是 UTF-8 的文件跳过。"""
    texts = []
    for path in _sorted_files(root, {".py"}):
        if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts):
            try:
                texts.append(path.read_bytes().decode())
            except UnicodeDecodeError:
                continue
    if not texts:
        raise DataError("the standard library has no source files", where=str(root), fix="use --corpus python-docs")
    return _join(texts)


def _existing_path(source: str) -> Path:
    """确认路径存在；分清「打错了语料名」与「文件不在」。"""
    path = Path(source)
    try:
        if source.strip() and path.exists():
            return path
    except OSError as error:  # 名字过长，或没有权限
        raise DataError(f"not a usable path: {error.strerror}", where=source[:80], fix="check the path") from error
    if path.suffix or len(path.parts) > 1:
        raise DataError("no such file or folder", where=source, fix="check the path")
    raise UserError(
        f"unknown corpus or missing file: {source[:80]!r}",
        where="corpus",
        fix=f"use one of {', '.join(CORPUS_NAMES)}, or the path of a text file",
    )


def _read_folder(folder: Path) -> str:
    paths = _sorted_files(folder, _TEXT_SUFFIXES)
    if not paths:
        raise DataError("the folder has no .txt or .md files", where=str(folder), fix="put text files into it")
    return _join(text for text in map(_read_file, paths) if text.strip())


def _sorted_files(root: Path, suffixes: set[str]) -> list[Path]:
    """文件夹内的文件，按相对路径的 POSIX 写法排序：各平台次序相同。"""
    found = [path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _read_file(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise DataError(
            f"cannot read the file: {error.strerror}", where=str(path), fix="check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"not valid UTF-8 at byte offset {error.start}", where=str(path), fix="convert the file to UTF-8"
        ) from error
    return _unix_newlines(text.removeprefix("\ufeff"))  # 去掉 Windows 记事本留下的 BOM


def _join(texts: Iterable[str]) -> str:
    return "\n\n".join(map(_unix_newlines, texts))


def _unix_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
