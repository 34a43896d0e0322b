"""带标签的行：怎样填充、看得见哪里、特征取自哪里。

流入：各行的 id 与类别；流出：批次 ``(x, y)``，要用到掩码时是 ``(x, y, begins, mask)``。两个引擎只照着批次算，
所以读法的每一种组合都在这里、只写一遍。下一个文件：``classification.py``。
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.batches.order import drawn, share
from tinygrad_llm.common.engine import Batch

__all__ = ["LabelledRows", "Padding", "Pool", "Reading"]

Pool = Literal["last", "first", "mean"]
Padding = Literal["right", "left"]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
    """一段文字怎样读成一个特征；记在检查点里，使用时照旧。

    Attributes:
        pool: 特征取哪里：最后一个 token、第一个，或各个 token 的平均。
        padding: 填充在哪一边。
        pad_to: 一律填充到几个 token；0 表示填充到这一批里最长的那么长。
        pad_mask: 填充不算文字：注意力看不见它，特征也不取自它。
        causal: 每个位置只看得见自己与之前的。
    """

    pool: Pool = "last"
    padding: Padding = "right"
    pad_to: int = 0
    pad_mask: bool = True
    causal: bool = True

    def describe(self) -> dict[str, Any]:
        """写进检查点的自述。"""
        return asdict(self)

    @staticmethod
    def of(settings: object) -> Reading:
        """由一份设置、或检查点里的自述得到；较早的自述没有后来才有的几项，那时的读法就是缺省值。"""
        given = settings if isinstance(settings, Mapping) else vars(settings)
        return Reading(**{one.name: given.get(one.name, one.default) for one in fields(Reading)})

    @property
    def depends_on_neighbours(self) -> bool:
        """同一段文字的特征会不会随同一批的别的文字而变：填充算作文字，而填充到多长由最长的一行定。"""
        return not self.pad_mask and not self.pad_to

    @property
    def needs_mask(self) -> bool:
        """要不要另给掩码。因果时，右边的填充本来就看不见；填充算作文字时，因果的掩码正是要的。"""
        return not self.causal or (self.pad_mask and self.padding == "left")


class LabelledRows:
    """带标签的行，打乱了一批批取。

    Args:
        rows: 各行的 id。
        labels: 各行的类别。
        batch_size: 所有进程合起来的批大小。
        seed: 打乱用的种子。
        pad: 填充处的 x。
        reading: 怎样读。
        window: 模型的滑动窗口；``None`` 表示没有。
    """

    def __init__(
        self,
        rows: Sequence[Ids],
        labels: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        pad: int,
        reading: Reading,
        window: int | None = None,
    ) -> None:
        self.rows, self.labels = list(rows), np.array(labels, np.int64)
        self.batch_size, self.reading = batch_size, reading
        self._seed, self._pad, self._window = seed, pad, window

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。"""
        first, count = share(step, rank, world, self.batch_size)
        return self.take(drawn(first, np.arange(count), len(self.rows), self._seed))

    def take(self, chosen: Ids) -> Batch:
        """各个序号的行。

        Returns:
            x 与 y ``(B, T)``：y 在取特征的位置上是类别，别处不计。要另给掩码时还有 begins ``(B, T)``，位置从那里
            数起，与 mask ``(B, 1, T, T)``，``True`` 处可见。
        """
        reading, lengths = self.reading, np.array([len(self.rows[i]) for i in chosen])
        width = max(int(lengths.max()), reading.pad_to)
        first = width - lengths if reading.padding == "left" else np.zeros_like(lengths)
        place = np.arange(width)
        real = (place >= first[:, None]) & (place < (first + lengths)[:, None])
        x = np.full(real.shape, self._pad, np.int64)
        x[real] = np.concatenate([self.rows[i] for i in chosen])
        text = real if reading.pad_mask else np.ones_like(real)
        y = np.where(_pooled(text, reading.pool), self.labels[chosen][:, None], IGNORE_INDEX)
        if not reading.needs_mask:
            return x, y
        begins = np.minimum(text.argmax(1)[:, None], place)
        return x, y, begins, self._visible(text)

    def _visible(self, text: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """看得见哪里 ``(B, 1, T, T)``；填充的位置只看得见自己，它的特征没有用处，但不能没有定义。"""
        place = np.arange(text.shape[1])
        back = place[:, None] - place
        seen = back >= 0 if self.reading.causal else np.ones_like(back, np.bool_)
        if self._window is not None:
            seen = seen & (np.abs(back) < self._window)
        found: NDArray[np.bool_] = (seen & text[:, None, :]) | (back == 0)
        return found[:, None]

    @property
    def digest(self) -> str:
        """内容的摘要。"""
        digest = hashlib.sha256(self.labels.tobytes())
        for row in self.rows:
            digest.update(row.tobytes() + b";")
        return digest.hexdigest()


def _pooled(text: NDArray[np.bool_], pool: Pool) -> NDArray[np.bool_]:
    """取特征的位置 ``(B, T)``。"""
    if pool == "mean":
        return text
    chosen = np.zeros_like(text)
    where = text.argmax(1) if pool == "first" else text.shape[1] - 1 - text[:, ::-1].argmax(1)
    chosen[np.arange(len(text)), where] = True
    return chosen
