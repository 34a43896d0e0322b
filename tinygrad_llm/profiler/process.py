"""本进程的内存：问操作系统与 C 库。

流入：``/proc`` 与 glibc 的 ``mallinfo2``；流出：名目到字节数，问不到的略去。下一站：``summary.py``。
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from tinygrad_llm.common.system import peak_memory_bytes

_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class _MallInfo2(ctypes.Structure):
    """``struct mallinfo2``（glibc 2.33 起），各项都是字节数或个数。"""

    _fields_ = tuple(zip(_FIELDS, [ctypes.c_size_t] * len(_FIELDS), strict=True))


def process_memory() -> dict[str, int]:
    """此刻的各项内存。

    Returns:
        ``resident``、``peak``、``heap used``（C 堆里用着的）、``heap free``（释放了、还没有还给操作系统的）、
        ``mapped``（单独映射的大块）；问不到的没有。
    """
    found = {"resident": _resident_bytes(), "peak": peak_memory_bytes()}
    info = _mallinfo()
    if info is not None:
        found |= {"heap used": info.uordblks, "heap free": info.fordblks, "mapped": info.hblkhd}
    return {name: int(size) for name, size in found.items() if size or name.startswith("heap")}


def _resident_bytes() -> int:
    """常驻内存；只有 Linux 的 ``/proc`` 说得出此刻的数，别处为 0。"""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024


def _mallinfo() -> _MallInfo2 | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):  # musl 没有，glibc 2.33 之前也没有
        return None
    function.restype = _MallInfo2
    info: _MallInfo2 = function()
    return info
