"""API 的错误：一种异常，写成 OpenAI 的样子。

流入：各处发现的问题；流出：状态码与 ``{"error": {...}}``。下一个文件：``schemas.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygrad_llm.common.errors import UserError

__all__ = ["TYPES", "ApiError", "as_api_error", "not_found"]

TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
    500: "server_error", 503: "service_unavailable_error",
}  # fmt: skip
"""状态码到错误的种类；不在表里的都是 ``invalid_request_error``。"""


class ApiError(Exception):
    """一次请求做不成；原因可以原样告诉对方。

    Attributes:
        status: HTTP 状态码。
        message: 哪里错了，怎么办；英文。
        param: 是请求里的哪一项；不是某一项的错则为 ``None``。
        code: 给程序看的短名；没有则为 ``None``。
        headers: 另加的响应头。
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """响应的内容。"""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def as_api_error(error: UserError, param: str | None = None, code: str | None = None) -> ApiError:
    """用户的错误变成 400，不带文件的位置。"""
    return ApiError(400, error.problem + (f"; {error.fix}" if error.fix else ""), param=param, code=code)


def not_found(what: str, name: str) -> ApiError:
    """没有这个名字；名字来自请求，只取一小截。"""
    return ApiError(404, f"the {what} {name[:100]!r} does not exist", param=what, code=f"{what}_not_found")
