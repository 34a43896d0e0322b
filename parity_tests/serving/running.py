"""本进程里的一台真正的服务器：占一个空闲的端口，在自己的线程里跑事件循环；离开时停下，线程不留。

流入：设置与打开模型的函数；流出：端口，与几种最朴素的客户端。
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from tinygrad_llm.common.serving.app import build_app
from tinygrad_llm.common.serving.command import OpenModel, hosts_of, make_api
from tinygrad_llm.common.serving.config import ServeConfig
from tinygrad_llm.common.serving.http import make_server

JSON = {"Content-Type": "application/json"}


class Running:
    """在跑的服务器；由 ``running`` 造出。

    Attributes:
        port: 端口。
        api: 服务的状态。
    """

    def __init__(self, config: ServeConfig, open_model: OpenModel) -> None:
        self.api = make_api(config, open_model)
        app = build_app(
            self.api, hosts_of(config), max_body_bytes=config.max_body_kib << 10, log=config.log,
            logs_prompts=config.log_prompts,
        )  # fmt: skip
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._server = make_server(app)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    @property
    def url(self) -> str:
        """网址前缀。"""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """停下。"""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()
        for served in self.api.models.values():
            served.engine.stop()

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """一次请求：状态码、内容（JSON 就解开）、响应头。"""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {**(JSON if data is not None else {}), **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, data, given)
            response = connection.getresponse()
            raw = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, json.loads(raw) if "json" in found.get("content-type", "") and raw else raw, found

    def chat(self, text: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
        """问一句。"""
        messages = [{"role": "user", "content": text}]
        return self.request("POST", "/v1/chat/completions", {"model": "echo", "messages": messages, **more})

    def stream(self, text: str, **more: Any) -> list[Any]:
        """逐段地问一句；各段解开，末尾是字符串 ``"[DONE]"``。"""
        status, raw, _ = self.chat(text, stream=True, **more)
        assert status == 200, raw
        parts = [part.removeprefix("data: ") for part in raw.decode().split("\n\n") if part]
        return [part if part == "[DONE]" else json.loads(part) for part in parts]

    def opened_stream(self, text: str, **more: Any) -> socket.socket:
        """发出逐段的请求，不读回答。"""
        body = json.dumps(
            {"model": "echo", "messages": [{"role": "user", "content": text}], "stream": True, **more}
        ).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return connection


@contextlib.contextmanager
def running(open_model: OpenModel, **settings: Any) -> Iterator[Running]:
    """一台服务器；``settings`` 是 ``ServeConfig`` 的各项。"""
    server = Running(ServeConfig(**{"model": ("echo",), "log": "none", **settings}), open_model)
    try:
        yield server
    finally:
        server.stop()


def eventually(condition: Any, timeout_s: float = 60.0) -> bool:
    """等到成立为止。"""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
