"""Python 自带的两份语料：语言参考与标准库的源码，不联网也有。

流入：本机的 Python；流出：``Document``，一篇主题或一个文件一份。内容随 Python 的版本而异。下一个文件：``sources.py``。
"""

from __future__ import annotations

import importlib
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.text_files import unix_newlines
from tinygrad_llm.common.errors import DataError

__all__ = ["python_docs", "python_source"]

_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def python_docs() -> Iterator[Document]:
    """``pydoc_data.topics`` 里的各篇，按主题名排序。

    Yields:
        各篇，``meta`` 里有 ``topic``。

    Raises:
        DataError: 有些精简的发行版不带它。
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError) as error:
        raise DataError(
            "this Python does not ship its language reference",
            where="pydoc_data.topics",
            fix="use python-source or a text file",
        ) from error
    kept = ((name, topic) for name, topic in sorted(topics.items()) if isinstance(topic, str))
    for index, (name, topic) in enumerate(kept):
        yield Document(unix_newlines(topic), f"python-docs#{index}", {"topic": name})


def python_source() -> Iterator[Document]:
    """标准库的源码，按相对路径排序，不含测试与第三方包；极少数不是 UTF-8 的文件跳过。

    Yields:
        各个文件，``meta`` 里有 ``path``（相对标准库的 POSIX 路径）。

    Raises:
        DataError: 发行版不带源码。
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    index = 0
    for path in _source_files(root):
        try:
            text = unix_newlines((root / path).read_bytes().decode())
        except UnicodeDecodeError:
            continue
        yield Document(text, f"python-source#{index}", {"path": path.as_posix()})
        index += 1
    if not index:
        raise DataError("the standard library has no source files", where=str(root), fix="use python-docs")


def _source_files(root: Path) -> list[Path]:
    """标准库各个文件的相对路径，按 POSIX 写法排序；不走进要跳过的文件夹，它们往往比标准库还大。"""
    found = []
    for folder, children, names in os.walk(root):
        children[:] = [name for name in children if name not in _SKIPPED_FOLDERS]
        found += [Path(folder, name).relative_to(root) for name in names if name.lower().endswith(".py")]
    return sorted((path for path in found if (root / path).is_file()), key=Path.as_posix)
