"""``/openapi.json``：由查请求的同一张表写成，所以说的就是做的。

流入：路由表；流出：OpenAPI 3.1 的文档。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_llm.common.serving.routes import PROMETHEUS, Route

__all__ = ["openapi"]

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}


def openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """整份文档。

    Args:
        routes: API 的各条路由。
        version: 本包的版本。
    """
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "zero-one-llm", "version": version, "description": "an OpenAI-compatible server"},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    kind = PROMETHEUS.partition(";")[0] if route.path == "/metrics" else "application/json"
    content: dict[str, Any] = {kind: {}}
    if route.schema is not None and "stream" in route.schema["properties"]:
        content["text/event-stream"] = {}
    failed = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    found: dict[str, Any] = {
        "summary": route.about,
        "operationId": route.handler.__name__,
        "responses": {
            "200": {"description": "done", "content": content},
            "4XX": {"description": "refused", **failed},
            "5XX": {"description": "failed, or shutting down", **failed},
        },
        "security": [] if route.is_open else [{"key": []}, {}],
    }
    if "{name}" in route.path:
        found["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if route.schema is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.schema}}}
    return found
