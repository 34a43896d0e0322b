"""进门先查：主机名、来处、钥匙、限额；出门添上安全的响应头，记一行日志。

流入：每一个 HTTP 请求；流出：放进来的请求，与各式错误。默认不放行：不要钥匙的路由列在一张表里。下一个文件：``app.py``。

主机名要查，是因为别人的网页可以把自己的域名指到 127.0.0.1 再来读写（DNS rebinding）；``Origin`` 要查，是因为网页可以
不经同意地向本机发请求。日志里没有人说的话，路径只记路由的写法。
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any

from tinygrad_llm.common.serving.api import Api
from tinygrad_llm.common.serving.errors import ApiError
from tinygrad_llm.common.serving.routes import Call

__all__ = ["ANONYMOUS_ROUTE", "Gate", "Receive", "Rules", "Scope", "Send", "host_name", "is_loopback", "send_json"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
ANONYMOUS_ROUTE = "other"
"""没有对上任何路由的请求，在指标与日志里的路由。"""
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
"""每个响应都有的头；响应自己给了同名的就用它的。"""


@dataclass(frozen=True)
class Rules:
    """放谁进来。

    Attributes:
        hosts: 认得的主机名，小写；有 ``"*"`` 则都认。
        open_paths: 不要钥匙的路径，恰好相同才算，只限 GET 与 HEAD。
        work_paths: 要动用模型的路径：计进限额，收场时不收。
        log: 日志的写法：``"text"``、``"json"`` 或 ``"none"``。
        logs_prompts: 连请求的内容也写进日志。
    """

    hosts: Collection[str]
    open_paths: Collection[str]
    work_paths: Collection[str]
    log: str = "text"
    logs_prompts: bool = False


class Gate:
    """包在整个应用外面的一层。

    Args:
        app: 里面的应用。
        api: 服务的状态。
        rules: 放谁进来。
    """

    def __init__(self, app: App, api: Api, rules: Rules) -> None:
        self._app, self._api, self._rules = app, api, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """一个请求。"""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started, request_id = time.monotonic(), "req_" + secrets.token_hex(8)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status, caller = 0, str((scope.get("client") or ("-",))[0])

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_defaults(message.get("headers", []), request_id)
            await send(message)

        try:
            caller = self._admitted(scope, headers, caller)
            await self._app(scope, receive, sending)
        except ApiError as error:
            if not status:
                await send_json(sending, error.status, error.body(), error.headers)
        except Exception:  # 我们自己的缺陷：详情留在日志里，不告诉对方
            traceback.print_exc()
            if not status:
                await send_json(sending, 500, ApiError(500, "internal error", code="internal_error").body())
        finally:
            self._record(scope, caller, status, time.monotonic() - started, request_id)

    def _admitted(self, scope: Scope, headers: dict[str, str], caller: str) -> str:
        """调用者的名字：有钥匙的按钥匙，没有的按地址。

        Raises:
            ApiError: 不放行。
        """
        path, method = scope["path"], scope["method"]
        self._check_host(headers)
        if self._api.keys.are_needed and not (method in ("GET", "HEAD") and path in self._rules.open_paths):
            caller = self._key(headers)
        if path in self._rules.work_paths and method == "POST":
            if self._api.is_draining:
                raise ApiError(
                    503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "5"}
                )  # fmt: skip
            self._api.limits.admit(caller)
        return caller

    def _check_host(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        name = host_name(host)
        if not name:
            raise ApiError(400, "the request has no usable Host header", code="invalid_host")
        if "*" not in self._rules.hosts and name not in self._rules.hosts:
            raise ApiError(
                421, f"this server does not answer for the host {name[:100]!r}; start it with --allow-host NAME",
                code="unknown_host",
            )  # fmt: skip
        origin = headers.get("origin")
        if origin is not None and origin.split("://", 1)[-1] != host:
            raise ApiError(403, "requests from other sites' pages are refused", code="foreign_origin")

    def _key(self, headers: dict[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        name = self._api.keys.name_of(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
        if name is None:
            what = "the API key is wrong" if key else "an API key is needed: Authorization: Bearer KEY"
            raise ApiError(401, what, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        return name

    def _record(self, scope: Scope, caller: str, status: int, elapsed_s: float, request_id: str) -> None:
        endpoint, call = scope.get("endpoint"), scope.get("llm.call")
        route = getattr(endpoint, "path", ANONYMOUS_ROUTE)
        instruments = self._api.instruments
        instruments.requests.add(route, str(status or 499))
        instruments.took.observe(elapsed_s, route)
        used = call.used if isinstance(call, Call) else None
        if used is not None:
            self._api.limits.charge(caller, used.prompt + used.written)
        if self._rules.log == "none":
            return
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "id": request_id,
            "caller": caller,
            "method": scope["method"][:10],
            "route": route,
            "status": status or 499,
            "ms": round(1e3 * elapsed_s, 1),
            "prompt_tokens": used.prompt if used else 0,
            "written_tokens": used.written if used else 0,
        }
        if self._rules.logs_prompts and isinstance(call, Call) and call.body:
            line["body"] = call.body
        print(_log_line(line, self._rules.log), file=sys.stderr, flush=True)


def host_name(host: str) -> str:
    """``Host`` 头里的主机名，小写，不含端口与方括号；写法不对则为空。"""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.partition(":")
    return name.rstrip(".") if not port or port.isdecimal() else ""


def is_loopback(host: str) -> bool:
    """这个地址只有本机连得到。"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def send_json(send: Send, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
    """一个 JSON 的响应。"""
    body = (
        value
        if isinstance(value, bytes)
        else json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    )
    given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _with_defaults(given: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    found = {bytes(name).lower(): bytes(value) for name, value in given}
    ours = {name.encode(): value.encode() for name, value in {**HEADERS, "x-request-id": request_id}.items()}
    return list({**ours, **found}.items())


def _log_line(line: dict[str, Any], kind: str) -> str:
    if kind == "json":
        return json.dumps(line, ensure_ascii=False)
    body = " " + json.dumps(line.pop("body"), ensure_ascii=False) if "body" in line else ""
    return " ".join(str(value) for value in line.values()) + body
