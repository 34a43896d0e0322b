"""注意力用哪种实现的开关，与 ``torch.nn.attention``、``torch.backends.cuda`` 同名。

流入：``sdpa_kernel(...)``；流出：照着记下、可以查到的开关。这里的几种实现结果相同，
差别只在反向要用的权重：``MATH`` 留着它们，另几种不留、反向重算（见 ``saves_memory``）。
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from typing import Any


class SDPBackend(enum.IntEnum):
    """注意力的实现，名字与取值同 torch。"""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


ENABLED: set[SDPBackend] = set(SDPBackend) - {SDPBackend.ERROR}
"""此刻打开的实现。"""


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """``with`` 之内只打开 ``backends``，出来时恢复。

    Args:
        backends: 一个 ``SDPBackend``，或它们的列表。
        set_priority: 按列表的次序优先；这里总是先看要不要省内存，取什么值都一样。

    Raises:
        AssertionError: 不是 ``SDPBackend``，也不是它们的列表。
    """
    if not isinstance(backends, (list, SDPBackend)):
        kind = type(backends).__name__
        raise AssertionError(f"sdpa_kernel: backends must be a SDPBackend or a list of them, got {kind}")
    before = set(ENABLED)
    _enable(set(backends) if isinstance(backends, list) else {backends})
    try:
        yield
    finally:
        _enable(before)


_LONG = 4096
"""这么长起，权重（每个头 ``T²/2`` 个）比 Q、K、V 大几十倍，两种都打开时也宁可重算。"""


def saves_memory(length: int) -> bool:
    """反向要不要重算权重，而不是留着它们。

    Args:
        length: 查询的个数 T。
    """
    return SDPBackend.MATH not in ENABLED or (length >= _LONG and {SDPBackend.MATH} != ENABLED)


def _enable(chosen: set[SDPBackend]) -> None:
    ENABLED.clear()
    ENABLED.update(chosen)


def switch(backend: SDPBackend, enabled: bool) -> None:
    """打开或关闭一种实现。"""
    (ENABLED.add if enabled else ENABLED.discard)(backend)
