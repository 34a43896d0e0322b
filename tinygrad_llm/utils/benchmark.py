"""计时，名字同 ``torch.utils.benchmark``：``Timer(stmt, globals=...).timeit(100).mean``。

流入：一段语句；流出：``Measurement``，每次的秒数、中位数与四分位距。语句由标准库的 ``timeit`` 执行；线程数在计时
之内限定。
"""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable
from typing import Any

from tinygrad_llm.absent import attributes
from tinygrad_llm.settings import get_num_threads, set_num_threads

_UNITS = ((1e-6, "ns", 1e-9), (1e-3, "us", 1e-6), (1.0, "ms", 1e-3))


class Measurement:
    """若干次计时。

    Attributes:
        number_per_run: 每次计时里语句执行几遍。
        raw_times: 每次计时的秒数。
        title: 语句，或给它起的名字。
        num_threads: 计时所用的线程数。
    """

    def __init__(self, number_per_run: int, raw_times: list[float], title: str = "", num_threads: int = 1) -> None:
        self.number_per_run, self.raw_times = number_per_run, raw_times
        self.title, self.num_threads = title, num_threads

    @property
    def times(self) -> list[float]:
        """语句执行一遍的秒数，每次计时一个。"""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def mean(self) -> float:
        """平均。"""
        return statistics.fmean(self.times)

    @property
    def median(self) -> float:
        """中位数。"""
        return statistics.median(self.times)

    @property
    def iqr(self) -> float:
        """四分位距；只有一次则为 0。"""
        if len(self.raw_times) == 1:
            return 0.0
        first, _, third = statistics.quantiles(self.times, n=4, method="inclusive")
        return third - first

    def __repr__(self) -> str:
        count, unit, scale = len(self.raw_times), "s", 1.0
        for limit, name, size in reversed(_UNITS):
            if self.median < limit:
                unit, scale = name, size
        lines = [f"  {'Median: ' if count > 1 else ''}{self.median / scale:.2f} {unit}"]
        if count >= 4:
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit}")
        runs = f"{count} measurements, {self.number_per_run} runs per measurement" if count > 1 else (
            f"1 measurement, {self.number_per_run} runs "
        )  # fmt: skip
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return "\n".join([f"<{type(self).__name__}>", self.title, *lines, f"  {runs}, {threads}"])


class Timer:
    """给一段语句计时。

    Args:
        stmt: 语句，或无参数的函数。
        setup: 计时之前执行一遍的语句。
        global_setup: C++ 才用得着；须为空。
        timer: 时钟。
        globals: 语句里用到的名字。
        label: 给它起的名字，打印时用。
        sub_label: 名字的后半。
        description: 再一行说明。
        env: 环境的名字，打印时不用。
        num_threads: 计时之内用几个线程。

    Raises:
        ValueError: 给了 ``global_setup``。
    """

    def __init__(
        self,
        stmt: Any = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = time.perf_counter,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
    ) -> None:
        if global_setup:
            raise ValueError(f"global_setup is C++ only, but got {global_setup!r}; use setup")
        self._timer = timeit.Timer(stmt, setup, timer, globals)
        name = (f"{label}: {sub_label}" if sub_label else label) or str(stmt)
        self._title = "\n".join([name, description] if description else [name])
        self._num_threads = num_threads

    def _timed(self, number: int) -> float:
        before = get_num_threads()
        if before != self._num_threads:
            set_num_threads(self._num_threads)
        try:
            return max(self._timer.timeit(number), 1e-9)
        finally:
            if before != self._num_threads:
                set_num_threads(before)

    def _measurement(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._title, self._num_threads)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """先热身，再执行 ``number`` 遍，计时一次。"""
        self._timed(max(number // 100, 2))
        return self._measurement(number, [self._timed(number)])

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """自己定每次执行几遍，反复计时，共不少于 ``min_run_time`` 秒。

        Args:
            callback: 每次计时之后以（遍数，秒数）调用。
            min_run_time: 秒数。
        """
        number = 1
        while self._timed(number) < min_run_time / 1000:
            number *= 10
        times: list[float] = []
        while sum(times) < min_run_time:
            times.append(self._timed(number))
            if callback is not None:
                callback(number, times[-1])
        return self._measurement(number, times)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0
    ) -> Measurement:
        """反复计时，直到四分位距小于中位数的 ``threshold``，或用去 ``max_run_time`` 秒。"""
        number = 1
        while self._timed(number) < min_run_time / 100:
            number *= 10
        found = self._measurement(number, [])
        while sum(found.raw_times) < max_run_time:
            found.raw_times.append(self._timed(number))
            is_enough = sum(found.raw_times) >= min_run_time and len(found.raw_times) >= 4
            if is_enough and found.iqr <= threshold * found.median:
                break
        return found


__getattr__ = attributes(__name__)
