"""读取的测试共用的几步：读、略过、停下、压缩、造文件夹。

流入：一份语料；流出：正文、计数或报错。
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest

from tinygrad_llm.common.corpora import Faults, documents
from tinygrad_llm.common.errors import DataError

GOOD = b'{"text": "good"}\n'
"""好的一行。"""


def texts(source: Path | str, **options: Any) -> list[str]:
    """一份语料的各份正文。"""
    return [document.text for document in documents(str(source), **options)]


def skipped(source: Path, **options: Any) -> tuple[list[str], dict[str, int]]:
    """略过坏输入之后的正文，与各个原因的次数。"""
    faults = Faults("skip")
    found = texts(source, on_error=faults, **options)
    return found, dict(faults.counts)


def refused(source: Path, **options: Any) -> DataError:
    """停下时的报错；顺便核对它的形状。"""
    with pytest.raises(DataError) as caught:
        texts(source, **options)
    assert caught.value.exit_code == 4
    assert str(caught.value).count("\n") <= 2
    assert caught.value.fix
    return caught.value


def compressed(data: bytes, path: Path) -> bytes:
    """按后缀压缩；zst 借可选的库，没有就跳过这条测试。"""
    if path.suffix == ".gz":
        return gzip.compress(data)
    if path.suffix != ".zst":
        return data
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.compress(data)
    pyarrow = pytest.importorskip("pyarrow", reason="zst needs pyarrow before Python 3.14")
    return bytes(pyarrow.compress(data, "zstd", asbytes=True))


def tree(root: Path, files: dict[str, str]) -> None:
    """按相对路径造一批文件。"""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
