"""预取：后台线程提前备好几步的批次，次序与不预取时完全相同。

流入：步号到批次的函数；流出：依次的批次。因为 ``batch(step)`` 是纯函数，预取不改变任何内容，只藏起取数据的时间。
下一个文件：``shard.py``（命令行从这里开始）。
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

from tinygrad_llm.common.errors import UserError

__all__ = ["Prefetch"]

T = TypeVar("T")


class Prefetch(Generic[T]):
    """依次给出 ``produce(step)``，并提前算好至多 ``depth`` 个；用作上下文管理器，离开时线程已经结束。

    ``produce`` 抛出的异常，在轮到那一步时原样抛给使用者，此后不再有批次。
    """

    def __init__(self, produce: Callable[[int], T], steps: Sequence[int], *, depth: int = 2) -> None:
        """开始预取。

        Args:
            produce: 步号到批次，如 ``dataset.batch``；只在后台线程里调用，每次一步，按次序。
            steps: 依次要的步号，如 ``range(first, last)``。
            depth: 至多提前几步。

        Raises:
            UserError: ``depth`` 不是正数。
        """
        if depth < 1:
            raise UserError(f"prefetch depth must be at least 1, got {depth}", fix="use 2")
        self._ready: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(produce, steps), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        item = self._ready.get()
        self._room.release()
        if isinstance(item, tuple):
            return item[0]
        self.close()
        if item is not None:
            raise item
        raise StopIteration

    def close(self) -> None:
        """停下并等线程结束；可以调用多次。"""
        self._closed = True
        self._room.release()
        self._thread.join()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, produce: Callable[[int], T], steps: Sequence[int]) -> None:
        try:
            for step in steps:
                self._room.acquire()
                if self._closed:
                    return
                self._ready.put((produce(step),))
        except BaseException as error:  # 交给使用者，由它抛出
            self._ready.put(error)
            return
        self._ready.put(None)
