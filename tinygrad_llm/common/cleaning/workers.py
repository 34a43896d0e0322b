"""几个进程一起做：任务按次序进，结果按次序出，同时在手的任务只有进程数加二。

流入：一个顶层函数与任务流；流出：按任务次序的结果流。下一个文件：``ray_runner.py``（同样的接口，跑在 Ray 上）。

进程用 spawn 启动，各平台相同；Ctrl-C 只由主进程处理，工作进程做完手上的一个再走。
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tinygrad_llm.common.errors import WorkerError

__all__ = ["run_local"]

T = TypeVar("T")
R = TypeVar("R")


def run_local(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Generator[R, None, None]:
    """在本机的几个进程里做完全部任务。

    Args:
        function: 顶层函数，任务与结果都能 pickle。
        tasks: 任务流；只在有空位时才取下一个。
        workers: 几个进程；1 就在本进程里做。

    Yields:
        结果，次序同任务。

    Raises:
        WorkerError: 有工作进程死了。
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            with _interrupts_ignored() if not waiting else contextlib.nullcontext():
                waiting.append(pool.submit(function, task))  # 第一次提交时启动各进程，它们继承对 Ctrl-C 的忽略
            if len(waiting) >= workers + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process died before finishing its shard, probably out of memory",
            fix="run the same command again to resume; use fewer --workers or a smaller --shard-mb",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
