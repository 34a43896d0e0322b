"""下载一个文件：重试、续传、核对长度，只用标准库。

流入：网址与「半成品」的路径；流出：长度完整的半成品。它还不是成品：核对摘要与改名到位是 ``fetching.py`` 的事。

半成品旁有一份小小的 JSON，记着服务器给的版本记号（ETag 或 Last-Modified）。续传时把记号放进 ``If-Range``：
内容没变，服务器接着给（206）；变了，或不会续传，就从头给（200），我们也从头写。
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError
from tinygrad_llm.common.progress import format_bytes

__all__ = ["Patience", "download", "mirrored", "notes_of"]

BLOCK_BYTES = 1 << 18
SPARE_BYTES = 64 << 20  # 下载之后，盘上还要剩下的余量
MAX_NOTES_BYTES = 1 << 16
RETRIED_CODES = {408, 425, 429, 500, 502, 503, 504}
Report = Callable[[int, "int | None"], None]
_CHECK = "check the network, or use another server with --mirror URL"


@dataclass(frozen=True)
class Patience:
    """等多久，试几次。

    Attributes:
        attempts: 连续多少次毫无进展就放弃；有进展则重新数起。
        first_delay_s: 第一次重试之前等几秒，以后逐次加倍。
        longest_delay_s: 至多等几秒；服务器用 ``Retry-After`` 要求更久时也不超过它。
        timeout_s: 连接与每次读取至多等几秒。
    """

    attempts: int = 5
    first_delay_s: float = 1.0
    longest_delay_s: float = 30.0
    timeout_s: float = 30.0


class _TransientError(Exception):
    """再试一次也许就好的失败。"""

    def __init__(self, problem: str, delay_s: float = 0.0) -> None:
        super().__init__(problem)
        self.delay_s = delay_s


def mirrored(url: str, mirror: str) -> str:
    """把网址的协议与主机换成镜像的前缀，路径不变。

    Args:
        url: 原来的网址。
        mirror: 镜像的前缀，如 ``https://hf-mirror.com``；空串表示不换。

    Returns:
        实际要访问的网址。

    Raises:
        UserError: 镜像不是 http 或 https 的网址，或原网址不是 https。
    """
    target = url
    if mirror:
        prefix = urlsplit(mirror)
        if prefix.scheme not in ("http", "https") or not prefix.hostname or prefix.query or prefix.fragment:
            raise UserError(f"not a mirror: {mirror[:80]!r}", where="--mirror", fix="use e.g. https://hf-mirror.com")
        parts = urlsplit(url)
        target = mirror.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")
    _check_scheme(target, allow_http=bool(mirror))
    return target


def notes_of(part: Path) -> Path:
    """半成品旁记着版本记号的文件。"""
    return part.with_name(f"{part.name}.json")


def download(
    url: str,
    part: Path,
    *,
    size: int | None = None,
    expected_size: int = 0,
    patience: Patience = Patience(),
    report: Report = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """把网址的内容写进半成品；它若已有一截，尽量接着下。

    Args:
        url: 网址；https，或本机与用户明示的镜像的 http。
        part: 半成品；同一时刻只能有一个进程在写。
        size: 确知的字节数；不符就不下载。
        expected_size: 大约的字节数，服务器不说长度时用来检查磁盘。
        patience: 等多久，试几次。
        report: 每写一块就以已有的字节数与全长（不知道时为 ``None``）调用。
        note: 每次重试之前以一句话调用。

    Raises:
        DataError: 网址不存在、没有权限、转向不止、长度不符，或试到最后仍不成。
        OutOfDiskError: 盘上放不下。
    """
    failures = 0
    while True:
        before = _length(part)
        try:
            _attempt(url, part, size, expected_size, patience, report)
            return
        except _TransientError as error:
            failures = 1 if _length(part) > before else failures + 1
            if failures >= patience.attempts:
                problem = f"the download failed {failures} times in a row: {error}"
                raise DataError(problem, where=url, fix=f"{_CHECK}; what came so far is kept") from error
            delay_s = min(error.delay_s or patience.first_delay_s * 2 ** (failures - 1), patience.longest_delay_s)
            note(f"{error}; trying again in {delay_s:.3g} s")
            time.sleep(delay_s)


def _attempt(url: str, part: Path, size: int | None, expected_size: int, patience: Patience, report: Report) -> None:
    """试一次；半成品只会变长，或从头来过。"""
    start, validator, known_total = _resumable(part, url)
    if start and start == known_total:  # 上次下完了，还没来得及核对
        return
    request = urllib.request.Request(url, headers=_headers(start, validator))  # noqa: S310  协议已经查过
    with contextlib.ExitStack() as stack:
        response = stack.enter_context(_opened(request, part, patience.timeout_s))
        start, total = _extent(response, start, part)
        if size is not None and total is not None and total != size:
            problem = f"the server's file has {total:,} bytes, and {size:,} were expected"
            raise DataError(problem, where=url, fix="the file was changed at its source, or the mirror has another one")
        _check_space(part, (total or expected_size) - start)
        file = stack.enter_context(_writable(part, start))  # 从头来过时先清空，再换版本记号
        _write_notes(part, url, response, total)
        done = _copy(response, file, start, lambda done: report(done, total))
    if total is not None and done != total:
        raise _TransientError(f"the connection broke after {done:,} of {total:,} bytes")
    if size is not None and done != size:
        part.unlink(missing_ok=True)
        raise _TransientError(f"the server sent {done:,} bytes, and {size:,} were expected")


# ---- 请求与应答 ----


def _headers(start: int, validator: str) -> dict[str, str]:
    headers = {"User-Agent": "zero-one-llm", "Accept-Encoding": "identity"}  # 不压缩，长度与摘要才对得上
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    return headers


def _opened(request: urllib.request.Request, part: Path, timeout_s: float) -> http.client.HTTPResponse:
    """发出请求；把各种失败分成「再试」与「没救」。"""
    try:
        response: http.client.HTTPResponse = _opener(request.full_url).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error, part) from error
    except urllib.error.URLError as error:
        raise _unreachable(error.reason, request) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(error, request) from error
    return response


def _refused(error: urllib.error.HTTPError, part: Path) -> Exception:
    """服务器给了错误码。"""
    if error.code in RETRIED_CODES:
        asked = error.headers.get("Retry-After", "")
        return _TransientError(f"the server answered {error.code}", float(asked) if asked.isdecimal() else 0.0)
    if error.code == 416:  # 半成品比文件还长：它不是同一个文件
        part.unlink(missing_ok=True)
        return _TransientError("the server has no more bytes than we do; starting over")
    if 300 <= error.code < 400:  # 能跟的都已跟过
        is_loop = "infinite loop" in str(error.reason)
        problem = "the server redirects in a loop" if is_loop else "refusing to follow an insecure redirect"
        return DataError(problem, where=error.url or "", fix=_CHECK)
    fix = {
        401: "the file needs a login: download it by hand",
        403: "the file needs a login: download it by hand",
        404: "the file has moved, or the mirror does not have it",
    }.get(error.code, _CHECK)
    return DataError(f"the server answered {error.code} {error.reason}", where=error.url or "", fix=fix)


def _unreachable(reason: object, request: urllib.request.Request) -> Exception:
    """没有得到应答。"""
    if isinstance(reason, ssl.SSLCertVerificationError):
        problem = f"the server's certificate is not trusted: {reason.verify_message}"
        return DataError(problem, where=request.full_url, fix="check the clock and the proxy of this machine")
    if isinstance(reason, socket.gaierror):
        return _TransientError(f"cannot find the host {request.host}")
    if isinstance(reason, TimeoutError):
        return _TransientError("the server did not answer in time")
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return _TransientError(f"cannot reach the server: {' '.join(text.split())[:120] or type(reason).__name__}")


def _extent(response: http.client.HTTPResponse, start: int, part: Path) -> tuple[int, int | None]:
    """应答从第几个字节开始，文件共多少字节（不知道时为 ``None``）。"""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise DataError("the server compressed the file on its own", where=response.url, fix=_CHECK)
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return 0, int(length) if length.isdecimal() else None
    extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if extent is None or int(extent[1]) != start:
        part.unlink(missing_ok=True)
        raise _TransientError("the server sent another range than asked; starting over")
    return start, None if extent[2] == "*" else int(extent[2])


def _copy(response: http.client.HTTPResponse, file: BinaryIO, start: int, report: Callable[[int], None]) -> int:
    """抄到盘上，返回文件的长度；断了就停在断处。"""
    done = start
    while True:
        try:
            block = response.read1(BLOCK_BYTES)  # 来多少收多少：停住不动时，已经来的不丢
        except (OSError, http.client.HTTPException) as error:
            problem = "the server stalled" if isinstance(error, TimeoutError) else "the connection broke"
            raise _TransientError(f"{problem} after {done:,} bytes") from error
        if not block:
            return done
        _append(file, block)
        done += len(block)
        report(done)


# ---- 半成品 ----


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _resumable(part: Path, url: str) -> tuple[int, str, int | None]:
    """半成品的长度、它的版本记号与全长；不能续传时长度为 0。"""
    start = _length(part)
    try:
        notes = json.loads(notes_of(part).read_bytes()[:MAX_NOTES_BYTES]) if start else {}
    except (OSError, ValueError):
        return 0, "", None
    if not isinstance(notes, dict) or notes.get("url") != url or not isinstance(notes.get("validator"), str):
        return 0, "", None
    total = notes.get("total")
    return (
        (start, notes["validator"], total if isinstance(total, int) else None) if notes["validator"] else (0, "", None)
    )


def _write_notes(part: Path, url: str, response: http.client.HTTPResponse, total: int | None) -> None:
    etag = response.headers.get("ETag", "")
    strong = "" if etag.startswith("W/") else etag  # 弱记号不保证逐字节相同，不能用来续传
    validator = strong or response.headers.get("Last-Modified", "")
    try:
        notes_of(part).write_text(json.dumps({"url": url, "validator": validator, "total": total}), encoding="utf-8")
    except OSError as error:
        raise _disk_error(error, part) from error


@contextlib.contextmanager
def _writable(part: Path, start: int) -> Any:
    """接在末尾（``start`` 就是它的长度）或从头写起；离开时落盘。"""
    try:
        file: IO[bytes] = part.open("ab" if start else "wb")
    except OSError as error:
        raise _disk_error(error, part) from error
    with file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _append(file: BinaryIO, block: bytes) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise _disk_error(error, Path(file.name)) from error


def _disk_error(error: OSError, part: Path) -> OutOfDiskError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    problem = "the disk is full" if full else f"cannot write: {error.strerror}"
    fix = "free some space and run the same command: it goes on from here" if full else "check the folder"
    return OutOfDiskError(problem, where=str(part), fix=fix)


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + SPARE_BYTES:
        problem = f"{format_bytes(needed)} to download, and only {format_bytes(free)} of disk are free"
        raise OutOfDiskError(problem, where=str(part.parent), fix="free some space, or move the cache elsewhere")


# ---- 协议 ----


def _is_loopback(host: str | None) -> bool:
    return host is not None and (host in ("localhost", "::1") or host.startswith("127."))


def _check_scheme(url: str, *, allow_http: bool) -> None:
    """只走 https；http 只许通往本机，或用户明示的镜像。"""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and (allow_http or _is_loopback(parts.hostname))):
        return
    raise DataError("refusing to download over an insecure connection", where=url[:200], fix="use an https address")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """跟随转向，但不从 https 退到 http。"""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_scheme(newurl, allow_http=urlsplit(req.full_url).scheme == "http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """只认 http 与 https 的打开器；默认的还会打开 ``file:``。"""
    opener = urllib.request.OpenerDirector()
    proxies = urllib.request.ProxyHandler({} if _is_loopback(urlsplit(url).hostname) else None)
    handlers = [urllib.request.HTTPHandler, urllib.request.HTTPSHandler, _Redirects]
    handlers += [urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor]
    for handler in (proxies, *(kind() for kind in handlers)):
        opener.add_handler(handler)
    return opener
