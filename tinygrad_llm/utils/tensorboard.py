"""``torch.utils.tensorboard`` 的 SummaryWriter：标量、直方图与文字写成 TensorBoard 的事件文件。

流入：训练中的数；流出：``log_dir`` 里的文件，``tensorboard --logdir runs`` 即可查看。写文件不需要安装 TensorBoard。
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.absent import attributes
from tinygrad_llm.common.event_file import EventFile, block, double, doubles, single, varint
from tinygrad_llm.ops.op import Array

_STRING = 7  # tensorflow.DataType.DT_STRING
_SESSION_START = 1


def _default_bins() -> Array:
    """TensorBoard 惯用的分格：以 1.1 倍递增，正负对称。"""
    positive = 1e-12 * 1.1 ** np.arange(774)  # 直到 1e20
    return np.concatenate([-positive[::-1], [0.0], positive])


class SummaryWriter:
    """往一个目录里写事件文件。

    Args:
        log_dir: 目录；不给就是 ``runs/时刻_主机名``。
        comment: 接在缺省目录名之后；给了 ``log_dir`` 便不用。
        purge_step: 从断点接着训练时，TensorBoard 丢掉这一步及以后的旧记录。
        max_queue: 积了这么多条就写到盘上。
        flush_secs: 离上次写到盘上有这么多秒也写。
        filename_suffix: 文件名的后缀。
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            log_dir = Path("runs", f"{datetime.now():%b%d_%H-%M-%S}_{socket.gethostname()}{comment}")
        self.log_dir = str(log_dir)
        self._settings = (filename_suffix, max_queue, flush_secs)
        self._files: dict[str, EventFile] = {}
        main = self._file(self.log_dir)
        if purge_step is not None:
            main.write(block(7, varint(1, _SESSION_START)), purge_step)

    def get_logdir(self) -> str:
        """写到哪个目录。"""
        return self.log_dir

    def add_scalar(self, tag: str, scalar_value: Any, global_step: Any = None, walltime: float | None = None) -> None:
        """记一个数。

        Args:
            tag: 曲线的名字；斜线前的部分相同的归在一组。
            scalar_value: 数，或只有一个元素的 Tensor。
            global_step: 步数。
            walltime: 时刻（自 1970 年起的秒数）；不给就是现在。
        """
        self._add(self.log_dir, tag, single(2, float(scalar_value)), global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """在同一张图里记几个数；每条曲线各占 ``log_dir`` 下的一个目录，与 torch 相同。

        Args:
            main_tag: 图的名字。
            tag_scalar_dict: 曲线的名字到数。
            global_step: 步数。
            walltime: 时刻。
        """
        for tag, value in tag_scalar_dict.items():
            folder = f"{self.log_dir}/{main_tag.replace('/', '_')}_{tag}"
            self._add(folder, main_tag, single(2, float(value)), global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: Any = None, bins: Any = "tensorflow", walltime: float | None = None
    ) -> None:
        """记一组数的分布。

        Args:
            tag: 名字。
            values: Tensor、数组或列表。
            global_step: 步数。
            bins: ``"tensorflow"``（惯用的分格），或 ``numpy.histogram`` 认得的分格。
            walltime: 时刻。

        Raises:
            ValueError: 一个数也没有。
        """
        array = np.asarray(getattr(values, "array", values), np.float64).reshape(-1)
        if array.size == 0:
            raise ValueError("add_histogram: the input has no element")
        edges = _default_bins() if isinstance(bins, str) and bins == "tensorflow" else bins
        counts, limits = np.histogram(array, bins=edges)
        used = np.flatnonzero(counts)
        first, last = (used[0], used[-1]) if used.size else (0, 0)
        with np.errstate(all="ignore"):  # 有无穷或 NaN 也照记
            numbers = [array.min(), array.max(), array.size, array.sum(), array @ array]
        content = b"".join(double(number, float(value)) for number, value in enumerate(numbers, 1))
        # 每格只记右端，所以在最左一格之前补一个空格，用来记它的左端
        content += doubles(6, limits[first : last + 2]) + doubles(7, [0, *counts[first : last + 1]])
        self._add(self.log_dir, tag, block(5, content), global_step, walltime)

    def add_text(self, tag: str, text_string: str, global_step: Any = None, walltime: float | None = None) -> None:
        """记一段文字（Markdown）。

        Args:
            tag: 名字。
            text_string: 文字。
            global_step: 步数。
            walltime: 时刻。
        """
        shape = block(2, varint(1, 1))  # 一轴，长度为 1
        text = block(8, varint(1, _STRING) + block(2, shape) + block(8, text_string))
        plugin = block(9, block(1, block(1, "text")))
        self._add(self.log_dir, f"{tag}/text_summary", text + plugin, global_step, walltime)

    def _add(self, folder: str, tag: str, value: bytes, step: Any, walltime: float | None) -> None:
        summary = block(5, block(1, block(1, tag) + value))
        self._file(folder).write(summary, None if step is None else int(step), walltime)

    def _file(self, folder: str) -> EventFile:
        """目录里的事件文件；关上之后再写，就另开一个，与 torch 相同。"""
        if folder not in self._files:
            self._files[folder] = EventFile(Path(folder), *self._settings)
        return self._files[folder]

    def flush(self) -> None:
        """把积下的记录写到盘上。"""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """写完并关上全部文件。"""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


__getattr__ = attributes(__name__)
