r"""挑选之前改分数：罚重复，以及逐个 token 的偏置。

流入：一行分数 ``(V,)`` 与出现过的 id；流出：就地改过的分数。下一个文件：``text.py``。

- 重复惩罚（Keskar 等，2019，CTRL）看的是「出现过没有」，开头的 token 也算：分数 s 变成 s/θ（s > 0）或 s·θ（s ≤ 0）。
  θ > 1 时两种写法都把分数往下压；若不分正负一律相除，负的分数反而会变大。
- presence 与 frequency（OpenAI 接口的两个参数）只看写出过的：s − α·[c > 0] − β·c，c 是写出过几次。
  减在 logit 上，等于把未归一化的概率乘以 ``exp(−α − β·c)``：与分数的正负、logits 整体的平移都无关。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.request import Sampling

__all__ = ["Repetitions"]


class Repetitions:
    """出现过哪些 token，各写出过几次。

    Args:
        prompt: 开头的 id。
    """

    def __init__(self, prompt: Iterable[int]) -> None:
        self._prompt = set(prompt)
        self._written: Counter[int] = Counter()

    def add(self, token: int) -> None:
        """又写出一个。"""
        self._written[token] += 1

    def penalise(self, scores: NDArray[np.float64], sampling: Sampling) -> None:
        """就地罚 ``scores`` ``(V,)``；词表之外的 id 不理会。"""
        if sampling.repetition_penalty != 1:
            ids = _inside(self._prompt | self._written.keys(), len(scores))
            found, penalty = scores[ids], sampling.repetition_penalty
            scores[ids] = np.where(found > 0, found / penalty, found * penalty)
        if self._written and (sampling.presence_penalty or sampling.frequency_penalty):
            ids = _inside(self._written, len(scores))
            counts = np.array([self._written[int(id)] for id in ids], dtype=np.float64)
            scores[ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts


def _inside(ids: Iterable[int], size: int) -> NDArray[np.int64]:
    return np.array([id for id in ids if id < size], dtype=np.int64)
