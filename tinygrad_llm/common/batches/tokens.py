"""一长串 id：一个数组，或首尾相接的几个分片，读起来没有分别。

流入：内存里的数组或内存映射的文件；流出：从任意起点取出的定长的行。下一个文件：``windows.py``。
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_llm.common.batches.order import Numbers

__all__ = ["Ids", "Tokens"]

Ids = npt.NDArray[np.integer]


class Tokens:
    """几个一维数组首尾相接而成的序列；不复制，只在取用时读。

    Attributes:
        parts: 各个数组，类型相同。
        size: 总长。
        dtype: 元素的类型。
    """

    def __init__(self, parts: Sequence[Ids]) -> None:
        self.parts: list[Ids] = [np.asarray(part) for part in parts]  # 内存映射也当作普通数组：切片快得多
        self._ends: Numbers = np.cumsum([part.size for part in self.parts], dtype=np.int64)
        self._sizes: Numbers = np.array([part.size for part in self.parts])
        self.size: int = int(self._ends[-1])
        self.dtype: np.dtype[np.integer] = self.parts[0].dtype

    def read(self, start: int, stop: int) -> Ids:
        """[start, stop) 这一段；不跨分片时是视图。"""
        i = int(np.searchsorted(self._ends, start, side="right"))
        offset = int(self._ends[i]) - self.parts[i].size if i < len(self.parts) else self.size
        if stop <= offset or stop <= self._ends[i]:
            return self.parts[min(i, len(self.parts) - 1)][start - offset : stop - offset]
        pieces = []
        while start < stop:
            end = min(stop, int(self._ends[i]))
            pieces.append(self.parts[i][start - offset : end - offset])
            start, offset, i = end, int(self._ends[i]), i + 1
        return np.concatenate(pieces)

    def rows(self, starts: Numbers, length: int) -> Ids:
        """从各个起点取等长的行。

        Args:
            starts: 起点，形状 (B,)，每个都不超过 ``size - length``。
            length: 行长 L。

        Returns:
            形状 (B, L)，类型与序列相同。
        """
        if len(self.parts) == 1:
            return sliding_window_view(self.parts[0], length)[starts]
        out = np.empty((starts.size, length), self.dtype)
        homes = np.searchsorted(self._ends, starts, side="right")
        for i in np.unique(homes).tolist():
            part, end = self.parts[i], int(self._ends[i])
            whole = (homes == i) & (starts + length <= end)
            if whole.any():
                out[whole] = sliding_window_view(part, length)[starts[whole] - (end - part.size)]
            for row in np.flatnonzero((homes == i) & ~whole).tolist():
                out[row] = self.read(int(starts[row]), int(starts[row]) + length)
        return out

    def copy(self, starts: Numbers, lengths: Numbers, out: npt.NDArray[np.int64], places: Numbers) -> None:
        """取几段，放进 ``out``，顺带转成 int64。

        Args:
            starts: 各段的起点，形状 (P,)。
            lengths: 各段的长度，都是正数，形状 (P,)。
            out: 一维数组。
            places: 各段放到 ``out`` 的何处，形状 (P,)。
        """
        homes = np.searchsorted(self._ends, starts, side="right")
        sizes = self._sizes[homes]
        local = starts - (self._ends[homes] - sizes)
        stops = local + lengths
        crossing = np.flatnonzero(stops > sizes).tolist()
        columns = (homes, local, np.minimum(stops, sizes), places)
        for home, start, stop, place in zip(*(column.tolist() for column in columns), strict=True):
            out[place : place + stop - start] = self.parts[home][start:stop]
        for i in crossing:
            start, length, place = int(starts[i]), int(lengths[i]), int(places[i])
            out[place : place + length] = self.read(start, start + length)

    def at(self, positions: Numbers) -> Ids:
        """各个位置的 id，形状与 ``positions`` 相同。"""
        if len(self.parts) == 1:
            return self.parts[0][positions]
        out = np.empty(positions.shape, self.dtype)
        homes = np.searchsorted(self._ends, positions, side="right")
        for i in np.unique(homes).tolist():
            here = homes == i
            out[here] = self.parts[i][positions[here] - (self._ends[i] - self._sizes[i])]
        return out
