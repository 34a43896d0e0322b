"""关口：默认只听本机，别的主机名、别的网页、没有钥匙的一律不放；每条路由都列出来查过；错误都是 OpenAI 的样子。

流入：各种来路的请求；流出：放错了的一个。
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from parity_tests.serving.echo import Opener
from parity_tests.serving.running import Running, running
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.app import all_routes
from tinygrad_llm.common.serving.command import hosts_of, run_server
from tinygrad_llm.common.serving.config import ServeConfig
from tinygrad_llm.common.serving.gate import host_name

KEY = "correct horse"
OPEN = {"/health"}
EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    """要钥匙的服务器。"""
    with running(Opener(), api_key=(KEY, "second"), allow_host=("chat.example",)) as found:
        yield found


def is_error(body: Any) -> bool:
    """OpenAI 的样子。"""
    return (
        isinstance(body, dict) and set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    )


def bearer(key: str) -> dict[str, str]:
    """带着钥匙。"""
    return {"Authorization": f"Bearer {key}"}


def test_a_route_is_open_without_being_on_the_list(locked: Running) -> None:
    """有一条路由不带钥匙就能用，而它不在公开的名单里。"""
    routes = all_routes(locked.api)
    assert len(routes) >= 9
    for route in routes:
        path = route.path.replace("{name}", "echo")
        status, body, headers = locked.request(route.method, path, b"{}" if route.schema else None)
        is_page = path == "/" or path.startswith("/page/")
        assert (status != 401) == (path in OPEN or is_page), path
        assert status == 200 or (is_error(body) and headers["www-authenticate"] == "Bearer")


def test_the_router_knows_a_route_that_the_table_does_not(locked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """路由器里有一条不在表里的路由：上面的一条测试就查不到它。"""
    found: list[str] = []
    original = Router.__init__

    def spy(self: Router, routes: Any, **more: Any) -> None:
        found.extend(one.path for one in routes if isinstance(one, StarletteRoute))
        original(self, routes, **more)

    monkeypatch.setattr(Router, "__init__", spy)
    from tinygrad_llm.common.serving.app import build_app

    build_app(locked.api, ("localhost",))
    assert sorted(found) == sorted(one.path for one in all_routes(locked.api))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic " + KEY, KEY, "Bearer corr", f"Bearer {KEY}x"])
def test_a_wrong_key_is_let_in(locked: Running, header: str) -> None:
    """钥匙不对、不全、写法不对，却放进来了。"""
    status, body, _ = locked.request("GET", "/v1/models", None, {"Authorization": header})
    assert status == 401
    assert body["error"]["code"] == "invalid_api_key"


def test_a_right_key_is_kept_out(locked: Running) -> None:
    """几把钥匙里有一把不管用。"""
    assert [locked.request("GET", "/v1/models", None, bearer(key))[0] for key in (KEY, "second")] == [200, 200]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::2]", EVERYWHERE, "chat.example:x", "", "a b"],
)
def test_a_foreign_host_is_answered(locked: Running, host: str) -> None:
    """别人的域名指到本机，请求却照常回答（DNS rebinding）。"""
    status, body, _ = locked.request("GET", "/health", None, {"Host": host})
    assert status in (400, 421)
    assert is_error(body)


@pytest.mark.parametrize("host", ["localhost:80", "127.0.0.1", "[::1]:9", "CHAT.example", "chat.example.:443"])
def test_a_known_host_is_refused(locked: Running, host: str) -> None:
    """本机的名字与点名认得的主机名没有放行。"""
    assert locked.request("GET", "/health", None, {"Host": host})[0] == 200
    assert host_name(host) in ("localhost", "127.0.0.1", "::1", "chat.example")


def test_another_sites_page_may_talk_to_the_server(server: Running) -> None:
    """别的网页发来的请求没有拒绝，或响应里有放行跨站的头。"""
    headers = {"Origin": "http://evil.example"}
    status, body, found = server.request("POST", "/v1/tokenize", {"model": "echo", "text": "x"}, headers)
    assert status == 403
    assert is_error(body)
    assert not any(name.startswith("access-control") for name in found)
    assert server.request("OPTIONS", "/v1/tokenize")[0] == 405
    own = {"Origin": server.url}
    assert server.request("POST", "/v1/tokenize", {"model": "echo", "text": "x"}, own)[0] == 200
    assert server.request("POST", "/v1/tokenize", b"{}", {"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize(
    "flags", [{"host": EVERYWHERE}, {"host": "::"}, {"allow_host": ("*",)}, {"host": "example.com"}]
)
def test_a_server_is_exposed_without_a_key(flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """听本机之外的地址而没有钥匙，却启动了。"""
    monkeypatch.delenv("ZERO_ONE_LLM_API_KEY", raising=False)
    with pytest.raises(UserError, match="no API key"):
        hosts_of(ServeConfig(model=("echo",), **flags))
    monkeypatch.setenv("ZERO_ONE_LLM_API_KEY", "a, b")
    assert "localhost" in hosts_of(ServeConfig(model=("echo",), **flags))


def test_a_missing_library_ends_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """没有装 starlette 时，没有说该装什么。"""
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(UserError) as caught:
        run_server(ServeConfig(model=("echo",)), Opener())
    assert caught.value.fix == 'pip install "zero-one-llm[serve]"'


def test_a_taken_port_ends_in_a_traceback() -> None:
    """端口已经有人用，没有说清楚。"""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot listen"):
        run_server(ServeConfig(model=("echo",), port=taken.getsockname()[1]), Opener())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/page/../config.py", 404), ("GET", "/page/%2e%2e/config.py", 404),
        ("GET", "/v1/models/", 404), ("GET", "/v1/models/none", 404), ("DELETE", "/health", 405),
        ("GET", "/v1/chat/completions", 405), ("PUT", "/v1/completions", 405), ("GET", "//health", 404),
    ],
)  # fmt: skip
def test_an_unknown_route_breaks_the_error_shape(server: Running, method: str, path: str, status: int) -> None:
    """404 与 405 不是 OpenAI 的样子，或把路径拼进了文件名。"""
    found, body, _ = server.request(method, path)
    assert found == status
    assert is_error(body)


def test_malformed_http_breaks_the_error_shape(server: Running) -> None:
    """连 HTTP 都不成样子的请求，错误不是 OpenAI 的样子。"""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
        found = connection.makefile("rb").read()
    assert found.startswith(b"HTTP/1.1 400")
    assert b'"invalid_http"' in found


def test_a_silent_connection_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """连上之后什么也不说、或只说了半句的，一直占着连接。"""
    monkeypatch.setattr("tinygrad_llm.common.serving.http._SILENT_S", 0.2)
    with running(Opener()) as server:
        for said in (b"", b"GET /health HTTP/1.1\r\nHo"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(said)
                assert connection.recv(100) == b""


def test_a_large_body_is_read(server: Running) -> None:
    """超过上限的请求体收下了：报了长度的，与一段段送来的。"""
    status, body, _ = server.request("POST", "/v1/tokenize", b"x" * ((1 << 20) + 1))
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = "POST /v1/tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(17):
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_security_headers_are_missing(server: Running) -> None:
    """有一个响应缺了安全的头：成功的、出错的。"""
    for method, path in (("GET", "/health"), ("GET", "/none"), ("GET", "/v1/models"), ("DELETE", "/metrics")):
        headers = server.request(method, path)[2]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-request-id"].startswith("req_")
        assert "server" not in headers


def test_the_log_holds_what_people_said(capfd: pytest.CaptureFixture[str]) -> None:
    """访问日志里有人说的话、钥匙，或伪造的一行；要了才可以有话。"""
    with running(Opener(), log="text", api_key=(KEY,)) as quiet:
        quiet.request("POST", "/v1/tokenize", {"model": "echo", "text": "my secret"}, bearer(KEY))
        quiet.request("GET", "/secret%0aforged", None, bearer(KEY))
    logged = capfd.readouterr().err
    assert logged.count("\n") == 2
    assert "/v1/tokenize 200" in logged
    assert "secret" not in logged
    assert KEY not in logged
    with running(Opener(), log="json", log_prompts=True) as loud:
        loud.request("POST", "/v1/tokenize", {"model": "echo", "text": "my secret"})
    assert "my secret" in capfd.readouterr().err
