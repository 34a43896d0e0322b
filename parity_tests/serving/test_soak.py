"""浸泡：许多客户各做各的（逐段的、半路走掉的、慢的、太大的），回答不串，没有 5xx，结束之后槽都空着。

流入：说回去的模型；流出：串了的回答、5xx、没有让出的槽。``benchmarks/serving_load.py`` 用真的模型量时间与内存。
"""

from __future__ import annotations

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from parity_tests.serving.echo import Opener
from parity_tests.serving.running import Running, eventually, running

CLIENTS, SECONDS = (32, 30.0) if os.environ.get("HYPOTHESIS_PROFILE") == "full" else (12, 1.5)


def one_client(server: Running, seed: int, end: float) -> tuple[set[int], int]:
    """一个客户，直到 ``end``；返回见过的状态码与串了几次。"""
    rng, statuses, crossed = random.Random(seed), set[int](), 0
    while time.monotonic() < end:
        text = f"client {seed} says {rng.random()} " + "x" * rng.randrange(40)
        kind = rng.choice(("whole", "stream", "gone", "slow", "large", "n"))
        if kind in ("whole", "n"):
            status, body, _ = server.chat(text, n=1 + (kind == "n"))
            statuses.add(status)
            crossed += status == 200 and any(one["message"]["content"] != text for one in body["choices"])
        elif kind == "stream":
            status, raw, _ = server.chat(text, stream=True)
            statuses.add(status)
            crossed += status == 200 and streamed_text(raw) != text
        elif kind == "large":
            statuses.add(server.request("POST", "/v1/tokenize", b"x" * (1 << 20) + b"y")[0])
        else:
            connection = server.opened_stream(text)
            connection.recv(10)
            time.sleep(0.02 if kind == "slow" else 0)
            connection.close()
    return statuses, crossed


def streamed_text(raw: bytes) -> str:
    """各段接起来。"""
    parts = [json.loads(part[6:]) for part in raw.decode().split("\n\n") if part and "[DONE]" not in part]
    return "".join(part["choices"][0]["delta"].get("content", "") for part in parts)


@pytest.mark.parametrize("slots", [4])
def test_many_clients_break_the_server(slots: int) -> None:
    """有一个请求得到了 5xx 或别人的回答，``/health`` 答得慢，或走了之后槽没有空出来。"""
    with running(Opener(delay_s=0.0005), slots=slots, queue=64) as server, ThreadPoolExecutor(CLIENTS + 1) as pool:
        end = time.monotonic() + SECONDS
        clients = [pool.submit(one_client, server, seed, end) for seed in range(CLIENTS)]
        while time.monotonic() < end:
            assert server.request("GET", "/health")[0] == 200
            time.sleep(0.05)
        found = [client.result() for client in clients]
        assert set().union(*(statuses for statuses, _ in found)) <= {200, 413, 429}
        assert sum(crossed for _, crossed in found) == 0
        engine = server.api.models["echo"].engine
        assert eventually(lambda: engine.live == 0 and engine.scheduler.running == 0, 2.0)
        assert server.api.active == 0
        assert engine.failures == 0
