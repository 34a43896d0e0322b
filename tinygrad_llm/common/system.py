"""这台机器的几句自述：内存峰值、硬件与版本、代码的提交号。

流入：操作系统；流出：写进检查点与报告的数字和短句。哪一样问不到就略去或写明，从不抛出。下一个文件：``report.py``。
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

__all__ = [
    "available_memory_bytes",
    "cpu_vendor",
    "folder_commit",
    "git_commit",
    "hardware",
    "peak_memory_bytes",
    "process_age_s",
    "release_idle_memory",
    "resident_bytes",
    "usable_cpus",
]

GIT_TIMEOUT_S = 5.0
_IMPORTED_AT = time.monotonic()


def peak_memory_bytes() -> int:
    """本进程至今的内存峰值。

    Returns:
        常驻内存的峰值，字节；操作系统不提供时（Windows 的标准库没有）为 0。
    """
    if sys.platform == "win32":
        return 0
    if sys.platform == "linux" and (high_water := resident_bytes(field="VmHWM")):
        return high_water  # ru_maxrss 在 exec 之后仍带着父进程的峰值，这里不带
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS 给的是字节，Linux 给的是 KiB


def resident_bytes(pid: int | None = None, field: str = "VmRSS") -> int:
    """一个进程此刻占着的内存；只有 Linux 给得出，别处为 0。

    Args:
        pid: 进程号；缺省为自己。
        field: ``/proc/PID/status`` 里的一项：``VmRSS``，至今的峰值 ``VmHWM``，或共享的那部分 ``RssShmem``。
    """
    status = _read(Path(f"/proc/{'self' if pid is None else pid}/status"))
    found = re.search(rb"^%b:\s+(\d+) kB" % field.encode(), status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def release_idle_memory() -> None:
    """把 C 的分配器留着不用的内存还给系统；只有 Linux 的 glibc 有这个函数，别处什么也不做。

    训练换作评估之前叫它：两者的张量大小不一，留着的空闲块拼不成评估要的，只会白占。
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def available_memory_bytes() -> int:
    """本进程还用得上多少内存，已经占着的也算：操作系统还有的、cgroup 还许的，取小。

    Returns:
        字节；操作系统给不出时取物理内存的总量，连它也没有则为 0。
    """
    own = resident_bytes()
    meminfo = re.search(rb"^MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    free = int(meminfo[1]) * 1024 + own if meminfo else _total_memory_bytes()
    return min([free, *(limit for limit in _cgroup_room(own) if limit > 0)])


def _cgroup_room(own: int) -> list[int]:
    """本进程所在的 cgroup 与它的各级上级（v2，或 v1 的 memory）还许用多少；没有限制的不列。"""
    room = []
    for line in _read(Path("/proc/self/cgroup")).decode("utf-8", "replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, names = (
            (Path("/sys/fs/cgroup"), ("memory.max", "memory.current"))
            if not controllers
            else (Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
        )
        folder = root / path.lstrip("/")
        for level in (folder, *folder.parents):
            limit, used = (_read(level / name).strip() for name in names)
            if limit.isdigit() and used.isdigit() and int(limit) < 1 << 60:
                room.append(int(limit) - int(used) + own)
            if level == root:
                break
    return room


def process_age_s() -> float:
    """本进程开始了多久；操作系统不提供时，是第一次导入本模块至今的时间。"""
    fields = _read(Path("/proc/self/stat")).rpartition(b")")[2].split()
    uptime = _read(Path("/proc/uptime")).split()
    if len(fields) > 19 and uptime:
        return float(uptime[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - _IMPORTED_AT


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def hardware() -> dict[str, str]:
    """描述机器与版本，供报告使用。

    Returns:
        名目到短句：``platform``、``python``、``numpy``、``cpus``；读得到时还有 ``cpu`` 与 ``memory``。
    """
    described = {
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpus": str(usable_cpus()),
    }
    if model := _cpu_info("model name"):
        described["cpu"] = model
    if total := _total_memory_bytes():
        described["memory"] = f"{total / 2**30:.1f} GiB"
    return described


def git_commit() -> str | None:
    """本代码所在仓库的提交号。

    Returns:
        12 位提交号，工作树有改动时后缀 ``-dirty``；不在仓库里、没有 git 或问不出来时为 ``None``。
    """
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    # 本文件须在仓库里登记过：装在别人的仓库的虚拟环境里时，那个提交号与本代码无关
    if commit is None or not _git(folder, "ls-files", "--", Path(__file__).name):
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def folder_commit(folder: Path) -> str | None:
    """一个文件夹所在仓库的提交号，例如用户自己的实验仓库。

    Args:
        folder: 文件夹。

    Returns:
        同 ``git_commit``。
    """
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    dirty = commit and _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if dirty else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def usable_cpus() -> int:
    """本进程用得上的 CPU 核数；容器与 taskset 的限制算在内。"""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cpu_vendor() -> str:
    """处理器是哪一家的，如 ``"GenuineIntel"``、``"AuthenticAMD"``；操作系统说不清时，别的描述也可能在里面。"""
    return _cpu_info("vendor_id")


def _cpu_info(field: str) -> str:
    """``/proc/cpuinfo`` 里的一项；没有这个文件时是 ``platform.processor()``。"""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _total_memory_bytes() -> int:
    """物理内存总量；操作系统不提供时为 0。"""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
