"""用满 CPU 的几个核：大的算子按行切开，分给几个线程；从此 BLAS 只用一个线程。

流入：一件按行切得开的活；流出：各段的结果。融合算子都经过 ``split``，小的活不值得切，原样在本线程做完。
NumPy 在大数组上运算时不占 Python 的全局锁，几个线程才真的并行。OpenBLAS 自己也有线程，做完一件活还要空转几十毫秒，
占住一个核，我们的线程便分不到：所以第一次切活时就把它限成一个线程，只有逐个生成 token 时才放开（``blas_threads``）。
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_USER_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
_WORTH = 1 << 17
"""一件活至少这么大（逐元素运算的元素数）才值得切：一次交接要几十微秒。"""
_BLAS_NAMES = ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads", "openblas_set_num_threads")

Work = Callable[[int, int], Any]


@functools.cache
def _set_blas_threads() -> Callable[[int], Any] | None:
    """NumPy 自带的 OpenBLAS 里设定线程数的函数；用的是别的 BLAS（如 macOS 的 Accelerate）则为 ``None``。"""
    for path in sorted(Path(np.__file__).parent.parent.glob("numpy.libs/*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in _BLAS_NAMES:
            if hasattr(library, name):
                return getattr(library, name)  # type: ignore[no-any-return]
    return None


def usable_cores() -> int:
    """该用几个核：用户用环境变量限定了 BLAS 的线程数就从其所限，否则是本进程可用的核数。"""
    for name in _USER_LIMITS:
        limit = os.environ.get(name, "")
        if limit.isdigit() and int(limit) > 0:
            return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(count: int) -> bool:
    """以后至多用几个线程，BLAS 也在内。

    Args:
        count: 线程数。

    Returns:
        BLAS 是否也听这个设定。
    """
    _crew.count = count
    setter = _set_blas_threads()
    if setter is None:
        return False
    setter(1 if _crew.inboxes else count)
    return True


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """其中 BLAS 用 ``count`` 个线程，出来时恢复。

    逐个生成 token 时，每步要把全部权重读一遍，快慢取决于内存带宽，用满各核才够；这时没有别的线程可抢。
    """
    setter = _set_blas_threads()
    if setter is None:
        yield
        return
    setter(count)
    try:
        yield
    finally:
        setter(1 if _crew.inboxes else threads())


def threads() -> int:
    """此刻能用几个线程；限不住 BLAS 时只用一个，免得两边的线程抢核。"""
    if _crew.count is None:
        _crew.count = usable_cores() if _set_blas_threads() else 1
    return _crew.count


def split(work: Work, total: int, cost: float, align: int = 1) -> list[Any]:
    """把 ``work(start, stop)`` 切成几段，分给几个线程。

    怎样切只取决于 ``total`` 与线程数，所以结果逐位可复现。

    Args:
        work: 处理 ``start`` 到 ``stop`` 的那一段；各段互不相干。
        total: 一共多少行。
        cost: 有多大，以逐元素运算的元素数计；太小就不切。
        align: 每段的行数是它的整数倍（末段除外）。

    Returns:
        各段的返回值，按次序。
    """
    if cost < _WORTH:
        return [work(0, total)]
    count = min(threads(), total // align)
    if count < 2 or not _crew.lock.acquire(blocking=False):  # 已经在切开的活里了，或别的线程正用着
        return [work(0, total)]
    try:
        return _crew.run(work, _bounds(total, count, align))
    finally:
        _crew.lock.release()


def _bounds(total: int, count: int, align: int) -> list[tuple[int, int]]:
    marks = [total * i // count // align * align for i in range(count)] + [total]
    return list(itertools.pairwise(marks))


class _Crew:
    """帮手线程，用到才开。

    Attributes:
        count: 一共用几个线程，连自己在内；``None`` 表示可用的核数。
        lock: 一次只切一件活。
    """

    def __init__(self) -> None:
        self.count: int | None = None
        self.forget()

    def forget(self) -> None:
        """忘掉帮手：``fork`` 之后，子进程里并没有它们。"""
        self.lock = threading.Lock()
        self.inboxes: list[queue.SimpleQueue[Any]] = []
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, work: Work, bounds: list[tuple[int, int]]) -> list[Any]:
        """自己做第一段，其余各段交给帮手。"""
        if not self.inboxes and (setter := _set_blas_threads()) is not None:
            setter(1)
        while len(self.inboxes) < len(bounds) - 1:
            self.inboxes.append(queue.SimpleQueue())
            threading.Thread(target=_help, args=(self.inboxes[-1], self.outbox), daemon=True).start()
        found: list[Any] = [None] * len(bounds)
        errors = np.geterr()  # 这个开关每个线程各有一份
        for i, inbox in enumerate(self.inboxes[: len(bounds) - 1], 1):
            inbox.put((i, work, bounds[i], errors))
        try:
            found[0] = work(*bounds[0])
        finally:
            failed = [self._collect(found) for _ in bounds[1:]]
        for error in filter(None, failed):
            raise error
        return found

    def _collect(self, found: list[Any]) -> BaseException | None:
        i, result, error = self.outbox.get()
        found[i] = result
        return error  # type: ignore[no-any-return]


def _help(inbox: queue.SimpleQueue[Any], outbox: queue.SimpleQueue[Any]) -> None:
    """帮手线程：收一段，做一段，交一段。"""
    while True:
        i, work, bounds, errors = inbox.get()
        try:
            with np.errstate(**errors):
                outbox.put((i, work(*bounds), None))
        except BaseException as error:
            outbox.put((i, None, error))
        del work  # 等下一件活时，不留着上一件的数组


_crew = _Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_crew.forget)
