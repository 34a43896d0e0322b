"""没有模型的假服务器：说的是同一套流式 API，由测试排好每次回答说什么、何时停、何时断。

流入：``answers`` 里排好的回答；流出：网页与 server-sent events。它供出的网页就是包里的那几个文件，CSP 也相同。
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from parity_tests.serving_page.folder import PAGE, POLICY

Json = dict[str, Any]
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


@dataclass
class Answer:
    """一次回答。

    Attributes:
        pieces: 各个 token 的文字。
        holds_after: 说完几个 token 之后停住，等 ``release``；``None`` 不停。
        delay_s: 每个 token 之间歇多久。
        others: 每个 token 的候选与概率；没有则只有它自己。
        finish: 为什么停。
        status: 不是 200 时，以这个状态拒绝。
        message: 拒绝时说什么。
        release: 放行的信号。
    """

    pieces: Sequence[str]
    holds_after: int | None = None
    delay_s: float = 0.0
    others: Sequence[tuple[str, float]] = ()
    finish: str = "stop"
    status: int = 200
    message: str = ""
    release: threading.Event = field(default_factory=threading.Event)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # 缺省只排五个：浏览器一下子开好几条连接，排不上的要等内核重发


class FakeServer:
    """假服务器；停下之后可以在同一个端口上再起。

    Attributes:
        answers: 排着的回答，先来先用；用完了就说「ok」。
        requests: 收到的请求：路径与 JSON。
        key: 要的密钥；空串不要。
        port: 端口。
        gone: 说话时对方走了几次。
        connections: 开着的连接。
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, Json]] = []
        self.key = ""
        self.port = 0
        self.gone = 0
        self.connections: set[socket.socket] = set()
        self.start()

    def start(self) -> None:
        """开始听。"""
        server = _Listener(("127.0.0.1", self.port), _handler(self))
        self.port = server.server_address[1]
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """不再听，也断开说到一半的。"""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # 对方也许先走了
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """首页。"""
        return f"http://127.0.0.1:{self.port}/"

    def asked(self) -> list[Json]:
        """收到的各次提问。"""
        return [body for path, body in self.requests if path.endswith("/chat/completions")]


def _handler(fake: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            fake.connections.add(self.request)
            super().setup()

        def finish(self) -> None:
            fake.connections.discard(self.request)
            with contextlib.suppress(OSError):
                super().finish()

        def log_message(self, format: str, *args: Any) -> None:
            """不写日志。"""

        def do_GET(self) -> None:
            name = "index.html" if self.path.split("?")[0] == "/" else self.path.removeprefix("/page/")
            if name in PAGE:
                kind = _TYPES[name[name.rindex(".") :]]
                self._send(200, PAGE[name], f"{kind}; charset=utf-8", {"Content-Security-Policy": POLICY})
            elif self.path == "/health":
                self._json(200, {"status": "ok", "version": "0"})
            elif self.path == "/v1/models" and self._is_allowed():
                self._json(200, {"object": "list", "data": [_model("fox-1m", 2048), _model("owl-2m", 512)]})
            elif self.path != "/v1/models":
                self._error(404, "no such route")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._is_allowed():
                return
            fake.requests.append((self.path, body))
            if self.path == "/v1/tokenize":
                texts = [one["content"] for one in body.get("messages", [])] + [body.get("text", "")]
                self._json(200, {"count": sum(len(text.split()) for text in texts), "ids": []})
                return
            answer = fake.answers.pop(0) if fake.answers else Answer(["ok"])
            if answer.status != 200:
                headers = {"Retry-After": "1"} if answer.status in (429, 503) else {}
                self._error(answer.status, answer.message, headers)
                return
            self._stream(answer, bool(body.get("logprobs")))

        def _stream(self, answer: Answer, has_logprobs: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for index, event in enumerate(_events(answer, has_logprobs)):
                    if index == answer.holds_after and not answer.release.wait(timeout=20):
                        return
                    self._chunk(event)
                    time.sleep(answer.delay_s)
                self._chunk("data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                fake.gone += 1
                self.close_connection = True

        def _chunk(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def _is_allowed(self) -> bool:
            if fake.key and self.headers.get("Authorization") != f"Bearer {fake.key}":
                self._error(401, "an API key is needed")
                return False
            return True

        def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
            self._json(status, {"error": {"message": message, "type": "error", "param": None, "code": None}}, headers)

        def _json(self, status: int, value: Json, headers: dict[str, str] | None = None) -> None:
            self._send(status, json.dumps(value).encode(), "application/json", headers or {})

        def _send(self, status: int, data: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            with contextlib.suppress(ConnectionError):  # 页面不等答复了：又按了键，或测试已经结束
                self.end_headers()
                self.wfile.write(data)

    return Handler


def _model(name: str, context: int) -> Json:
    return {"id": name, "object": "model", "context_length": context, "parameters": 1_230_000, "engine": "fake"}


def _events(answer: Answer, has_logprobs: bool) -> Iterator[str]:
    for piece in answer.pieces:
        scored = _scored(piece, answer.others) if has_logprobs else None
        yield _event(
            {"choices": [{"index": 0, "delta": {"content": piece}, "logprobs": scored, "finish_reason": None}]}
        )
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish}]})
    yield _event({"choices": [], "usage": {"completion_tokens": len(answer.pieces), "total_tokens": 9}})


def _scored(piece: str, others: Sequence[tuple[str, float]]) -> Json:
    top = [_one(text, logprob) for text, logprob in others] or [_one(piece, -0.5)]
    return {"content": [{**_one(piece, -0.5), "top_logprobs": top}]}


def _one(text: str, logprob: float) -> Json:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "surrogatepass"))}


def _event(value: Json) -> str:
    return f"data: {json.dumps(value)}\n\n"
