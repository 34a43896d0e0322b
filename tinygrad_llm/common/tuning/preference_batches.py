"""偏好的批次：行在前，连同参考模型的对数概率；奖励模型的批次是完整的 id。

流入：``Preferences`` 与一个会算对数概率的函数；流出：``batch(step)``，引擎照行切微批。参考模型是冻结的出发点，开训之前
把每一对算一遍，此后只是查表；续训时重算，结果逐位相同。下一个文件：``preferences.py``。
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.batches.packed import ramps
from tinygrad_llm.common.batches.preferences import Preferences
from tinygrad_llm.common.batches.supervised import Examples, padded_rows
from tinygrad_llm.common.engine import Batch, Engine, averaged, summed

__all__ = ["PairRows", "RewardRows", "Rows", "Scorer", "digest_of", "examined", "reference_of"]

Scorer = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]]
"""``(x, y)`` 各 ``(N, T)`` → 每个目标 token 的对数概率 ``(N, T)``，不计的位置为 0。"""
REFERENCE_ROWS = 16
EVALUATION_ROWS = 16


class Rows(Protocol):
    """可以按步取、也可以按序号取的批次。"""

    pairs: Preferences

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。"""

    def take(self, samples: Numbers, width: int) -> Batch:
        """各个序号的对，填充到 ``width``。"""


class PairRows:
    """``PreferenceMethod`` 的批次：``x``、``y``、参考的对数概率各 ``(B, 2, T)``，好坏 ``(B,)``。

    Args:
        pairs: 偏好对。
        reference: 两边各 token 的参考对数概率，与 ``Examples.y`` 等长；不要参考的损失为 ``None``，批次里全是 0。
        dtype: 对数概率的类型。
    """

    def __init__(self, pairs: Preferences, reference: list[NDArray[Any]] | None, dtype: str) -> None:
        self.pairs, self.reference, self.dtype = pairs, reference, dtype

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。"""
        return self.take(*self.pairs.samples(step, rank, world))

    def take(self, samples: Numbers, width: int) -> Batch:
        """各个序号的对，填充到 ``width``。"""
        x, y = (np.ascontiguousarray(both.swapaxes(0, 1)) for both in self.pairs.rows(samples, width))
        reference = np.zeros(x.shape, self.dtype)
        for side, values in enumerate(self.reference or []):
            examples = self.pairs.sides[side]
            lengths = examples.lengths[samples]
            positions = np.repeat(examples.starts[samples], lengths) + ramps(lengths)
            reference[:, side][np.arange(width) < lengths[:, None]] = values[positions]
        return x, y, reference, self.pairs.desirable[samples]


class RewardRows:
    """``RewardMethod`` 的批次：完整的 id ``(B, 2, T + 1)``，与末一个真实 token 的位置 ``(B, 2)``。

    ``x`` 里没有最后那个结束符，而奖励要在读完它之后给出，所以从 ``y`` 里取回来。

    Args:
        pairs: 偏好对；它的 ``context`` 须比模型的小 1。
    """

    def __init__(self, pairs: Preferences) -> None:
        self.pairs = pairs

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。"""
        return self.take(*self.pairs.samples(step, rank, world))

    def take(self, samples: Numbers, width: int) -> Batch:
        """各个序号的对，填充到 ``width + 1``。"""
        x, y = (both.swapaxes(0, 1) for both in self.pairs.rows(samples, width))
        last = np.stack([side.lengths[samples] for side in self.pairs.sides], axis=1)
        ids = np.concatenate([x, x[..., -1:]], axis=-1)
        end = np.take_along_axis(y, last[..., None] - 1, axis=-1)
        np.put_along_axis(ids, last[..., None], end, axis=-1)
        return ids, last


def reference_of(pairs: Preferences, score: Scorer, pad: int) -> list[NDArray[Any]]:
    """两边各 token 的参考对数概率，与 ``Examples.y`` 等长；只由数据与权重决定，与怎样分批训练无关。

    Args:
        pairs: 偏好对。
        score: 参考模型。
        pad: 填充处的 x。
    """
    return [np.concatenate(_scored(side, score, pad)) for side in pairs.sides]


def _scored(side: Examples, score: Scorer, pad: int) -> list[NDArray[Any]]:
    """各条的分数，按原来的次序；一样长的放在一批里算，少填充。"""
    by_length = np.argsort(side.lengths, kind="stable")
    found: list[NDArray[Any]] = [np.empty(0)] * side.size
    for start in range(0, side.size, REFERENCE_ROWS):
        samples = by_length[start : start + REFERENCE_ROWS]
        width = int(side.lengths[samples[-1]])
        for sample, row in zip(samples.tolist(), score(*padded_rows(side, samples, width, pad)), strict=True):
            found[sample] = row[: side.lengths[sample]]
    return found


def examined(engine: Engine, rows: Rows) -> dict[str, float]:
    """照训练的方法，把每一对恰好算一遍：``val_loss`` 与各项数字。"""
    parts, units = [], 0.0
    for start in range(0, rows.pairs.size, EVALUATION_ROWS):
        samples = np.arange(start, min(start + EVALUATION_ROWS, rows.pairs.size))
        found = engine.examine(rows.take(samples, rows.pairs.width(samples)))
        parts.append({"loss": found.loss, **found.figures})
        units += found.units
    return {f"val_{name}": value for name, value in averaged(summed(parts), units).items()}


def digest_of(*pairs: Preferences) -> str:
    """数据的摘要：每个 id、哪些要学、好坏；续训时据此发现数据变了。"""
    digest = hashlib.sha256()
    for one in pairs:
        for side in one.sides:
            for array in (side.lengths, side.x, np.where(side.y == IGNORE_INDEX, -1, side.y), one.desirable):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
