"""聊天的网页：启动时把文件夹里的几个文件读进来，各占一条路由；请求里的路径从不拼进文件名。

流入：``page/`` 里的文件；流出：路由。
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tinygrad_llm.common.serving.api import Api
from tinygrad_llm.common.serving.routes import Call, Reply, Route

__all__ = ["POLICY", "page_routes"]

FOLDER = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
"""认得的后缀；别的文件不给。"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""网页的 CSP：只许自己的文件，一行内联的脚本与样式也没有。"""
_INDEX = "index.html"


@lru_cache
def _files() -> dict[str, tuple[str, bytes]]:
    """文件名到类型与内容。"""
    paths = sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []
    return {path.name: (KINDS[path.suffix], path.read_bytes()) for path in paths if path.suffix in KINDS}


def page_routes() -> tuple[Route, ...]:
    """网页的路由：``/`` 是首页，其余在 ``/page/`` 之下。"""
    routes = [_route(f"/page/{name}", *found) for name, found in _files().items() if name != _INDEX]
    if _INDEX in _files():
        routes.insert(0, _route("/", *_files()[_INDEX]))
    return tuple(routes)


def _route(path: str, kind: str, data: bytes) -> Route:
    async def handler(api: Api, call: Call) -> Reply:
        return Reply(data, media_type=kind, headers={"content-security-policy": POLICY, "cache-control": "no-cache"})

    return Route("GET", path, handler, "the chat page", is_open=True)
