"""打开文件：普通、gzip 与 zstd 的文件都成为一条字节流，坏了说得出是怎么坏的。

流入：路径；流出：可以 ``read`` 与 ``readline`` 的字节流，内容随读随解压。下一个文件：``text_files.py``。
"""

from __future__ import annotations

import gzip
import importlib
import io
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from tinygrad_llm.common.corpora.faults import BadInput
from tinygrad_llm.common.errors import UserError

__all__ = ["BROKEN_STREAM", "explain", "kind_of", "open_bytes", "optional"]

BUFFER_BYTES = 1 << 20
COMPRESSED = {".gz", ".zst"}
KINDS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json lines",
    ".parquet": "parquet",
}
# 读到一半才发现文件坏了：读不出、截断、解压失败（zlib.error 不是 OSError，gzip 的截断是 EOFError）
BROKEN_STREAM = (OSError, EOFError, zlib.error)


def kind_of(path: Path) -> str:
    """由后缀断定格式。

    Args:
        path: 文件名；末尾的 ``.gz`` 与 ``.zst`` 不算。

    Returns:
        ``"text"``、``"json lines"``、``"parquet"``；不认识的后缀为空串。
    """
    return KINDS.get(Path(_inner_name(path)).suffix.lower(), "")


def open_bytes(path: Path) -> BinaryIO:
    """打开文件，边读边解压；内存与文件大小无关。

    Args:
        path: 文件；后缀 ``.gz`` 与 ``.zst`` 表示压缩。

    Returns:
        带缓冲的字节流，用作上下文管理器；读的时候可能抛出 ``BROKEN_STREAM`` 中的错误，用 ``explain`` 说给用户。

    Raises:
        OSError: 打不开。
        EOFError: 压缩文件是空的。
        UserError: 缺少解压 zstd 的库。
    """
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED:
        return path.open("rb", buffering=BUFFER_BYTES)
    file = path.open("rb")
    if not file.read(1):  # 解压器把空文件当作空内容，其实是没写完
        file.close()
        raise EOFError("empty compressed file")
    file.seek(0)
    if suffix == ".gz":
        return cast("BinaryIO", _Owning(gzip.GzipFile(fileobj=file), file))
    return cast("BinaryIO", _Owning(_zstd_stream(file), file))


def explain(error: BaseException) -> BadInput:
    """把读取时的错误说成一句话。

    Args:
        error: ``BROKEN_STREAM`` 之一。

    Returns:
        可以交给 ``Faults.take`` 的坏输入。
    """
    if isinstance(error, PermissionError):
        return BadInput("cannot read the file: permission denied", "check its permissions", "unreadable file")
    again = "fetch or compress the file again"
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) or "Truncated" in text:
        return BadInput("the compressed file is cut short", again, "truncated file")
    if isinstance(error, zlib.error | gzip.BadGzipFile) or "ZSTD" in text or type(error).__name__ == "ZstdError":
        return BadInput(f"corrupt compressed data: {text[:120]}", again, "corrupt compressed data")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else text[:120]
    return BadInput(f"cannot read the file: {reason}", "check the file and its disk", "unreadable file")


def optional(module: str, purpose: str) -> Any:
    """导入一个可选的库。

    Args:
        module: 模块的点分名。
        purpose: 要它来做什么，英文短语。

    Returns:
        模块。

    Raises:
        UserError: 没有装；指出装法。
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"{purpose} needs {package}", fix='pip install "zero-one-llm[data]"') from error


class _Owning(io.BufferedReader):
    """关闭时连同底下的文件一起关闭：解压器不替别人关文件。"""

    def __init__(self, raw: Any, file: BinaryIO) -> None:
        super().__init__(raw, BUFFER_BYTES)
        self._file = file

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._file.close()


def _inner_name(path: Path) -> str:
    """去掉压缩后缀的文件名。"""
    return path.stem if path.suffix.lower() in COMPRESSED else path.name


def _zstd_stream(file: BinaryIO) -> Any:
    """zstd 的解压流：3.14 起标准库就有，之前借 pyarrow 的；两者都认多帧，也都报告截断。"""
    if sys.version_info >= (3, 14):
        return importlib.import_module("compression.zstd").ZstdFile(file)
    pyarrow = optional("pyarrow", "reading .zst files before Python 3.14")
    return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
