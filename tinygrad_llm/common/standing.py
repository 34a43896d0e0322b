"""迄今最好的一次评估：在哪一步、损失多少、此后几次没有进步；据此留下最好的检查点，或提前停下。

流入：每次评估的损失；流出：冻结的 ``Standing``，写进检查点。下一个文件：``loop.py``。
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import CheckpointError, OutOfDiskError
from tinygrad_llm.common.files import write_atomically

__all__ = ["EARLY_STOP", "Standing", "mark_early_stop", "read_early_stop"]

EARLY_STOP = "early_stop.json"
"""提前停下的运行，文件夹里有这个文件。"""


@dataclass(frozen=True)
class Standing:
    """评估的战绩。

    Attributes:
        best_step: 验证损失最低的是第几步之后；还没有评估过为 ``None``。
        best_loss: 那时的损失。
        stale: 此后又评估了几次，都没有更低。
    """

    best_step: int | None = None
    best_loss: float | None = None
    stale: int = 0

    def after(self, step: int, loss: float) -> Standing:
        """又评估了一次。

        Args:
            step: 做完的步数。
            loss: 验证损失；非有限的不算进步。
        """
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            return Standing(step, loss)
        return Standing(self.best_step, self.best_loss, self.stale + 1)

    def is_exhausted(self, patience: int) -> bool:
        """没有进步的次数是不是到了 ``patience``；0 表示从不提前停下。"""
        return 0 < patience <= self.stale

    def to_state(self) -> dict[str, Any]:
        """写成 JSON 里的值。"""
        return asdict(self)

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Standing:
        """由检查点的状态得到；较早的检查点没有它。

        Raises:
            CheckpointError: 内容不合法。
        """
        kept = state.get("standing", {})
        try:
            standing = Standing(**kept)
        except TypeError as error:
            raise _invalid() from error
        types = (type(standing.best_step), type(standing.best_loss), type(standing.stale))
        if types not in ((int, float, int), (type(None), type(None), int)):
            raise _invalid()
        return standing


def _invalid() -> CheckpointError:
    return CheckpointError(
        "the checkpoint's record of evaluations is not valid", where="state.json", fix="use another checkpoint"
    )


def mark_early_stop(folder: Path, step: int, standing: Standing) -> None:
    """在运行文件夹里记下：停在第几步、最好的是哪一步。

    Raises:
        OutOfDiskError: 写不进去。
    """
    record = {"step": step, "best_step": standing.best_step, "best_loss": standing.best_loss, "stale": standing.stale}
    try:
        write_atomically(folder / EARLY_STOP, (json.dumps(record) + "\n").encode())
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write the early-stop marker: {error.strerror}",
            where=str(folder / EARLY_STOP),
            fix="free some space; the checkpoint is saved",
        ) from error


def read_early_stop(folder: Path) -> dict[str, Any]:
    """``mark_early_stop`` 写下的记录；没有提前停下，或读不出来，为空。"""
    try:
        record = json.loads((folder / EARLY_STOP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
