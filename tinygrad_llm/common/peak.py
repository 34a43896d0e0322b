"""矩阵乘法在这里实际能跑多快：MFU 的分母是量出来的，不是抄来的。

流入：引擎的「做一次 n×n 乘法」；流出：每秒浮点运算次数，存在运行文件夹的 ``peak.json`` 里，续训不再量。
分子见 ``work.py``。下一个文件：``loop.py``。
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tinygrad_llm.common.files import write_atomically

__all__ = ["PEAK", "measure_peak", "peak_of"]

PEAK = "peak.json"
SIZES = (256, 512, 1024, 2048, 4096, 8192)
LONG_ENOUGH_S = 4e-3
"""一次乘法有这么久，启动与计时的开销就看不见了。"""
STILL_FASTER = 1.25
"""大一号之后快了这么多，就还没有到顶；别的进程正忙着启动时，小的乘法也会很久。"""
REPEATS = 3


class Multiplier(Protocol):
    """会做矩阵乘法的引擎。"""

    def product(self, size: int) -> Callable[[], object]:
        """备好两个 ``size × size`` 的矩阵，返回「乘一次，等它算完」。"""


def measure_peak(
    product: Callable[[int], Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> float:
    """由小到大地乘，取最快的一次；通常几十毫秒。

    Args:
        product: 见 ``Multiplier.product``。
        clock: 钟，秒。

    Returns:
        每秒浮点运算次数。
    """
    best = 0.0
    for size in SIZES:
        multiply, shortest_s = product(size), float("inf")
        multiply()
        for _ in range(REPEATS):
            started_at = clock()
            multiply()
            shortest_s = min(shortest_s, clock() - started_at)
        speed, slower = 2 * size**3 / max(shortest_s, 1e-9), best
        best = max(best, speed)
        if shortest_s >= LONG_ENOUGH_S and speed < STILL_FASTER * slower:
            break
    return best


_measured: dict[str, float] = {}
"""本进程量过的。"""


def peak_of(run: Path, where: str, engine: Multiplier) -> float:
    """这个引擎在这里的峰值；运行文件夹里有 ``where`` 相同的，就用那里的。

    Args:
        run: 运行文件夹。
        where: 引擎、设备、精度与核数，写成一句。
        engine: 引擎。

    Returns:
        每秒浮点运算次数。
    """
    path = run / PEAK
    kept = _read(path)
    found = kept.get(where)
    if not (type(found) is float and 0 < found < float("inf")):
        if where not in _measured:
            _measured[where] = measure_peak(engine.product)
        found = _measured[where]
        with contextlib.suppress(OSError):  # 存不下就下次再量
            write_atomically(path, (json.dumps({**kept, where: found}, ensure_ascii=False) + "\n").encode())
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
