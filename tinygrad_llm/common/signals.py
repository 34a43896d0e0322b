"""体面地停下：第一个信号只记下来，训练循环在步的边界存好再走；第二个信号立即退出，到了期限也是。

流入：SIGINT（Ctrl-C）与 SIGTERM（调度器）；流出：循环读取的一个标志。下一个文件：各引擎的训练循环。
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["GracefulStop"]

LATE = b"\nthe deadline is over and the state is not saved: exiting; the last checkpoint is intact\n"
NOTICE = b"\nstopping after this step, then saving; press again to exit at once\n"


class GracefulStop:
    """上下文管理器：在其中 SIGINT 与 SIGTERM 不再打断程序，只留下标志；离开时恢复原来的处理方式。

    只有主线程能接管信号；在别的线程里使用时什么也不改，``requested`` 始终为 ``None``。

    Args:
        within_s: 第一个信号之后至多等这么多秒，到时还没离开就退出进程：一步太长，或在等一个已经不在的进程。
            调度器随后会 kill -9，不如自己先说清楚。0 表示不限。

    Attributes:
        requested: 收到的信号编号；还没有收到时为 ``None``。
    """

    def __init__(self, within_s: float = 0.0) -> None:
        self.within_s = within_s
        self._deadline: threading.Timer | None = None
        self.requested: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """按惯例的退出码：SIGINT 为 130，SIGTERM 为 143；没有收到信号时为 0。"""
        return 0 if self.requested is None else 128 + self.requested

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None：不是 Python 装的，还原不了
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            os._exit(128 + number)
        self.requested = number
        if self.within_s > 0:
            self._deadline = threading.Timer(self.within_s, _give_up, [number])
            self._deadline.daemon = True
            self._deadline.start()
        os.write(2, NOTICE)  # 处理函数里不能用 print：打断的也许正是另一个 print


def _give_up(number: int) -> None:
    """期限到了：主线程也许卡在 C 代码里，等不到它。"""
    os.write(2, LATE)
    os._exit(128 + number)
