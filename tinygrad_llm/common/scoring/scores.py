"""成绩：原始分、靠猜能得几分、去掉运气之后的分，三样总在一起。

流入：每题的对错，或每个选项的对数似然；流出：``Score``。下一站：``calibration.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.scoring.intervals import Interval, wilson_interval

__all__ = ["Normalisation", "Score", "centred", "score_choices", "score_of"]

Normalisation = Literal["sum", "token", "byte"]


@dataclass(frozen=True)
class Score:
    """一项评测的成绩。

    Attributes:
        name: 评测的名字。
        raw: 正确率与区间。
        chance: 靠猜的正确率。
        centred: ``(raw - chance) / (1 - chance)``：猜为 0，全对为 1。
    """

    name: str
    raw: Interval
    chance: float
    centred: float

    @property
    def beats_chance(self) -> bool:
        """区间的下限也高于靠猜。"""
        return self.raw.low > self.chance

    def to_json(self) -> dict[str, Any]:
        """可以写成 JSON 的字典。"""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.raw}, chance {self.chance:.4f}, centred {self.centred:.4f}"


def centred(raw: float, chance: float) -> float:
    """去掉运气之后的分。

    Args:
        raw: 正确率。
        chance: 靠猜的正确率，小于 1。

    Returns:
        ``(raw - chance) / (1 - chance)``；比猜还差时为负。

    Raises:
        UserError: 靠猜就能全对。
    """
    if not 0 <= chance < 1:
        raise UserError(f"a chance level of {chance} leaves nothing to measure", fix="use items that can be got wrong")
    return (raw - chance) / (1 - chance)


def score_of(name: str, correct: Sequence[bool] | NDArray[np.bool_], chance: float = 0.0) -> Score:
    """一题一个对错的成绩。

    Args:
        name: 评测的名字。
        correct: 每题对不对。
        chance: 靠猜的正确率；自由作答的题是 0。

    Returns:
        成绩。
    """
    hits = np.asarray(correct, np.bool_)
    raw = wilson_interval(int(hits.sum()), hits.size)
    return Score(name, raw, chance, centred(raw.value, chance))


def score_choices(
    logprobs: Sequence[float], tokens: Sequence[int], n_bytes: Sequence[int], normalisation: Normalisation = "sum"
) -> int:
    """选择题选哪个：对数似然最大的选项；一样大时取靠前的。

    长的选项对数似然天然更低：``token`` 除以 token 数，``byte`` 除以字节数（与分词器无关）。

    Args:
        logprobs: 每个选项的对数似然之和。
        tokens: 每个选项几个 token。
        n_bytes: 每个选项几个字节。
        normalisation: 怎样抵消长短。

    Returns:
        第几个选项。

    Raises:
        UserError: 个数不一致，有空的选项，或有 NaN。
    """
    scores = np.asarray(logprobs, np.float64)
    sizes = np.asarray({"sum": [1] * scores.size, "token": tokens, "byte": n_bytes}[normalisation], np.float64)
    if scores.ndim != 1 or scores.size < 2 or sizes.shape != scores.shape or (sizes <= 0).any():
        raise UserError("a choice needs two or more non-empty options", fix="check the item")
    if np.isnan(scores).any():
        raise UserError("an option's log likelihood is NaN", fix="use an earlier checkpoint")
    return int(np.argmax(scores / sizes))
