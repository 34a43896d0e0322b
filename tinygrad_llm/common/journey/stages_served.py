"""最后一站：起一个服务，像客户端那样问一句，收到的与命令行说的比。

流入：一次运行；流出：服务答了什么、多久答出第一个字。客户端只用标准库。
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tinygrad_llm.common.environment import OFFLINE
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.journey.runner import Found, Trip, at_least, at_most, search_path

__all__ = ["serve"]

READY_S = 60.0
MODEL, QUESTION = "journey", 'What is the first letter of "boat"?'


def serve(trip: Trip) -> Found:
    """起服务，问一句，停服务。"""
    said = trip.call("chat", "--run", "dpo", "--runs-dir", ".", "--prompt", QUESTION, "--temperature", 0)
    with serving(trip, "dpo") as address:
        body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 64}
        began_at = time.monotonic()
        answer = post(f"{address}/v1/chat/completions", body)["choices"][0]["message"]["content"]
        elapsed_s = time.monotonic() - began_at
        health = json.loads(urllib.request.urlopen(f"{address}/health", timeout=10).read())  # noqa: S310
    same = bool(answer.strip()) and answer.strip() in said.split()  # 学过的题，答案是一个字母
    return Found(
        checks=(
            at_most("answers that differ from the command line", float(not same), 0, "贪心，一问"),
            at_least("health", float(health["status"] == "ok"), 1),
        ),
        figures={"答完用时": f"{elapsed_s:.2f} s"},
        texts={"问与答": f"> {QUESTION}\n{answer}"},
    )


@contextmanager
def serving(trip: Trip, run: str) -> Iterator[str]:
    """一个正在运行的服务的地址；离开时停下它。"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["serve", "--model", f"{MODEL}={trip.folder / run}", "--port", str(port)]
    environment = {**os.environ, OFFLINE: "1", "PYTHONPATH": search_path()}
    with (trip.folder / "logs" / "server.log").open("wb") as log:
        command = [sys.executable, "-m", trip.scale.package, *words]
        process = subprocess.Popen(command, cwd=trip.folder, stdout=log, stderr=log, env=environment)
        try:
            yield ready(process, f"http://127.0.0.1:{port}", log.name)
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def ready(process: subprocess.Popen[bytes], address: str, log: str) -> str:
    """等它答应；它先退出了就报错。"""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/health", timeout=2).read()  # noqa: S310
            return address
        time.sleep(0.1)
    raise UserError("the server did not start", where=log, fix="see the log")


def post(url: str, body: dict[str, Any]) -> Any:
    """发一个 JSON，收一个 JSON。"""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read())
