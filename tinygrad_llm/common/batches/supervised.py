"""指令微调的批次：id 与损失掩码 → x 与 y，动态填充，或打包。

流入：一条条样本的 id 与「哪些 id 要学」；流出：不学之处 y 为 ``IGNORE_INDEX`` 的批次。
没有一处要学的样本（比如答案被裁掉了）照样可以进批次：它贡献零损失，不会得到 NaN。下一个文件：``preferences.py``。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.batches.order import Numbers, drawn, share
from tinygrad_llm.common.batches.packed import Packed, ramps
from tinygrad_llm.common.batches.packing import plan_rows
from tinygrad_llm.common.batches.stream import IGNORE_INDEX, Batch, check_stream
from tinygrad_llm.common.batches.tokens import Tokens
from tinygrad_llm.common.errors import DataError, UserError

if TYPE_CHECKING:
    from tinygrad_llm.common.corpora import Faults

__all__ = ["OVERFLOWS", "Example", "Examples", "Padded", "padded_rows", "report"]

OVERFLOWS = ("error", "skip", "crop")


@dataclass(frozen=True, slots=True)
class Example:
    """一条样本。

    Attributes:
        ids: 全部 id。
        loss_mask: 与 ``ids`` 等长；为真的 id 要由它前面的 id 预测出来。
        source: 出处，写进消息。
    """

    ids: Sequence[int]
    loss_mask: Sequence[bool]
    source: str = ""


class Examples:
    """收好的样本：摊平成一维的 x 与 y，不是一堆 Python 列表。

    Attributes:
        x: 各条样本去掉最后一个的 id，首尾相接。
        y: 各条样本去掉第一个的 id，首尾相接；不学之处为 ``IGNORE_INDEX``。
        starts: 每条样本从哪里开始，形状 (N,)。
        lengths: 每条样本的长度（id 数减一），形状 (N,)。
        counts: ``kept``、``skipped``、``cropped``（超长的）与 ``silent``（没有一处要学的，仍然留着）各有几条。
    """

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        vocab_size: int,
        context: int,
        overflow: str = "error",
        faults: Faults | None = None,
    ) -> None:
        """逐条检查并收好。

        Args:
            examples: 样本。
            vocab_size: 词表大小。
            context: 一行至多多长。
            overflow: 超长的样本（id 数多于 ``context + 1``）：``"error"`` 报错，``"skip"`` 略过，``"crop"`` 裁掉结尾。
            faults: 坏样本（掩码不等长、不足两个 id、id 超出词表）的处置；缺省遇到就停。

        Raises:
            UserError: 选项不认识。
            DataError: 样本坏了或超长，而设置不许略过；或一条也不剩。
        """
        if overflow not in OVERFLOWS or context < 1:
            raise UserError(f"unknown overflow {overflow!r} or context {context}", fix=f"use one of {OVERFLOWS}")
        self.context, self.counts = context, Counter(kept=0, skipped=0, cropped=0, silent=0)
        xs, ys = [], []
        for example in examples:
            if problem := _problem(example, vocab_size):
                report(faults, problem, example.source)
                continue
            ids, mask = np.asarray(example.ids, np.int64), np.asarray(example.loss_mask, bool)
            if ids.size > context + 1:
                if overflow == "error":
                    raise _too_long(example, context)
                self.counts["skipped" if overflow == "skip" else "cropped"] += 1
                if overflow == "skip":
                    continue
                ids, mask = ids[: context + 1], mask[: context + 1]
            self.counts["kept"] += 1
            self.counts["silent"] += not mask[1:].any()
            xs.append(ids[:-1].astype(np.uint32))
            ys.append(np.where(mask[1:], ids[1:], IGNORE_INDEX))
        if not xs:
            raise DataError("no samples are left to train on", fix="raise the context, or mend the data")
        self.lengths: Numbers = np.array([x.size for x in xs])
        self.starts: Numbers = np.cumsum(self.lengths) - self.lengths
        self.x, self.y = np.concatenate(xs), np.concatenate(ys)

    @property
    def size(self) -> int:
        """样本数。"""
        return int(self.lengths.size)

    def packed(self, *, pad: int) -> Packed:
        """几条样本装进一行；样本从不被切开，也看不见彼此（见 ``segments``）。"""
        plan = plan_rows(self.starts, self.lengths, self.context, fill="pad")
        return Packed(Tokens([self.x]), plan, pad=pad, targets=Tokens([self.y]))


class Padded:
    """一条样本一行，填充到这一步里最长的一条那么长。

    Attributes:
        examples: 样本。
        batch_size: 所有进程合起来的批大小。
    """

    def __init__(self, examples: Examples, *, batch_size: int, seed: int | None, pad: int, multiple: int = 1) -> None:
        """检查参数。

        Args:
            examples: 样本。
            batch_size: 所有进程合起来的批大小。
            seed: 打乱用的种子；``None`` 表示不打乱。
            pad: 填充处的 x。
            multiple: 行长取整到它的倍数，但不超过 ``context``；有的硬件喜欢 8 或 64 的倍数。

        Raises:
            UserError: 参数越界。
        """
        check_stream(batch_size, seed)
        if multiple < 1:
            raise UserError(f"multiple must be at least 1, got {multiple}", fix="use 8")
        self.examples, self.batch_size = examples, batch_size
        self._seed, self._pad, self._multiple = seed, pad, multiple

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份；约定与 ``Shuffled.batch`` 相同，各进程的行一样长。"""
        first, rows = share(step, rank, world, self.batch_size)
        everyone = self._samples(step)
        mine = everyone[first - step * self.batch_size :][:rows]
        return padded_rows(self.examples, mine, self._width(everyone), self._pad)

    def width(self, step: int) -> int:
        """第 ``step`` 步的行有多长。"""
        return self._width(self._samples(step))

    def _width(self, everyone: Numbers) -> int:
        longest = int(self.examples.lengths[everyone].max())
        return min(-(-longest // self._multiple) * self._multiple, self.examples.context)

    def _samples(self, step: int) -> Numbers:
        """第 ``step`` 步的样本。"""
        return drawn(step * self.batch_size, np.arange(self.batch_size), self.examples.size, self._seed)

    def epochs(self, step: int) -> float:
        """``step`` 步之后走过了几轮。"""
        return step * self.batch_size / self.examples.size


def padded_rows(examples: Examples, samples: Numbers, width: int, pad: int) -> Batch:
    """各个序号的样本，右边填充到 ``width``。

    Args:
        examples: 样本。
        samples: 序号，形状 (B,)。
        width: 行长，不小于其中最长的一条。
        pad: 填充处的 x；那里 y 是 ``IGNORE_INDEX``。

    Returns:
        x 与 y，形状 (B, width)，int64。
    """
    lengths = examples.lengths[samples]
    positions = np.repeat(examples.starts[samples], lengths) + ramps(lengths)
    real: npt.NDArray[np.bool_] = np.arange(width) < lengths[:, None]
    x, y = np.full(real.shape, pad, np.int64), np.full(real.shape, IGNORE_INDEX, np.int64)
    x[real], y[real] = examples.x[positions], examples.y[positions]
    return x, y


def report(faults: Faults | None, problem: tuple[str, str, str], source: str) -> None:
    """坏样本：没有给出处置时就停，给了就照办。

    Args:
        faults: 处置。
        problem: 计数用的原因、写进消息的一句、怎么办。
        source: 出处。

    Raises:
        DataError: 应当停下。
    """
    reason, said, fix = problem
    if faults is None:
        raise DataError(said, where=source, fix=fix)
    faults.report(said, source, fix, reason=reason)


def _problem(example: Example, vocab_size: int) -> tuple[str, str, str] | None:
    """样本哪里坏了：计数用的原因、写进消息的一句、怎么办。"""
    if len(example.ids) != len(example.loss_mask):
        said = f"the sample has {len(example.ids)} ids and a loss mask of {len(example.loss_mask)}"
        return "ids and loss mask differ in length", said, "give one mask entry per id"
    if len(example.ids) < 2:
        return "fewer than two tokens", "the sample has fewer than two tokens, nothing can be predicted", "drop it"
    low, high = min(example.ids), max(example.ids)
    if low < 0 or high >= vocab_size:
        said = f"the sample holds token id {low if low < 0 else high}, the vocabulary has {vocab_size}"
        return "token id outside the vocabulary", said, "encode it with the tokenizer of this model"
    return None


def _too_long(example: Example, context: int) -> DataError:
    return DataError(
        f"the sample has {len(example.ids):,} tokens, a context of {context} holds {context + 1}",
        where=example.source,
        fix="use a larger context, or crop or skip such samples",
    )
