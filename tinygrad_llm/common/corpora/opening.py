"""打开文件：普通、gzip 与 zstd 的文件都成为一条字节流，坏了说得出是怎么坏的。

流入：路径；流出：可以 ``read`` 与 ``readline`` 的字节流，内容随读随解压。下一个文件：``text_files.py``。
"""

from __future__ import annotations

import gzip
import importlib
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tinygrad_llm.common.corpora.faults import BadInput
from tinygrad_llm.common.errors import UserError

__all__ = ["BROKEN_STREAM", "explain", "kind_of", "open_bytes", "optional"]

BUFFER_BYTES = 1 << 20
STEP_BYTES = 1 << 16
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
_Reads = Callable[[int], bytes]


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
    decompress = _gzip_reads if suffix == ".gz" else _zstd_reads(path)
    file = path.open("rb")
    try:
        if not file.read(1):  # 解压器把空文件当作空内容，其实是没写完
            raise EOFError("empty compressed file")
        file.seek(0)
        return io.BufferedReader(_Stepwise(decompress(file), file), BUFFER_BYTES)
    except BaseException:
        file.close()
        raise


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


def optional(module: str, purpose: str, path: Path) -> Any:
    """导入一个可选的库。

    Args:
        module: 模块的点分名。
        purpose: 要它来做什么，英文短语。
        path: 要读的文件，用于消息。

    Returns:
        模块。

    Raises:
        UserError: 没有装；指出装法。
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        fix = 'pip install "zero-one-llm[data]"'
        raise UserError(f"{purpose} needs {package}", where=str(path), fix=fix) from error


class _Stepwise(io.RawIOBase):
    """一小步一小步地解压：数据在哪里断，最多损失一步，先前各步已经交出去了。"""

    def __init__(self, read: _Reads, file: BinaryIO) -> None:
        self._read, self._file = read, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._read(min(len(buffer), STEP_BYTES))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:  # 解压器不替别人关文件
        if not self.closed:
            self._file.close()
        super().close()


def _inner_name(path: Path) -> str:
    """去掉压缩后缀的文件名。"""
    return path.stem if path.suffix.lower() in COMPRESSED else path.name


def _gzip_reads(file: BinaryIO) -> _Reads:
    return gzip.GzipFile(fileobj=file).read1


def _zstd_reads(path: Path) -> Callable[[BinaryIO], _Reads]:
    """zstd：3.14 起标准库就有，之前借 pyarrow 的；两者都认多帧，也都报告截断。"""
    if sys.version_info >= (3, 14):
        zstd = importlib.import_module("compression.zstd")
        return lambda file: zstd.ZstdFile(file).read1
    pyarrow = optional("pyarrow", "reading .zst files before Python 3.14", path)
    return lambda file: pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd").read
