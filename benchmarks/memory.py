"""内存峰值：一个进程连同它的子孙，共享的页不重复算。

流入：进程号；流出：一段时间里 PSS 之和的最大值。PSS 把一页摊给共用它的各个进程，所以几个进程加起来正是实际占用的。
另开一个线程每隔约 20 ms 读一次，会与被测的步争 CPU：量内存的步不计时，见 ``rounds.py``。
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import quiet

INTERVAL_S = 0.02

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass
class Peak:
    """一段时间里的峰值；读不到时为 0。"""

    pss_bytes: int = 0


def is_supported() -> bool:
    """这台机器给不给出 PSS。"""
    return Path("/proc/self/smaps_rollup").is_file()


def pss_bytes(pids: Iterable[int]) -> int:
    """这些进程与它们的子孙此刻的 PSS 之和。"""
    return sum(_pss_of(pid) for pid in quiet.family(pids))


def _pss_of(pid: int) -> int:
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:  # 这一刻刚好退出，或不归我们读
        return 0
    return int(found[1]) * 1024 if found else 0


@contextmanager
def watched(pids: Iterable[int]) -> Iterator[Peak]:
    """在 ``with`` 之内反复读这些进程的内存，离开后峰值留在 ``Peak`` 里。"""
    peak, stop, watched_pids = Peak(), threading.Event(), list(pids)

    def sample() -> None:
        while True:
            peak.pss_bytes = max(peak.pss_bytes, pss_bytes(watched_pids))
            if stop.wait(INTERVAL_S):
                return

    if not is_supported():
        yield peak
        return
    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
