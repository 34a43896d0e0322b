"""泄题：考题在训练数据里出现过吗，出现过的与没出现过的，成绩差多少。

流入：题与训练文档；流出：每题有几成 n-gram 在训练数据里。下一个文件：``results.py``。

找法与清洗时去污染的相同（``common/cleaning/decontaminate.py``）：连续 ``ngram`` 个词一字不差就算，短题要整条出现，
太短的不查。词不分大小写、全半角与标点。换了说法的泄题，这样找不出来。
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.cleaning.config import DecontaminateConfig
from tinygrad_llm.common.cleaning.decontaminate import index_items, leaked_grams
from tinygrad_llm.common.cleaning.words import Hashes, find_words, ngrams
from tinygrad_llm.common.evaluation.items import Task
from tinygrad_llm.common.scoring import wilson_interval

__all__ = ["Overlap", "check_contamination"]

FLAGGED = 0.5
"""一题至少有这么多成 n-gram 出现过，才算它泄了；只碰巧有一句相同的不算。"""


@dataclass(frozen=True)
class Overlap:
    """一项任务与训练数据的重合。

    Attributes:
        task: 任务。
        shares: 每题有几成 n-gram 出现过（题面、题面连同答案，取大的）``(n,)``；太短而没有查的是 NaN。
        documents: 查过几份训练文档。
        ngram: 几个词一组。
    """

    task: Task
    shares: NDArray[np.float64]
    documents: int
    ngram: int

    @property
    def is_leaked(self) -> NDArray[np.bool_]:
        """每题泄了没有。"""
        return np.nan_to_num(self.shares) >= FLAGGED

    def to_json(self, values: NDArray[np.float64] | None = None) -> dict[str, Any]:
        """可以写成 JSON 的字典。

        Args:
            values: 每题的得分；给了就分别报泄了的与干净的。
        """
        checked, leaked = ~np.isnan(self.shares), self.is_leaked
        found: dict[str, Any] = {
            "documents": self.documents, "ngram": self.ngram, "checked": int(checked.sum()),
            "too_short": int((~checked).sum()), "leaked": int(leaked.sum()), "touched": int((self.shares > 0).sum()),
            "ids": [item.id for item, one in zip(self.task.items, leaked.tolist(), strict=True) if one],
        }  # fmt: skip
        if checked.any():
            share = wilson_interval(int(leaked.sum()), int(checked.sum()))
            found["share"] = {"value": share.value, "low": share.low, "high": share.high, "n": share.n}
        if values is not None and leaked.any() and not leaked.all():
            found["leaked_mean"], found["clean_mean"] = float(values[leaked].mean()), float(values[~leaked].mean())
        return found


def check_contamination(task: Task, documents: Iterable[str], config: DecontaminateConfig | None = None) -> Overlap:
    """查一项任务的每一题。

    Args:
        task: 任务。
        documents: 训练文档，只走一遍。
        config: 几个词一组、多短的不查。

    Returns:
        重合。
    """
    config = config or DecontaminateConfig()
    own = [[_grams(text, config) for text in item.contents] for item in task.items]
    leaks = index_items((text for item in task.items for text in item.contents), config)
    seen: list[Hashes] = []
    count = 0
    for text in documents:
        count += 1
        if (found := leaked_grams(text, leaks)).size:
            seen.append(found)
    known = np.unique(np.concatenate(seen)) if seen else np.empty(0, np.uint64)
    shares = [
        max((float(np.isin(grams, known).mean()) for grams in parts if grams.size), default=np.nan) for parts in own
    ]
    return Overlap(task, np.array(shares), count, config.ngram)


def _grams(text: str, config: DecontaminateConfig) -> Hashes:
    """一题的 n-gram；太短的一个也没有。"""
    words = find_words(text).hashes
    if words.size < min(config.min_words, config.ngram):
        return words[:0]
    return np.unique(ngrams(words, min(words.size, config.ngram)))
