"""钩子的登记册：每个钩子一个编号，凭编号摘下。

流入：一张「编号 → 钩子」的有序表；流出：能把自己那一行划掉的句柄。Module 与优化器的钩子都用它。
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

HookTable = OrderedDict[int, Callable[..., Any]]

_ids = itertools.count()


class RemovableHandle:
    """登记钩子的返回值：``remove()`` 摘掉钩子，也可作上下文管理器。

    Args:
        hooks_dict: 钩子登记在哪张表里。
        extra_dict: 以同一编号记着附加属性的表，一张或几张。

    Attributes:
        id: 钩子的编号。
    """

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = next(_ids)
        extras = [extra_dict] if isinstance(extra_dict, dict) else list(extra_dict or ())
        self._tables = [hooks_dict, *extras]

    def remove(self) -> None:
        """摘掉钩子；重复调用无妨。"""
        for table in self._tables:
            table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register(
    table: HookTable, hook: Callable[..., Any], *, prepend: bool = False, marks: Sequence[dict[int, bool]] = ()
) -> RemovableHandle:
    """登记一个钩子。

    Args:
        table: 登记在哪张表里。
        hook: 钩子。
        prepend: 排在已有的钩子之前。
        marks: 还要在哪几张附加表里记上它的编号。

    Returns:
        摘掉它的句柄。
    """
    handle = RemovableHandle(table, extra_dict=marks)
    table[handle.id] = hook
    for mark in marks:
        mark[handle.id] = True
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle
