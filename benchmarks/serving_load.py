"""服务器受得住多少：几条流一起时的吞吐，服务器自己占多少时间，浸泡之后的内存，断开之后多写了几个 token。

流入：一个运行文件夹；流出：表、直方图与 JSON。服务器由这里启动，只听本机；客户端是 ``serving_client.py``。

- 吞吐：一条流与几条流轮着量，每条写同样多的 token。
- 服务器占的时间：另一个进程里用同一个引擎直接写同样的 token，与一条流轮着量。
- 浸泡：许多客户各做各的，逐段的、半路走掉的、读得慢的、太大的、不成样子的；其中一类要求写出自己的暗号
  （以 JSON schema 约束），得到别人的就是串了。
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import report
from benchmarks.options import Output, too_small
from benchmarks.serving_client import Got, fetch, metric

PACKAGES = {"torch": "torch_llm", "numpy": "tinygrad_llm"}
PROBE_S = 0.1
BOUNDS_MS = (5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 60_000)
"""直方图各格的上界。"""
PROMPT = "Tell me a long story about a lighthouse keeper and number {}."


@dataclass(frozen=True)
class ServingLoadOptions(Output):
    """服务器的测速与浸泡。"""

    run: Path = Path("runs/storyworld")
    """服务这个运行文件夹；分词器须有对话用的特殊 token。"""
    engine: Literal["torch", "numpy"] = "torch"
    """用哪个引擎。"""
    streams: tuple[int, ...] = (1, 2, 4, 8)
    """几条流一起。"""
    tokens: int = 64
    """每条写几个 token。"""
    rounds: int = 5
    """轮着量几遍，取中位数。"""
    clients: int = 32
    """浸泡时几个客户。"""
    seconds: float = 60.0
    """浸泡多久；此前还有六分之一那么久不计。"""
    disconnects: int = 200
    """量几次断开。"""
    parts: tuple[Literal["start", "streams", "overhead", "soak", "disconnect"], ...] = (
        "start", "streams", "overhead", "soak", "disconnect",
    )  # fmt: skip
    """做哪几样。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        least = {"tokens": 2, "rounds": 1, "clients": 1, "seconds": 0.1, "disconnects": 1}
        found = [*super().problems(), *too_small(self, least)]
        return found + ["--streams must be at least 1"] * any(count < 1 for count in self.streams)


class Server:
    """启动了的服务器。

    Attributes:
        port: 端口。
        pid: 进程号。
        ready_s: 从启动到在听，几秒。
    """

    def __init__(self, process: subprocess.Popen[str], port: int, ready_s: float) -> None:
        self.port, self.pid, self.ready_s = port, process.pid, ready_s

    def resident(self) -> int:
        """占的物理内存，字节。"""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) << 10  # type: ignore[index]


