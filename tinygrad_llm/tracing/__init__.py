"""记录：把任何一段计算连同它的反向逐步记下来，用来看、重放与练习。

流入：``with tinygrad_llm.trace() as t:`` 之内的运算；流出：``Trace``。
阅读次序：``recorder.py`` → ``trace.py`` → ``exports.py``。
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd.mode import composed_ops, recording
from tinygrad_llm.tracing.names import Code
from tinygrad_llm.tracing.recorder import Recorder
from tinygrad_llm.tracing.trace import Trace

if TYPE_CHECKING:  # 运行时用到才加载
    from tinygrad_llm.tracing.path_sum import explain

__all__ = ["Trace", "explain", "trace"]

__getattr__ = attributes(__name__, (), {"explain": "path_sum"})


class trace:  # noqa: N801  与 ``no_grad`` 一样的上下文管理器
    """``with trace() as t:`` 之内本线程的每一步前向与反向都记进 ``t``；可以嵌套，里层的不报给外层。

    Args:
        title: 标题。
        composed: 融合算子拆成普通算子，每一步都看得见。
        limit: 至多几个元素的数组留下拷贝；更大的只留概要。
    """

    def __init__(self, *, title: str | None = None, composed: bool = False, limit: int = 4096) -> None:
        self._trace, self._composed, self._open = Trace(title, limit), composed, ExitStack()

    def __enter__(self) -> Trace:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not Code.of(frame.f_code).is_users:
            frame = frame.f_back
        recorder = Recorder(self._trace, frame)
        self._trace.settle = recorder.label
        recorder.modules.watch()
        self._open.callback(recorder.close)
        self._open.enter_context(recording(recorder))
        if self._composed:
            self._open.enter_context(composed_ops())
        return self._trace

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)
