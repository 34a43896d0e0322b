"""异常检测：记下每个节点是用户的哪一行造出来的；反传里冒出 NaN 时，报出那一行。

流入：前向时的调用栈与反传时的梯度；流出：带着用户代码行号的错误。只在 ``detect_anomaly`` 之内才做，平时不花时间。
"""

from __future__ import annotations

import sys
import traceback
import weakref
from collections.abc import Iterable, Sequence
from contextlib import ContextDecorator
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops.bfloat16 import extras

_PACKAGE = str(Path(__file__).resolve().parents[1])
_built_at: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


class detect_anomaly(ContextDecorator):  # noqa: N801  与 torch 同名
    """在 ``with`` 之内记下造出每个节点的那一行；反传算出 NaN 时当场报错。

    前向与反传都要在里面：前向记行号，反传查 NaN。

    Args:
        check_nan: 是否查 NaN；为假则只记行号。
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._outer: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._outer.append((switch.anomaly, switch.check_nan))
        _switch(True, self.check_nan)

    def __exit__(self, *_: object) -> None:
        _switch(*self._outer.pop())


class set_detect_anomaly:  # noqa: N801  与 torch 同名
    """打开或关闭异常检测：直接调用立即生效，也可作上下文管理器。

    Args:
        mode: 是否打开。
        check_nan: 是否查 NaN。
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._outer = (switch.anomaly, switch.check_nan)
        _switch(mode, check_nan)

    def __enter__(self) -> None:
        """构造时已经生效。"""

    def __exit__(self, *_: object) -> None:
        _switch(*self._outer)


def _switch(mode: bool, check_nan: bool) -> None:
    extras.users += int(mode) - int(switch.anomaly)
    switch.anomaly, switch.check_nan = mode, check_nan


def is_anomaly_enabled() -> bool:
    """异常检测是否打开。"""
    return switch.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """异常检测打开时是否查 NaN。"""
    return switch.check_nan


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """打开或关闭异常检测，立即生效。"""
    _switch(enabled, check_nan)


def remember(node: Any) -> None:
    """记下 ``node`` 是用户的哪一行造出来的：从调用栈里找第一个不在本包之内的帧。"""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return
    line = traceback.extract_stack(frame, limit=1)[0]
    _built_at[node] = f"{line.filename}:{line.lineno}: {line.line}"


def origin(node: Any) -> str:
    """``node`` 的来处，接在错误消息后面；没有记下就提示怎样记下。"""
    found = _built_at.get(node)
    if found is not None:
        return f" It was built at {found}"
    return " Run the forward and backward inside autograd.detect_anomaly() to see the line that built it."


def operands(edges: Iterable[Any]) -> str:
    """各个操作数的来处；一个也没有记下时为空。"""
    found = [(i, _built_at.get(edge)) for i, edge in enumerate(edges) if getattr(edge, "is_node", False)]
    return "".join(f"; operand {i} was built at {line}" for i, line in found if line is not None)


def refuse_nan(node: Any, grads: Sequence[tuple[int, Any]]) -> None:
    """``node`` 算出的梯度里有 NaN 就报错。

    Raises:
        RuntimeError: 有 NaN；消息里写明哪个节点、第几个输入、哪一行。
    """
    for i, g in grads:
        array = getattr(g, "array", g)
        if array is not None and np.isnan(array).any():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.{origin(node)}")
