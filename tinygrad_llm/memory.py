"""进程内存：让 glibc 把释放的大块留着复用。

缺省情况下，几 MB 以上的数组每次都向内核要新页，首次写入要逐页清零；训练每一步都申请同样大小的数组，
留住它们能省下约一成时间（小模型更多）。glibc 至多把 32 MB 以下的留住，
所以索性不许它用 mmap。只在训练命令里调用，不在 ``import`` 时。
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # <malloc.h>


def keep_freed_memory() -> bool:
    """释放的内存留在进程里，下一步直接复用。

    Returns:
        是否生效；只支持 Linux 的 glibc，其它平台什么也不做。
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl 没有 mallopt
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: (1 << 31) - 1, _M_TOP_PAD: 1 << 26}
    accepted = [mallopt(name, value) for name, value in settings.items()]
    return all(accepted)
