"""uvicorn 的一台服务器，照我们的需要设好：不报自己的名字，不信转发的头，信号留给别处，坏请求的错误也成样子。

流入：ASGI 应用；流出：``uvicorn.Server``。下一个文件：``command.py``。
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.serving.errors import ApiError

if TYPE_CHECKING:
    import uvicorn

__all__ = ["make_server"]

_BACKLOG = 256
_SILENT_S = 20.0
"""连上之后，请求头要在这么久之内到齐。"""
_LINGER_S = 5
"""停下时，给还没有说完的连接这么久。"""


def make_server(app: Any) -> uvicorn.Server:
    """还没有开始的服务器。"""
    import uvicorn

    class Server(uvicorn.Server):
        """信号由别处接：uvicorn 一接到就不再监听。"""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """什么也不接。"""
            yield

    config = uvicorn.Config(
        app, http=_protocol(), ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=_LINGER_S, backlog=_BACKLOG,
    )  # fmt: skip
    return Server(config)


def _protocol() -> type[Any]:
    """HTTP 协议；连 HTTP 都不成样子的请求，错误也写成 OpenAI 的样子。"""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            """连上了；迟迟不说要什么的，断开。"""
            super().connection_made(transport)
            self._silence = self.loop.call_later(_SILENT_S, self._leave_if_silent)

        def connection_lost(self, exc: Exception | None) -> None:
            """断开了。"""
            self._silence.cancel()
            super().connection_lost(exc)

        def _leave_if_silent(self) -> None:
            if getattr(self, "cycle", None) is None:
                self.transport.close()

        def send_400_response(self, msg: str) -> None:
            """答 400，断开。"""
            body = json.dumps(ApiError(400, msg, code="invalid_http").body()).encode()
            headers = [("content-type", "application/json"), ("connection", "close")]
            start = h11.Response(status_code=400, headers=[*headers, ("content-length", str(len(body)))])
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Protocol
