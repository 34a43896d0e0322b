"""一把跨进程的锁：同一份语料同时只有一个进程在下载。

流入：锁文件的路径；流出：独占的一段时间。锁归操作系统管，进程死了便自动放开。下一个文件：``fetching.py``。
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["exclusive"]

POLL_S = 0.1


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """独占一个锁文件；别人占着就等。

    Args:
        path: 锁文件，其目录须已存在；用完留在原处。
        waiting: 需要等待时调用一次。

    Yields:
        无；此间别的进程进不来。

    Raises:
        OSError: 锁文件打不开，或文件系统不支持锁。
    """
    with path.open("ab") as file:
        has_waited = False
        while not _try_lock(file.fileno()):
            if not has_waited:
                waiting()
                has_waited = True
            time.sleep(POLL_S)
        yield  # 关闭文件就放开锁


def _try_lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
