"""用满 CPU 的几个核：BLAS 只用一个线程，由我们按数据切分。

流入：核数与用户的环境变量；流出：该用几个工作进程，以及一个把 BLAS 限成单线程的开关。
OpenBLAS 自己的线程在等活时空转：机器上还有别的进程时，它会把一步训练拖慢好几倍；
把批次切给几个各自单线程的工作进程，既不空转，逐元素运算也跟着并行。
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np

_USER_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def limit_blas_threads(count: int) -> bool:
    """设定 NumPy 自带的 OpenBLAS 用几个线程。

    Args:
        count: 线程数。

    Returns:
        是否生效；NumPy 用的是别的 BLAS（如 macOS 的 Accelerate）时什么也不做。
    """
    for path in sorted(Path(np.__file__).parent.parent.glob("numpy.libs/*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads", "openblas_set_num_threads"):
            if hasattr(library, name):
                getattr(library, name)(count)
                return True
    return False


def usable_cores() -> int:
    """该用几个核：用户用环境变量限定了 BLAS 的线程数就从其所限，否则是本进程可用的核数。"""
    for name in _USER_LIMITS:
        limit = os.environ.get(name, "")
        if limit.isdigit() and int(limit) > 0:
            return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def claim_workers(wanted: int | None, most: int) -> int:
    """决定用几个工作进程；多于一个时先把 BLAS 限成单线程。

    Args:
        wanted: 用户要几个；``None`` 表示可用的核数。
        most: 至多几个（例如批大小）。

    Returns:
        工作进程数；限不住 BLAS、又没有指明要几个时为 1，仍由 BLAS 自己用多核。
    """
    count = min(wanted or usable_cores(), most)
    if not hasattr(os, "fork"):  # Windows：共享内存交不到子进程手里
        return 1
    if wanted is not None:
        limit_blas_threads(1 if count > 1 else usable_cores())
        return count
    return count if count > 1 and limit_blas_threads(1) else 1