@contextmanager
def served(options: ServingLoadOptions) -> Iterator[Server]:
    """启动，离开时以 SIGTERM 停下，并看它是不是体面地走了。"""
    flags = ["--model", f"m={options.run}", "--port", "0", "--log", "none", "--slots", str(max(*options.streams, 8))]
    command = [sys.executable, "-m", PACKAGES[options.engine], "serve", *flags, "--queue", "256"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline() if process.stderr else ""
        found = re.search(r":(\d+)$", line.strip())
        if not found:
            raise SystemExit(line + (process.stderr.read() if process.stderr else ""))
        yield Server(process, int(found[1]), time.perf_counter() - started)
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise SystemExit(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def asked(number: int, tokens: int, **more: Any) -> dict[str, Any]:
    """一个逐段的请求。"""
    messages = [{"role": "user", "content": PROMPT.format(number)}]
    return {"model": "m", "messages": messages, "max_tokens": tokens, "stream": True, "seed": number, **more}


async def together(port: int, count: int, tokens: int, first: int) -> tuple[float, list[Got]]:
    """几条流一起；每秒几个 token 与各条的时刻。"""
    found = await asyncio.gather(*(
        fetch(port, "/v1/chat/completions", asked(first + i, tokens)) for i in range(count)
    ))  # fmt: skip
    written = sum(len(one.times) for one in found)
    took = max(one.ended_at for one in found) - min(one.started_at for one in found)
    return written / took, found


async def measure_streams(options: ServingLoadOptions, server: Server) -> dict[str, Any]:
    """一条流与几条流轮着量。"""
    rates: dict[int, list[float]] = {count: [] for count in options.streams}
    first: dict[int, list[float]] = {count: [] for count in options.streams}
    between: dict[int, list[float]] = {count: [] for count in options.streams}
    for number in range(options.rounds):
        for count in options.streams:
            rate, found = await together(server.port, count, options.tokens, 100 * number + 10_000 * count)
            rates[count].append(rate)
            first[count] += [one.times[0] - one.started_at for one in found if one.times]
            between[count] += [b - a for one in found for a, b in zip(one.times, one.times[1:], strict=False)]
    base = statistics.median(rates[options.streams[0]])
    return {
        str(count): {
            "tokens_per_s": statistics.median(rates[count]),
            "x_first": statistics.median(rates[count]) / base,
            "first_s": quantiles(first[count]),
            "between_s": quantiles(between[count]),
            "first_histogram": histogram(first[count]),
            "between_histogram": histogram(between[count]),
        }
        for count in options.streams
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """中位数、九成五、九成九与最大。"""
    ordered = sorted(values) or [0.0]
    return {
        name: ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }


def histogram(values: list[float]) -> list[int]:
    """``BOUNDS_MS`` 各格里有几个；更大的都算在末格。"""
    counts = [0] * len(BOUNDS_MS)
    for value in values:
        counts[next((i for i, bound in enumerate(BOUNDS_MS) if 1e3 * value <= bound), len(BOUNDS_MS) - 1)] += 1
    return counts


# ---- 服务器自己占多少时间 ----

BARE = """
import json, sys, threading, time
from pathlib import Path
from {package}.serve import open_model
from tinygrad_llm.common.chat.conversation import Conversation, Message
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.serving.config import ServeConfig
from tinygrad_llm.common.serving.served import Served

opened = open_model(Path(sys.argv[1]), ServeConfig(model=("m",), slots=int(sys.argv[2])))
served = Served("m", opened, None)
scheduler = Scheduler(opened.decoder, opened.tokenizer, 128)

def work():
    print("ready", flush=True)
    for line in sys.stdin:
        text, tokens, seed = json.loads(line)
        prompt = served.prompt(Conversation((Message("user", text),)))
        scheduler.submit(Request(prompt, tokens, Sampling(1.0, seed=seed), stop_ids=served.stop_ids))
        times = []
        for event in scheduler.run():
            times.append(time.perf_counter())
        print(json.dumps([times[-1] - times[0], len(times)]), flush=True)

thread = threading.Thread(target=work)  # 与服务器一样，不在主线程里算
thread.start()
thread.join()
"""


def measure_overhead(options: ServingLoadOptions, server: Server) -> dict[str, Any]:
    """一条流每个 token 的时间，比引擎直接写同样的 token 多多少；两边轮着量。"""
    source = BARE.replace("{package}", PACKAGES[options.engine])
    slots = str(max(*options.streams, 8))
    command = [sys.executable, "-c", source, str(options.run), slots]
    bare = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdout.readline()
    ratios, ours, theirs = [], [], []
    try:
        for number in range(-1, 2 * options.rounds):  # 头一遍不算
            text = PROMPT.format(number + 500)
            print(json.dumps([text, options.tokens, number + 500]), file=bare.stdin, flush=True)
            took, count = json.loads(bare.stdout.readline())
            _, found = asyncio.run(together(server.port, 1, options.tokens, number + 500))
            times = found[0].times
            if number < 0 or count < 3 or len(times) < 3:
                continue
            theirs.append(took / (count - 1))
            ours.append((times[-1] - times[0]) / (len(times) - 1))
            ratios.append(ours[-1] / theirs[-1])
    finally:
        bare.stdin.close()
        bare.wait(30)
    return {
        "server_s_per_token": statistics.median(ours),
        "engine_s_per_token": statistics.median(theirs),
        "ratio": statistics.median(ratios),
    }


# ---- 浸泡 ----


async def measure_soak(options: ServingLoadOptions, server: Server) -> dict[str, Any]:
    """先热身，再浸泡；内存与 ``/health`` 只看后一段。"""
    await soak(options, server, options.seconds / 6)
    before = server.resident()
    statuses, kinds, crossed, first, between, health = await soak(options, server, options.seconds)
    ended = time.perf_counter()
    while await metric(server.port, "llm_running") + await metric(server.port, "llm_waiting"):
        await asyncio.sleep(0.02)
        if time.perf_counter() - ended > 60:
            break
    freed_s = time.perf_counter() - ended
    after = server.resident()
    return {
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "kinds": dict(kinds),
        "crossed": crossed,
        "health_s": quantiles(health),
        "first_s": quantiles(first),
        "between_s": quantiles(between),
        "first_histogram": histogram(first),
        "between_histogram": histogram(between),
        "resident_before": before,
        "resident_after": after,
        "freed_s": freed_s,
        "failures": await metric(server.port, "llm_engine_failures"),
    }


async def soak(options: ServingLoadOptions, server: Server, seconds: float) -> Any:
    """许多客户，直到时候到了。"""
    end = time.perf_counter() + seconds
    statuses, kinds, health = Counter[int](), Counter[str](), list[float]()
    first, between, crossed = list[float](), list[float](), 0

    async def probe() -> None:
        while time.perf_counter() < end:
            got = await fetch(server.port, "/health")
            health.append(got.ended_at - got.started_at)
            statuses[got.status] += 1
            await asyncio.sleep(PROBE_S)

    async def client(number: int) -> None:
        nonlocal crossed
        rng = random.Random(number)
        while time.perf_counter() < end:
            kind, got, is_crossed = await one_visit(server.port, rng, f"client-{number}-{rng.randrange(10**6)}")
            kinds[kind] += 1
            statuses[got.status] += 1
            crossed += is_crossed
            if got.times:
                first.append(got.times[0] - got.started_at)
                between.extend(b - a for a, b in zip(got.times, got.times[1:], strict=False))

    await asyncio.gather(probe(), *(client(number) for number in range(options.clients)))
    return statuses, kinds, crossed, first, between, health


async def one_visit(port: int, rng: random.Random, secret: str) -> tuple[str, Got, bool]:
    """一个客户来一次：做什么是随机的。"""
    kind = rng.choice(("stream", "stream", "secret", "secret", "leave", "slow", "large", "broken", "tokens"))
    chat, tokens = "/v1/chat/completions", rng.randrange(4, 40)
    if kind == "stream":
        return kind, await fetch(port, chat, asked(rng.randrange(1000), tokens)), False
    if kind == "secret":
        schema = {"name": "s", "schema": {"const": secret}}
        body = asked(1, 60, response_format={"type": "json_schema", "json_schema": schema})
        got = await fetch(port, chat, body)
        return kind, got, got.status == 200 and got.text != json.dumps(secret)
    if kind == "leave":
        return kind, await fetch(port, chat, asked(rng.randrange(1000), 200), leave_after=rng.randrange(1, 8)), False
    if kind == "slow":
        return kind, await fetch(port, chat, asked(rng.randrange(1000), tokens), pause_s=0.05), False
    if kind == "large":
        return kind, await fetch(port, chat, b"x" * (2 << 20)), False
    if kind == "broken":
        return kind, await fetch(port, chat, rng.choice((b"{", b'{"model": 1}', b'{"model":"m","messages":[]}'))), False
    return kind, await fetch(port, "/v1/tokenize", {"model": "m", "text": secret}), False


async def measure_disconnects(options: ServingLoadOptions, server: Server) -> dict[str, Any]:
    """断开之后引擎还写了几个：它一共写的，减去客户收到的。"""
    extra = Counter[int]()
    for number in range(options.disconnects):
        before = await metric(server.port, "llm_engine_tokens_written")
        got = await fetch(server.port, "/v1/chat/completions", asked(number, 400, logprobs=True), leave_after=3)
        while await metric(server.port, "llm_running"):
            await asyncio.sleep(0.005)
        extra[int(await metric(server.port, "llm_engine_tokens_written") - before) - got.tokens] += 1
    return {str(count): times for count, times in sorted(extra.items())}


# ---- 主进程 ----


def measure(options: ServingLoadOptions) -> dict[str, Any]:
    """按 ``--parts`` 依次量。"""
    found: dict[str, Any] = {}
    with served(options) as server:
        got = asyncio.run(together(server.port, 1, 2, 0))[1][0]
        found["start"] = {"ready_s": server.ready_s, "first_token_s": got.times[0] - got.started_at}
        asyncio.run(together(server.port, max(options.streams), 4, 1))  # 热身
        for name in options.parts:
            report.tell(f"{name} ...")
            if name == "overhead":
                found[name] = measure_overhead(options, server)
            elif name != "start":
                part = {"streams": measure_streams, "soak": measure_soak, "disconnect": measure_disconnects}[name]
                found[name] = asyncio.run(part(options, server))
    return found


def text(result: dict[str, Any]) -> str:
    """几段话与一张表。"""
    start = result["start"]
    lines = [f"start: listening after {start['ready_s']:.2f} s, first token {start['first_token_s']:.2f} s later"]
    if "streams" in result:
        rows = [
            [count, f"{one['tokens_per_s']:.4g}", f"{one['x_first']:.2f}", *latencies(one)]
            for count, one in result["streams"].items()
        ]
        head = ["streams", "tokens/s", "x one", "first p50", "first p99", "between p50", "between p99"]
        lines.append(report.table(head, rows))
    if "overhead" in result:
        one = result["overhead"]
        lines.append(
            f"one stream: {report.milliseconds(one['server_s_per_token'])} a token through the server, "
            f"{report.milliseconds(one['engine_s_per_token'])} from the engine alone: x {one['ratio']:.3f}"
        )
    if "soak" in result:
        one = result["soak"]
        grown = one["resident_after"] / one["resident_before"] - 1
        health = one["health_s"]
        lines.append(
            f"soak: statuses {one['statuses']}, {one['crossed']} crossed, {one['failures']:.0f} engine failures, "
            f"memory {grown:+.1%}, slots free after {one['freed_s']:.2f} s\n"
            f"      /health p50 {report.milliseconds(health['p50'])}, p99 {report.milliseconds(health['p99'])}; "
            f"first, between: {', '.join(latencies(one))}"
        )
    if "disconnect" in result:
        lines.append(f"tokens written after a disconnect (tokens: times): {result['disconnect']}")
    return "\n\n".join(lines)


def latencies(one: dict[str, Any]) -> list[str]:
    """第一个 token 与两个 token 之间，各两个分位数。"""
    return [report.milliseconds(one[name][which]) for name in ("first_s", "between_s") for which in ("p50", "p99")]


def main(options: ServingLoadOptions) -> None:
    """``python -m benchmarks serving_load``。"""
    result = measure(options)
    print(text(result))
    report.publish(report.document("serving_load", options, result), options)
