"""装到一起：路由表变成一个 ASGI 应用，外面包着 ``Gate``。

流入：``Api`` 与设置；流出：ASGI 应用。下一个文件：``command.py``。

请求体有上限，读它也有期限；对方断开了，正在做的就取消，没有写完的回答在下一个 token 之前停下。
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from tinygrad_llm.common.serving.answers import Answering
from tinygrad_llm.common.serving.api import Api
from tinygrad_llm.common.serving.errors import ApiError
from tinygrad_llm.common.serving.gate import Gate, Receive, Rules, Scope, Send, send_json
from tinygrad_llm.common.serving.openapi import openapi
from tinygrad_llm.common.serving.pages import page_routes
from tinygrad_llm.common.serving.routes import ROUTES, Call, Reply, Route
from tinygrad_llm.common.serving.schemas import checked, parsed

__all__ = ["Endpoint", "all_routes", "build_app"]

T = TypeVar("T")
STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
"""逐段的回答：前面的代理不要攒着。"""
_BODY_S = 30.0
"""请求体要在这么久之内到齐。"""
_GRACE_S = 30.0
"""到期之后，对方还有这么久取走写好的。"""
_ASIDE_BYTES = 65_536
"""再长的请求体，解析放到别的线程里。"""


class _GoneError(Exception):
    """对方断开了。"""


class Endpoint:
    """一条路由的 ASGI 应用。

    Args:
        api: 服务的状态。
        route: 路由。
        max_body_bytes: 请求体的上限。

    Attributes:
        path: 路由的写法，供日志与指标。
    """

    def __init__(self, api: Api, route: Route, max_body_bytes: int) -> None:
        self._api, self._route, self._limit = api, route, max_body_bytes
        self.path = route.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """一个请求。"""
        call = Call({}, dict(scope.get("path_params", {})))
        scope["llm.call"] = call
        try:
            if self._route.schema is not None:
                call.body = await self._body(scope, receive)
            found = await _while_connected(receive, self._route.handler(self._api, call))
            if isinstance(found, Answering):
                await self._stream(found, receive, send)
            else:
                await _send_reply(found, send)
        except _GoneError:
            return

    async def _body(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise ApiError(415, "send JSON, with Content-Type: application/json", code="unsupported_media_type")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            raise self._too_large()
        try:
            data = await asyncio.wait_for(self._read(receive), _BODY_S)
        except asyncio.TimeoutError as error:
            raise ApiError(408, f"the body did not arrive within {_BODY_S:g} s", code="request_timeout") from error

        def work() -> dict[str, Any]:
            return checked(parsed(data), self._route.schema or {})

        if len(data) < _ASIDE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def _read(self, receive: Receive) -> bytes:
        parts, size = list[bytes](), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(parts)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._limit} bytes", code="body_too_large")

    async def _stream(self, answering: Answering, receive: Receive, send: Send) -> None:
        async def write() -> None:
            headers = [(name.encode(), value.encode()) for name, value in STREAM_HEADERS.items()]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with aclosing(answering.stream()) as parts:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    await asyncio.sleep(0)  # 攒了许多段时也让别人走一步，断开才看得见
            await send({"type": "http.response.body", "body": b""})

        try:
            await _while_connected(receive, write(), self._api.deadline_s + _GRACE_S)
        finally:
            answering.close()


async def _while_connected(receive: Receive, work: Awaitable[T], timeout_s: float | None = None) -> T:
    """做完为止；对方断开了（或到期了）就取消它。

    Raises:
        _GoneError: 对方断开了，或一直不取走。
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _GoneError
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_reply(reply: Reply, send: Send) -> None:
    await send_json(send, reply.status, reply.value, {"content-type": reply.media_type, **reply.headers})


def all_routes(api: Api) -> tuple[Route, ...]:
    """全部路由：API 的、页面的，与 ``/openapi.json``。"""
    return (*ROUTES, openapi_route(api), *page_routes())


def openapi_route(api: Api) -> Route:
    """``/openapi.json``；启动时写好，此后不变。"""
    document = openapi(ROUTES, api.version)

    async def handler(api: Api, call: Call) -> Reply:
        return Reply(document)

    return Route("GET", "/openapi.json", handler, "this description")


def build_app(
    api: Api, hosts: Sequence[str], *, max_body_bytes: int = 1 << 20, log: str = "none", logs_prompts: bool = False
) -> Gate:
    """ASGI 应用。

    Args:
        api: 服务的状态。
        hosts: 认得的主机名。
        max_body_bytes: 请求体的上限。
        log: 日志的写法。
        logs_prompts: 日志里有请求的内容。
    """
    from starlette.exceptions import HTTPException
    from starlette.routing import Route as StarletteRoute
    from starlette.routing import Router

    routes = all_routes(api)
    table = [StarletteRoute(one.path, Endpoint(api, one, max_body_bytes), methods=[one.method]) for one in routes]
    router = Router(table, redirect_slashes=False)

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = router  # 有了它，对不上的路由以 HTTPException 报出，而不是一段纯文字
        try:
            await router(scope, receive, send)
        except HTTPException as error:
            raise _unrouted(error.status_code, dict(error.headers or {})) from error

    rules = Rules(
        frozenset(hosts),
        frozenset(one.path for one in routes if one.is_open),
        frozenset(one.path for one in routes if one.is_work),
        log,
        logs_prompts,
    )
    return Gate(routed, api, rules)


def _unrouted(status: int, headers: dict[str, str]) -> ApiError:
    what = "there is no such route" if status == 404 else "this route does not take this method"
    code = "unknown_route" if status == 404 else "method_not_allowed"
    return ApiError(status, f"{what}; see /openapi.json", code=code, headers=headers)
