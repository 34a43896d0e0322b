"""启动与收场：打开模型，占住端口，听信号。

流入：``ServeConfig`` 与打开模型的函数；流出：一直运行的进程，收到 SIGTERM 或 Ctrl-C 后写完在写的回答，以 0 退出。

信号来了并不立刻停下监听：新来的请求还要答 503，前面的代理因此知道换一台；在写的都写完了（或期限到了）才停。
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol

from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.environment import api_keys
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.api import Api
from tinygrad_llm.common.serving.app import build_app
from tinygrad_llm.common.serving.config import ServeConfig
from tinygrad_llm.common.serving.engine import Engine
from tinygrad_llm.common.serving.filters import load_filter
from tinygrad_llm.common.serving.gate import is_loopback
from tinygrad_llm.common.serving.http import make_server
from tinygrad_llm.common.serving.limits import Keys, Limits
from tinygrad_llm.common.serving.served import Opened, Served

__all__ = ["OpenModel", "hand_over", "hosts_of", "make_api", "run_server"]

_LOCAL = ("127.0.0.1", "localhost", "::1")
_TICK_S = 0.05
_SWITCH_S = 1e-3
"""事件循环要解释器锁时，至多等别的线程这么久；缺省的五倍于此，``/health`` 等得久。"""
_ASIDE_THREADS = 32
"""解析与编译在旁边的线程里做；几份大的语法不能占满它们。"""


class OpenModel(Protocol):
    """引擎怎样打开一个运行文件夹。"""

    def __call__(self, folder: Path, config: ServeConfig) -> Opened:
        """打开。"""


def hand_over(package: str) -> NoReturn:
    """同样的参数，换另一个引擎的包来做；不在这里导入它，两个引擎因此谁也不认识谁。"""
    os.execv(sys.executable, [sys.executable, "-m", package, "serve", *sys.argv[2:]])  # noqa: S606


def run_server(config: ServeConfig, open_model: OpenModel) -> None:
    """一直服务到收到信号。

    Args:
        config: 设置。
        open_model: 引擎怎样打开模型。

    Raises:
        UserError: 没有装 starlette 与 uvicorn，端口占不住，模型打不开，或听本机之外的地址却没有钥匙。
    """
    _check_libraries()
    sys.setswitchinterval(_SWITCH_S)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # 往断开的连接里写了几次，不值得一行警告
    hosts = hosts_of(config)
    listening = _bound(config)
    with contextlib.closing(listening):
        api = make_api(config, open_model)
        app = build_app(
            api, hosts, max_body_bytes=config.max_body_kib << 10, log=config.log, logs_prompts=config.log_prompts
        )
        try:
            asyncio.run(_serve(app, api, config, listening))
        finally:
            for served in api.models.values():
                served.engine.stop()


def make_api(config: ServeConfig, open_model: OpenModel) -> Api:
    """打开全部模型，各起一个线程。"""
    models = {}
    for name, folder in config.models.items():
        opened = open_model(folder, config)
        scheduler = Scheduler(opened.decoder, opened.tokenizer, config.chunk, config.queue)
        models[name] = Served(name, opened, Engine(scheduler, opened.encoder, f"engine-{name}"))
    for served in models.values():
        served.engine.start()
    return Api(
        models,
        Keys(_keys(config)),
        Limits(config.requests_per_min, config.tokens_per_min),
        tuple(map(load_filter, config.input_filter)),
        tuple(map(load_filter, config.output_filter)),
        config.max_tokens,
        config.deadline_s,
    )


def hosts_of(config: ServeConfig) -> tuple[str, ...]:
    """认得的主机名。

    Raises:
        UserError: 听本机之外的地址，或什么主机名都认，却没有钥匙。
    """
    is_exposed = not is_loopback(config.host) or "*" in config.allow_host
    if is_exposed and not _keys(config):
        raise UserError(
            f"anyone who reaches {config.host} could use the models: there is no API key",
            where="--allow-host '*'" if is_loopback(config.host) else f"--host {config.host}",
            fix="set ZERO_ONE_LLM_API_KEY or --api-key, or stay on 127.0.0.1",
        )
    return (*_LOCAL, config.host.lower(), *(host.lower() for host in config.allow_host))


def _keys(config: ServeConfig) -> tuple[str, ...]:
    return (*config.api_key, *api_keys())


def _check_libraries() -> None:
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"the server needs starlette and uvicorn: {error}", fix='pip install "zero-one-llm[serve]"'
        ) from error
    assert starlette
    assert uvicorn


def _bound(config: ServeConfig) -> socket.socket:
    """占住端口，先于打开模型：占不住的话，不必等。"""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror or error}",
            fix="choose another --port, or stop the program that uses it",
        ) from error
    return listening


async def _serve(app: Any, api: Api, config: ServeConfig, listening: socket.socket) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_ASIDE_THREADS, "aside"))
    server = make_server(app)
    stopping = asyncio.Event()
    with _signals(stopping):
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not (server.started or serving.done()):
            await asyncio.sleep(_TICK_S)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"serving {', '.join(api.models)} on http://{shown}:{port}", file=sys.stderr, flush=True)
        waiting = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await _drain(api, config.drain_s)
        server.should_exit = True
        await serving


async def _drain(api: Api, within_s: float) -> None:
    """不收新的，等在写的写完；期限到了，剩下的以错误告终。"""
    api.is_draining = True
    loop = asyncio.get_running_loop()
    print(f"shutting down: {api.active} answers to finish", file=sys.stderr, flush=True)
    for end, is_last in ((loop.time() + within_s, False), (loop.time() + within_s + 2.0, True)):
        if is_last:
            for served in api.models.values():
                served.engine.cancel_all()
        while api.active and loop.time() < end:
            await asyncio.sleep(_TICK_S)


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    """头一个信号开始收场，第二个照原来的办法：立刻退出。"""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stopping.set)

    for number in numbers:
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
