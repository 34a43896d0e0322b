"""校准：模型说有八成把握的题，是不是真的对八成。

流入：每题的把握与对错；流出：分组的正确率、ECE 与 Brier 分。下一站：``ranking.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError

__all__ = ["Calibration", "calibration"]


@dataclass(frozen=True)
class Calibration:
    """一个模型的校准。

    Attributes:
        confidence: 每组的平均把握；空的组是 NaN。
        accuracy: 每组的正确率；空的组是 NaN。
        counts: 每组几题。
        ece: ``Σ_组 (n_组/n)·|正确率 - 把握|``（Naeini 等，2015）。
        brier: ``mean((把握 - 对错)²)``（Brier，1950）。
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]
    ece: float
    brier: float


def calibration(confidence: NDArray[Any], correct: NDArray[Any], groups: int = 10) -> Calibration:
    """把题按把握分成等宽的几组，逐组比较。

    Args:
        confidence: ``(n,)``，模型给自己所选答案的概率。
        correct: ``(n,)``，对不对。
        groups: 分几组。

    Returns:
        校准。

    Raises:
        UserError: 一题也没有，个数不一致，或把握不在 [0, 1] 内。
    """
    confidence, hits = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if confidence.ndim != 1 or not confidence.size or confidence.shape != hits.shape or groups < 1:
        raise UserError(f"confidences {confidence.shape} and outcomes {hits.shape} must be paired rows")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise UserError("a confidence must be from 0 to 1", fix="pass probabilities, not logits")
    place = np.minimum((confidence * groups).astype(np.int64), groups - 1)
    counts = np.bincount(place, minlength=groups)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, confidence, groups) / counts
        accuracy = np.bincount(place, hits, groups) / counts
    gaps = np.abs(np.bincount(place, hits - confidence, groups))
    return Calibration(
        means, accuracy, counts, float(gaps.sum() / confidence.size), float(((confidence - hits) ** 2).mean())
    )
