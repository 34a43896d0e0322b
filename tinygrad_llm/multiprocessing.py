"""``torch.multiprocessing``：Python 的 ``multiprocessing``，加上 :func:`spawn`。

流入：在每个进程里调用的函数与参数；流出：各进程结束，或第一个出错的进程的错误。

张量可以在进程之间传递，到了那边是一份复制品：没有共享的内存，也就没有 ``share_memory_``。
"""

from __future__ import annotations

import multiprocessing as processes
import signal
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import *  # noqa: F403  名字与 torch 相同：Process、Queue、get_context……
from multiprocessing import connection
from typing import Any

_STRATEGIES = {"file_descriptor", "file_system"}
_strategy = "file_descriptor"  # 只供人询问：张量总是复制，用不着它


def get_all_sharing_strategies() -> set[str]:
    """共享内存的各种办法。"""
    return _STRATEGIES


def get_sharing_strategy() -> str:
    """选的是哪个。"""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """选一个；张量总是复制，选哪个都一样。

    Raises:
        AssertionError: 没有这个办法。
    """
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {_STRATEGIES}")
    _strategy = new_strategy


class ProcessException(Exception):  # noqa: N818  与 torch 同名
    """:func:`spawn` 的一个进程没有好好结束。

    Attributes:
        error_index: 第几个进程。
        pid: 它的进程号。
    """

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid


class ProcessRaisedException(ProcessException):
    """函数抛出了异常；消息里有那边的追溯。"""


class ProcessExitedException(ProcessException):
    """进程以非零的状态结束，或被信号打断。

    Attributes:
        exit_code: 退出的状态；负数是信号。
        signal_name: 信号的名字。
    """

    def __init__(
        self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None
    ) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name


class ProcessContext:
    """:func:`spawn` 的一组进程。

    Attributes:
        processes: 各个进程。
    """

    def __init__(self, running: list[Any], ends: list[connection.Connection]) -> None:
        self.processes, self._ends = running, ends
        self._left = {process.sentinel: i for i, process in enumerate(running)}

    def pids(self) -> list[int]:
        """各进程的进程号。"""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """等到有进程结束。

        Args:
            timeout: 最多等几秒；``None`` 一直等。
            grace_period: 有进程出错时，给别的进程几秒钟收尾，再终止它们。

        Returns:
            是否全都好好地结束了。

        Raises:
            ProcessRaisedException: 有一个抛出了异常。
            ProcessExitedException: 有一个以非零的状态结束。
        """
        for sentinel in connection.wait(list(self._left), timeout=timeout) if self._left else ():
            index = self._left.pop(sentinel)
            process = self.processes[index]
            process.join()
            if process.exitcode:
                self._stop(grace_period)
                raise self._failure(index, process)
        return not self._left

    def _stop(self, grace_period: float | None) -> None:
        for process in self.processes:
            process.join(grace_period or 0)
            if process.is_alive():
                process.terminate()
                process.join()

    def _failure(self, index: int, process: Any) -> ProcessException:
        try:
            told = self._ends[index].recv()
        except EOFError:  # 没来得及说什么
            told = ""
        if told:
            return ProcessRaisedException(f"\n\n-- Process {index} terminated:\n{told}", index, process.pid)
        code = process.exitcode
        name = signal.Signals(-code).name if code < 0 else None
        ended = f"process {index} terminated with " + (f"signal {name}" if name else f"exit code {code}")
        return ProcessExitedException(ended, index, process.pid, code, name)


def start_processes(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """开 ``nprocs`` 个进程，各自调用 ``fn(i, *args)``。

    Args:
        fn: 模块顶层的函数。
        args: 第 0 个参数（进程的序号）之后的参数。
        nprocs: 几个进程。
        join: 等它们都结束；否则立即返回。
        daemon: 本进程结束时它们是否跟着结束。
        start_method: ``"spawn"``、``"fork"`` 或 ``"forkserver"``。

    Returns:
        等过了是 ``None``；没有等，是这一组进程。
    """
    start = processes.get_context(start_method)
    running: list[Any] = []
    ends: list[connection.Connection] = []
    for i in range(nprocs):
        mine, theirs = start.Pipe(duplex=False)
        process = start.Process(target=_call, args=(fn, i, args, theirs), daemon=daemon)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        running.append(process)
        ends.append(mine)
    context = ProcessContext(running, ends)
    if not join:
        return context
    while not context.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """开 ``nprocs`` 个新的解释器，各自调用 ``fn(i, *args)``；参数同 :func:`start_processes`。"""
    if start_method != "spawn":
        message = f"This method only supports start_method=spawn (got: {start_method}), use start_processes"
        warnings.warn(message, FutureWarning, stacklevel=2)
    return start_processes(fn, args, nprocs, join, daemon, "spawn")


def _call(fn: Callable[..., Any], i: int, args: tuple[Any, ...], report: connection.Connection) -> None:
    """新进程里的第一步：错误的追溯交给父进程。"""
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # 父进程也收到了
    except Exception:
        report.send(traceback.format_exc())
        raise SystemExit(1) from None
