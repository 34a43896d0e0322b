"""这段时间里机器是不是只在替我们干活：别的进程占去的 CPU 时间。

流入：``/proc`` 里的累计时间；流出：一段时间前后两次读数之差，与「该不该作废」的判断。只有 Linux 提供这些数。
内核按时钟滴答记账，所以一次计时宜长于四分之一秒，见 ``rounds.py``。
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ALLOWED_SHARE, ALLOWED_S = 0.05, 0.03
"""别人占去的时间超过全部核时的这个比例、并且超过这么多秒，这一次就作废；后者是滴答记账的误差。"""

_IDLE, _IOWAIT, _GUEST = 3, 4, 8


SETTLED_SHARE, WINDOW_S = 0.15, 0.1
"""谁也没在算的时候，这么长的一段里忙碌的比例低于它，机器就算静下来了。"""


class Reading(NamedTuple):
    """一次读数。

    Attributes:
        at_s: 时刻。
        busy_s: 所用的核至今忙碌的秒数，含被宿主机挪走的。
        own_s: 我们的进程至今用去的 CPU 秒数。
        cores: 所用的核数。
    """

    at_s: float
    busy_s: float
    own_s: float
    cores: int


class Share(NamedTuple):
    """一段时间里别人占去的 CPU。

    Attributes:
        foreign_s: 别人用去的核秒数。
        capacity_s: 一共有多少核秒。
    """

    foreign_s: float
    capacity_s: float

    @property
    def is_disturbed(self) -> bool:
        """是否多到这一次该作废。"""
        return self.foreign_s > max(ALLOWED_S, ALLOWED_SHARE * self.capacity_s)


def is_supported() -> bool:
    """这台机器说不说得出别人用了多少 CPU。"""
    return sys.platform == "linux" and Path("/proc/stat").is_file()


def read(pids: Iterable[int]) -> Reading | None:
    """读一次。本进程用去的不算别人的。

    Args:
        pids: 被测的进程；它们的子孙也算。

    Returns:
        读数；操作系统不提供时为 ``None``。
    """
    if not is_supported():
        return None
    cores = os.sched_getaffinity(0)
    stat = Path("/proc/stat").read_text(encoding="ascii")
    own_s = time.process_time() + sum(map(_cpu_s, family(pids)))
    return Reading(time.perf_counter(), busy_s(stat, cores), own_s, len(cores))


def share(before: Reading | None, after: Reading | None) -> Share | None:
    """两次读数之间别人占去了多少；任何一次读不到就是 ``None``。"""
    if before is None or after is None:
        return None
    foreign_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return Share(max(foreign_s, 0.0), (after.at_s - before.at_s) * after.cores)


def settle(patience_s: float) -> None:
    """等机器静下来：换人之后，上一个系统的线程还会空转一会儿；别的程序也可能正忙。

    Args:
        patience_s: 最多等这么多秒。
    """
    deadline = time.perf_counter() + patience_s
    while True:
        before = read([])
        time.sleep(WINDOW_S)
        found = share(before, read([]))
        if found is None or found.foreign_s < SETTLED_SHARE * found.capacity_s or time.perf_counter() > deadline:
            return


def busy_s(stat: str, cores: Iterable[int]) -> float:
    """``/proc/stat`` 的文本里，这几个核不闲的秒数。

    虚拟机的 ``guest`` 已经算在 ``user`` 里，不重复加；``steal``（宿主机拿去给了别人）算忙。
    """
    wanted = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in stat.splitlines():
        name, _, rest = line.partition(" ")
        if name in wanted:
            values = [int(value) for value in rest.split()]
            ticks += sum(values[:_GUEST]) - values[_IDLE] - values[_IOWAIT]
    return ticks / _ticks_per_s()


def family(pids: Iterable[int]) -> list[int]:
    """这些进程与它们现存的全部子孙。"""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat_fields(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(dict.fromkeys(pids))
    for pid in found:  # 边走边长：子女接在末尾，随后轮到它们的子女
        found += [child for child in children.get(pid, ()) if child not in found]
    return found


def _cpu_s(pid: int) -> float:
    """一个进程用去的 CPU 秒数，含已经收走的子进程。"""
    fields = _stat_fields(pid)
    return sum(int(value) for value in fields[11:15]) / _ticks_per_s() if fields else 0.0


def _stat_fields(pid: int) -> list[str]:
    """``/proc/PID/stat`` 里进程名之后的各项；进程已经不在时为空。"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # 进程名里可以有空格与括号


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")
