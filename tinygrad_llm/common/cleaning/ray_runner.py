"""同样的任务跑在 Ray 集群上：接口与 ``workers.py`` 的 ``run_local`` 相同，结果逐位相同。

流入：一个顶层函数与任务流；流出：按任务次序的结果流。各机器须能读写同一个输出文件夹（例如 NFS）。
下一个文件：``pipeline.py``。
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from tinygrad_llm.common.errors import UserError, WorkerError

__all__ = ["run_ray"]

T = TypeVar("T")
R = TypeVar("R")


def run_ray(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Generator[R, None, None]:
    """在 Ray 集群上做完全部任务；已经连上集群就用它，否则按 ``RAY_ADDRESS`` 去连，再不然在本机起一个。

    Args:
        function: 顶层函数，任务与结果都能 pickle。
        tasks: 任务流；只在有空位时才取下一个。
        workers: 同时在手的任务数减二。

    Yields:
        结果，次序同任务。

    Raises:
        UserError: 没有装 Ray；或某个任务报告的错误。
        WorkerError: 有任务所在的进程或机器死了，重试过仍不行。
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise UserError("--runner ray needs Ray", fix='pip install "zero-one-llm[ray]"') from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="error")
    remote: Any = ray.remote(function)
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(remote.remote(task))
            if len(waiting) >= workers + 2:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    except ray.exceptions.RayError as error:
        raise WorkerError("a Ray worker died", fix="run the same command again to resume") from error
    finally:
        for reference in waiting:
            ray.cancel(reference)
