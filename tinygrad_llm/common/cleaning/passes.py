"""全局的一趟：看过全部分片的摘要与键，决定哪些是重复的。

流入：工作文件夹里各分片的中间结果；流出：每个分片里各份文档的去留，与 ``exact``、``near`` 的账目。
下一个文件：``pipeline.py``。
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.cleaning.config import CleanConfig, NearConfig
from tinygrad_llm.common.cleaning.dedup import Indices, exact_keepers, near_keepers
from tinygrad_llm.common.cleaning.shard import read_documents
from tinygrad_llm.common.cleaning.tally import MAX_EXAMPLES, Tally
from tinygrad_llm.common.cleaning.words import Hashes, shingles
from tinygrad_llm.common.corpora.document import Document

__all__ = ["remove_duplicates"]

CACHE_BYTES = 128 << 20
_REASONS = {"exact": "same text as an earlier document", "near": "nearly the same as an earlier document"}


def remove_duplicates(
    work: Path,
    counts: Sequence[int],
    config: CleanConfig,
    tallies: dict[str, Tally],
    check: Callable[[], None],
    notice: Callable[[str], None],
) -> list[npt.NDArray[np.bool_]]:
    """按设置做精确与近似的查重。

    Args:
        work: 工作文件夹。
        counts: 各分片有几份文档。
        config: 设置。
        tallies: 账目，添上 ``exact`` 与 ``near``。
        check: 不时调用一次，要停下就抛出异常。
        notice: 收进度的函数。

    Returns:
        每个分片一个 (份数,) 的布尔数组：留不留。
    """
    if not counts:
        return []
    shelf = _Shelf(work, counts)
    alive = np.ones(sum(counts), np.bool_)
    for stage in config.stages:
        if stage not in _REASONS:
            continue
        check()
        notice(f"looking for {'identical' if stage == 'exact' else 'similar'} documents among {alive.sum():,}")
        candidates = np.flatnonzero(alive)
        if stage == "exact":
            keepers = np.arange(alive.size)
            keepers[candidates] = candidates[exact_keepers(shelf.rows["digest"][candidates])]
        else:
            keepers = _near(shelf, candidates, config.near, check)
        tallies[stage] = _tally(stage, keepers, candidates, shelf)
        alive[candidates] = keepers[candidates] == candidates
    return np.split(alive, np.cumsum(counts)[:-1])


def _near(shelf: _Shelf, candidates: Indices, config: NearConfig, check: Callable[[], None]) -> Indices:
    sizes = shelf.rows["shingles"].astype(np.int64)
    shingles_of = _Cache(lambda index: shingles(shelf.document(index).text, config.shingle))
    bands = _until_stopped(shelf.bands(config.bands), check)
    return near_keepers(bands, sizes, candidates, shingles_of, config.threshold)


class _Shelf:
    """中间结果：各份的行都在内存里，正文与键留在盘上，用到才取。"""

    def __init__(self, work: Path, counts: Sequence[int]) -> None:
        self.stems = [work / f"{index:05}" for index in range(len(counts))]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = [np.load(stem.with_suffix(".rows.npy"), allow_pickle=False) for stem in self.stems]
        self.rows: npt.NDArray[Any] = np.concatenate(rows)

    def document(self, index: int) -> Document:
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return next(read_documents(self.stems[shard].with_suffix(".jsonl"), self.rows["offset"][index : index + 1]))

    def bands(self, count: int) -> Iterator[Hashes]:
        paths = [stem.with_suffix(".keys.npy") for stem in self.stems]
        for band in range(count):  # 每次现开现关：分片再多，打开的文件也只有一个
            yield np.concatenate([np.array(np.load(path, mmap_mode="r", allow_pickle=False)[band]) for path in paths])


class _Cache:
    """记着最近用过的 shingle 集合，总量有上限。"""

    def __init__(self, load: Callable[[int], Hashes]) -> None:
        self._load, self._kept, self._bytes = load, OrderedDict[int, Hashes](), 0

    def __call__(self, index: int) -> Hashes:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        found = self._kept[index] = self._load(index)
        self._bytes += found.nbytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 2:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


def _until_stopped(bands: Iterator[Hashes], check: Callable[[], None]) -> Iterator[Hashes]:
    for band in bands:
        check()
        yield band


def _tally(stage: str, keepers: Indices, candidates: Indices, shelf: _Shelf) -> Tally:
    """账目由行里的长度算出；只有例子要读正文。"""
    chars = shelf.rows["chars"]
    removed = candidates[keepers[candidates] != candidates]
    tally = Tally()
    for index in removed[:MAX_EXAMPLES].tolist():
        lost, kept = shelf.document(index), shelf.document(int(keepers[index]))
        tally.record(lost.source, lost.text, None, {_REASONS[stage]: 1}, f"[{kept.source}]\n{kept.text}")
    tally.seen, tally.removed = int(candidates.size), int(removed.size)
    tally.chars_in = int(chars[candidates].sum())
    tally.chars_out = tally.chars_in - int(chars[removed].sum())
    if removed.size:
        tally.reasons[_REASONS[stage]] = int(removed.size)
    return tally
