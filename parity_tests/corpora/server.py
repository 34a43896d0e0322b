"""一台会出错的本地 HTTP 服务器：照剧本断线、撒谎、拖延。

流入：一份内容与每次请求各演哪一出；流出：收到过的请求。只监听 127.0.0.1。
"""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class FaultyServer:
    """用作上下文管理器的服务器。

    Attributes:
        body: 每个路径的内容都是它。
        script: 依次应付各次请求的剧目，演完以后一律 ``"ok"``；见 ``_Handler`` 的各个 ``play_`` 方法。
        ranges: 收到的各次请求的 ``Range`` 头，没有则为空串。
        paths: 收到的各次请求的路径。
        release: 放行停在 ``"stall"`` 里的请求。
    """

    def __init__(self, body: bytes, *script: str) -> None:
        self.body, self.script = body, list(script)
        self.ranges: list[str] = []
        self.paths: list[str] = []
        self.release = threading.Event()
        self._http = _QuietServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.faulty = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """网址前缀。"""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """客户端先走了是常事，不必写进 stderr。"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """不往 stderr 写日志。"""

    def do_GET(self) -> None:
        self.faulty: FaultyServer = self.server.faulty  # type: ignore[attr-defined]
        self.faulty.paths.append(self.path)
        self.faulty.ranges.append(self.headers.get("Range", ""))
        play = self.faulty.script.pop(0) if self.faulty.script else "ok"
        name, _, argument = play.partition(":")
        getattr(self, f"play_{name}")(argument)
        self.close_connection = True

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.faulty.body).hexdigest()[:16]}"'

    def play_ok(self, argument: str) -> None:
        """规规矩矩：认得 Range 与 If-Range。"""
        self._send(self._start())

    def play_drop(self, argument: str) -> None:
        """再送这么多字节，然后断线。"""
        self._send(self._start(), stop=int(argument))

    def play_norange(self, argument: str) -> None:
        """不会续传：总是从头给；有参数时，给这么多字节就断线。"""
        self._send(0, stop=int(argument) if argument else None)

    def play_code(self, argument: str) -> None:
        """只给一个错误码。"""
        self.send_response(int(argument))
        self.send_header("Content-Length", "0")
        if argument == "503":
            self.send_header("Retry-After", "0")
        self.end_headers()

    def play_redirect(self, argument: str) -> None:
        """转到别处；没有参数时转回自己。"""
        self.send_response(302)
        self.send_header("Location", argument or self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def play_stall(self, argument: str) -> None:
        """给一半，然后一声不响。"""
        self._send(self._start(), stop=len(self.faulty.body) // 2, is_stalling=True)

    def play_longer(self, argument: str) -> None:
        """声称的长度比内容多，送完就断线。"""
        self._headers(200, len(self.faulty.body) + int(argument))
        self.wfile.write(self.faulty.body)

    def play_unsized(self, argument: str) -> None:
        """不说长度，送到连接关闭为止；有参数时只送这么多字节。"""
        self._headers(200, None)
        self.wfile.write(self.faulty.body[: int(argument) if argument else None])

    def play_otherrange(self, argument: str) -> None:
        """答应续传，却给了另一段。"""
        body = self.faulty.body
        self._headers(206, len(body) - 1, f"bytes 1-{len(body) - 1}/{len(body)}")
        self.wfile.write(body[1:])

    def play_compressed(self, argument: str) -> None:
        """擅自声称压缩过。"""
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(self.faulty.body)))
        self.end_headers()
        self.wfile.write(self.faulty.body)

    def play_weak(self, argument: str) -> None:
        """只有弱 ETag，给这么多字节就断线。"""
        self._headers(200, len(self.faulty.body), etag=f"W/{self.etag}")
        self.wfile.write(self.faulty.body[: int(argument)])

    def _start(self) -> int:
        """该从哪里给起：记号没变才续传。"""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked and self.headers.get("If-Range") == self.etag else 0

    def _send(self, start: int, *, stop: int | None = None, is_stalling: bool = False) -> None:
        body = self.faulty.body
        if start >= len(body) > 0:
            return self.play_code("416")
        extent = f"bytes {start}-{len(body) - 1}/{len(body)}" if start else ""
        self._headers(206 if start else 200, len(body) - start, extent)
        self.wfile.write(body[start:] if stop is None else body[start : start + stop])
        self.wfile.flush()
        if is_stalling:
            self.faulty.release.wait(10)
        return None

    def _headers(self, code: int, length: int | None, extent: str = "", etag: str = "") -> None:
        self.send_response(code)
        self.send_header("ETag", etag or self.etag)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if extent:
            self.send_header("Content-Range", extent)
        self.send_header("Connection", "close")
        self.end_headers()
