"""测速用的客户端：一次请求一条连接，只连本机，逐段地读，记下每个 token 到来的时刻。

流入：端口与请求；流出：状态码、各段文字与时刻。它不认识服务器的代码，也不用别的 HTTP 库。
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"


@dataclass
class Got:
    """一次请求得到的。

    Attributes:
        status: 状态码；没有等到则为 0。
        text: 逐段的文字接起来，或整份的内容。
        started_at: 发出的时刻，``time.perf_counter()``。
        times: 各段文字到来的时刻；多半一段就是一个 token。
        tokens: 收到几个 token；要了 ``logprobs`` 才数得出：半个汉字不成一段，来不及发的几个并成一段。
        ended_at: 读完（或走掉）的时刻。
    """

    status: int = 0
    text: str = ""
    started_at: float = 0.0
    times: list[float] = field(default_factory=list)
    tokens: int = 0
    ended_at: float = 0.0


async def fetch(
    port: int, path: str, body: Any = None, *, leave_after: int | None = None, pause_s: float = 0.0,
    timeout_s: float = 300.0,
) -> Got:  # fmt: skip
    """一次请求。

    Args:
        port: 端口。
        path: 路径；有 ``body`` 就是 POST。
        body: 写成 JSON；现成的字节原样发。
        leave_after: 收到这么多段就断开。
        pause_s: 每读一段歇这么久：慢的客户。
        timeout_s: 至多等这么久。
    """
    got = Got(started_at=time.perf_counter())
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await asyncio.wait_for(_read(reader, got, leave_after, pause_s), timeout_s)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # 太大的请求体：服务器答完就断开，写的一方也许先看到断开
    finally:
        got.ended_at = time.perf_counter()
        writer.close()
    return got


async def _read(reader: asyncio.StreamReader, got: Got, leave_after: int | None, pause_s: float) -> None:
    got.status = int((await reader.readline()).split()[1])
    is_stream = False
    while (line := await reader.readline()) not in (b"\r\n", b""):
        is_stream |= b"text/event-stream" in line
    if not is_stream:
        got.text = (await reader.read()).decode("utf-8", "replace")
        return
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line[6:]).get("choices", ()):
            got.tokens += len((choice.get("logprobs") or {}).get("content") or ())
            if content := choice["delta"].get("content"):
                got.text += content
                got.times.append(time.perf_counter())
        if leave_after is not None and len(got.times) >= leave_after:
            return
        if pause_s:
            await asyncio.sleep(pause_s)


async def metric(port: int, name: str) -> float:
    """``/metrics`` 里的一个数；几组标签的加在一起。"""
    text = (await fetch(port, "/metrics")).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)
