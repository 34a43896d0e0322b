"""``--profile``：训练途中剖析一步，两个引擎共用。

流入：``TrainConfig.profile`` 与引擎自己的剖析办法；流出：Chrome trace 与一张表。下一站：两边的 ``measure_step``：
``tinygrad_llm/profiler/training.py`` 与 ``torch_llm/profiling.py``。
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_llm.common.engine import Batch, Engine, StepResult
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.session import Session

WARM_UP = 3
"""先走几步：头一步要申请内存、建立缓存，不能代表后面的。"""


class Measured(NamedTuple):
    """剖析了的一步。

    Attributes:
        result: 这一步的结果。
        table: 给人看的表。
        export: 把 Chrome trace 写到一个文件。
    """

    result: StepResult
    table: str
    export: Callable[[Path], None]


@contextmanager
def profiled_step(
    session: Session, engine: Engine, measure: Callable[[Callable[[], StepResult]], Measured]
) -> Iterator[None]:
    """``with`` 之内的训练里，预热之后的一步换成剖析着做；没有要求剖析则什么也不做。

    Args:
        session: 决定剖析不剖析、写到哪里、剖析第几步：第 ``WARM_UP`` 步之后的一步；步数不够则是末一步。
        engine: 引擎；选中的那一步做完就恢复原样。
        measure: 剖析着做一步。

    Raises:
        UserError: trace 写不到指定的地方；还没有开始训练。
    """
    path, plain = session.settings.profile, engine.train_step
    if path is None:
        yield
        return
    _check_writable(path)
    chosen = min(session.first_step + WARM_UP, session.settings.last_step - 1)
    tables: list[str] = []

    def train_step(step: int, batch: Batch, lr: float) -> StepResult:
        if step != chosen:
            return plain(step, batch, lr)
        engine.train_step = plain  # type: ignore[method-assign]
        measured = measure(lambda: plain(step, batch, lr))
        tables.append(f"profile of step {step}: {measured.table}\n{_written(measured.export, path)}")
        return measured.result

    engine.train_step = train_step  # type: ignore[method-assign]
    try:
        yield
    finally:
        for table in tables:
            print(table)


def _check_writable(path: Path) -> None:
    """训练之前就看好 trace 写得下去，免得训练了半天才发现。"""
    folder: Any = next(one for one in path.absolute().parents if one.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError("the trace cannot be written there", where=f"--profile {path}", fix="name a file to write")


def _written(export: Callable[[Path], None], path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        export(path)
    except OSError as error:  # 训练比 trace 要紧
        return f"warning: the trace could not be written to {path}: {error.strerror}"
    return f"trace: {path} (open it in ui.perfetto.dev or chrome://tracing)"
