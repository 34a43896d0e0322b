"""``--tensorboard``：同样的数字再写一份 TensorBoard 的事件文件；不需要安装 TensorBoard，看的时候才需要。

流入：步号与几个数；流出：``runs/NAME/tensorboard/`` 里的文件，``tensorboard --logdir runs`` 即可查看。
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_llm.common.event_file import EventFile, block, single, varint

__all__ = ["FOLDER", "Scalars"]

FOLDER = "tensorboard"
FLUSH_S = 10.0
_SESSION_START = 1


class Scalars:
    """一次运行的曲线。

    Args:
        run: 运行文件夹。
        purge_step: 从断点接着训练时，TensorBoard 丢掉这一步及以后的旧记录。
    """

    def __init__(self, run: Path, purge_step: int | None = None) -> None:
        self._file = EventFile(run / FOLDER, max_queue=1000, flush_secs=FLUSH_S)
        if purge_step is not None:
            self.purge(purge_step)

    def purge(self, step: int) -> None:
        """第 ``step`` 步及以后的记录作废：续训，或退回去了。"""
        self._file.write(block(7, varint(1, _SESSION_START)), step)
        self._file.flush()

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """记下一步的几个数；不是数的略去。"""
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                group = "validation" if name.startswith("val_") else "training"
                summary = block(1, block(1, f"{group}/{name}") + single(2, float(value)))
                self._file.write(block(5, summary), step)

    def close(self) -> None:
        """写完并关上。"""
        self._file.close()
