"""偏好对的批次：同一个提示的两种回答，一好一坏，填充到一样长。

流入：提示、被选中的与被拒绝的回答的 id；流出：x 与 y，形状 (2, B, T)，一次前向就能算出两边的对数概率。
损失怎样写（DPO、奖励模型）与这里无关。下一个文件：``prefetch.py``。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_llm.common.batches.order import Numbers, drawn, share
from tinygrad_llm.common.batches.stream import Batch, check_stream
from tinygrad_llm.common.batches.supervised import OVERFLOWS, Example, Examples, padded_rows, report
from tinygrad_llm.common.errors import DataError, UserError

if TYPE_CHECKING:
    from tinygrad_llm.common.corpora import Faults

__all__ = ["PreferencePair", "Preferences"]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """一对偏好。

    Attributes:
        prompt: 提示的 id，至少一个；不计损失。
        chosen: 被选中的回答的 id，含结束符。
        rejected: 被拒绝的回答的 id，含结束符。
        source: 出处，写进消息。
        desirable: ``chosen`` 本身好不好；只有不成对的数据（KTO）才有不好的。
    """

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]
    source: str = ""
    desirable: bool = True


class Preferences:
    """偏好对的批次流。

    Attributes:
        batch_size: 所有进程合起来，一步有几对。
        counts: ``skipped`` 与 ``cropped`` 各有几对。
        sides: 收好的两边，``[0]`` 是被选中的，``[1]`` 是被拒绝的。
        desirable: 各对的 ``desirable``，形状 (N,)。
    """

    def __init__(
        self,
        pairs: Iterable[PreferencePair],
        *,
        vocab_size: int,
        context: int,
        batch_size: int,
        seed: int | None,
        pad: int,
        overflow: str = "error",
        faults: Faults | None = None,
    ) -> None:
        """逐对检查并收好。

        Args:
            pairs: 偏好对。
            vocab_size: 词表大小。
            context: 一行至多多长。
            batch_size: 所有进程合起来，一步有几对。
            seed: 打乱用的种子；``None`` 表示不打乱。
            pad: 填充处的 x。
            overflow: 超长的：``"error"`` 报错，``"skip"`` 略过，``"crop"`` 先从左边裁提示（两边裁得一样），
                回答自己就超长时再裁它的结尾。
            faults: 坏的对（缺了哪一部分、id 超出词表）的处置；缺省遇到就停。

        Raises:
            UserError: 参数越界。
            DataError: 有坏的或超长的，而设置不许略过；或一对也不剩。
        """
        check_stream(batch_size, seed)
        if overflow not in OVERFLOWS or context < 1:
            raise UserError(f"unknown overflow {overflow!r} or context {context}", fix=f"use one of {OVERFLOWS}")
        self.batch_size, self._seed, self._pad = batch_size, seed, pad
        self.counts = {"skipped": 0, "cropped": 0}
        sides: tuple[list[Example], list[Example]] = ([], [])
        desirable: list[bool] = []
        for pair in pairs:
            if problem := _problem(pair, vocab_size):
                report(faults, problem, pair.source)
                continue
            fitted = self._fitted(pair, context, overflow)
            if fitted is not None:
                desirable.append(fitted.desirable)
                for side, answer in zip(sides, (fitted.chosen, fitted.rejected), strict=True):
                    side.append(_example(fitted, answer))
        if not sides[0]:
            raise DataError("no preference pairs are left to train on", fix="raise the context, or mend the data")
        self.sides = [Examples(side, vocab_size=vocab_size, context=context, overflow="crop") for side in sides]
        self.desirable = np.array(desirable)

    @property
    def size(self) -> int:
        """对数。"""
        return self.sides[0].size

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。

        Args:
            step: 步号，从 0 起。
            rank: 进程号。
            world: 进程数，须整除批大小。

        Returns:
            x 与 y，形状 (2, batch_size // world, T)，int64；``[0]`` 是被选中的，``[1]`` 是被拒绝的；
            提示与填充处 y 为 ``IGNORE_INDEX``。T 是这一步全部的对里最长的。

        Raises:
            UserError: 参数越界，或批大小不能平分。
        """
        samples, width = self.samples(step, rank, world)
        return self.rows(samples, width)

    def samples(self, step: int, rank: int = 0, world: int = 1) -> tuple[Numbers, int]:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份是哪几对，填充到多长；参数同 ``batch``。"""
        first, rows = share(step, rank, world, self.batch_size)
        everyone = drawn(step * self.batch_size, np.arange(self.batch_size), self.size, self._seed)
        return everyone[first - step * self.batch_size :][:rows], self.width(everyone)

    def width(self, samples: Numbers) -> int:
        """这几对里最长的回答连同提示有多长。"""
        return max(int(side.lengths[samples].max()) for side in self.sides)

    def rows(self, samples: Numbers, width: int) -> Batch:
        """各个序号的对，填充到 ``width``；形状同 ``batch``。"""
        both = [padded_rows(side, samples, width, self._pad) for side in self.sides]
        return np.stack([x for x, _ in both]), np.stack([y for _, y in both])

    def epochs(self, step: int) -> float:
        """``step`` 步之后走过了几轮。"""
        return step * self.batch_size / self.size

    def _fitted(self, pair: PreferencePair, context: int, overflow: str) -> PreferencePair | None:
        """装得下的一对；要略过时为 ``None``。"""
        answer = max(len(pair.chosen), len(pair.rejected))
        if len(pair.prompt) + answer <= context + 1:
            return pair
        if overflow == "error":
            raise DataError(
                f"the pair has {len(pair.prompt) + answer:,} tokens, a context of {context} holds {context + 1}",
                where=pair.source,
                fix="use a larger context, or crop or skip such pairs",
            )
        if overflow == "skip":
            self.counts["skipped"] += 1
            return None
        self.counts["cropped"] += 1
        room = max(context + 1 - answer, 1)  # 提示至少留一个：回答的第一个 id 要由它预测
        cut = pair.prompt[-room:], pair.chosen[:context], pair.rejected[:context]
        return PreferencePair(*cut, pair.source, pair.desirable)


def _example(pair: PreferencePair, answer: Sequence[int]) -> Example:
    mask = [False] * len(pair.prompt) + [True] * len(answer)
    return Example([*pair.prompt, *answer], mask, pair.source)


def _problem(pair: PreferencePair, vocab_size: int) -> tuple[str, str, str] | None:
    """这一对哪里坏了：计数用的原因、写进消息的一句、怎么办。"""
    parts = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    for name, ids in parts.items():
        if not len(ids):
            return f"empty {name}", f"the pair has an empty {name}", "fill it in, or drop the pair"
        low, high = min(ids), max(ids)
        if low < 0 or high >= vocab_size:
            said = f"the {name} holds token id {low if low < 0 else high}, the vocabulary has {vocab_size}"
            return "token id outside the vocabulary", said, "encode it with the tokenizer of this model"
    return None
