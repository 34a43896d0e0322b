"""窗口：从一长串 id 上按步幅切下的等长样本，y 是 x 左移一位。

流入：语料的 id；流出：训练用的 ``TokenDataset``，与按原文次序的评估批次。
下一个文件：``tinygrad_llm/gpt.py``（x 怎样变成 logits）；同样的样本怎样存成文件，见 ``index.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_llm.common.batches.masks import segments_by_token
from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.batches.stream import IGNORE_INDEX, Batch, Segments, Shuffled
from tinygrad_llm.common.batches.tokens import Ids, Tokens
from tinygrad_llm.common.errors import UserError

if TYPE_CHECKING:
    from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["TokenDataset", "Windows", "encode_corpus", "evaluation_batches"]

_LONG = 2048  # 窗口不短于此时逐行复制更快：少一份中间数组


def encode_corpus(text: str, tokenizer: Tokenizer) -> Ids:
    """全文 → 一维 id 数组，用装得下词表的最小无符号类型。"""
    return tokenizer.encode_to_numpy(text).astype(np.min_scalar_type(tokenizer.vocab_size - 1))


class Windows:
    """滑动窗口。

    步幅等于窗口长度时，窗口之间不重复预测任何一个 token；小于它时窗口重叠，大于它时跳过一些 token。

    Attributes:
        tokens: 全部 token。
        context: 窗口长度 T。
        size: 窗口数。
    """

    def __init__(
        self,
        ids: Ids | Tokens,
        context: int,
        *,
        stride: int | None = None,
        drop_last: bool = True,
        eot: int | None = None,
    ) -> None:
        """检查参数。

        Args:
            ids: 一维整数数组（``np.memmap`` 亦可），或 ``Tokens``。
            context: 窗口长度 T。
            stride: 相邻窗口起点的距离；缺省为 ``context``。
            drop_last: 不要凑不满一个窗口的结尾；否则那个窗口 x 以 0、y 以 ``IGNORE_INDEX`` 补齐。
            eot: 文档开头的特殊 token；给出时 ``segments`` 据此数文档，否则全算一篇。

        Raises:
            UserError: 参数越界，或数据不足一个窗口。
        """
        stride = context if stride is None else stride
        self.tokens = ids if isinstance(ids, Tokens) else Tokens([_checked(ids)])
        if context < 1 or stride < 1:
            raise UserError(
                f"context and stride must be at least 1, got {context} and {stride}", fix="use positive numbers"
            )
        targets = self.tokens.size - 1  # 第一个 token 前面没有上文，不预测
        if targets < (context if drop_last else 1):
            raise UserError(
                f"{self.tokens.size} tokens are too few for one window of context {context}",
                fix=f"use context <= {targets}, or more text" if targets > 0 else "use more text",
            )
        self.context, self._stride, self._eot = context, stride, eot
        whole = max((targets - context) // stride + 1, 0)
        covered = (whole - 1) * stride + context if whole else 0
        has_tail = not drop_last and whole * stride < targets and covered < targets
        self.size: int = whole + has_tail
        self._whole = whole

    def take(self, samples: Numbers) -> Batch:
        """各个序号的窗口：x 与 y，形状 (B, T)，int64。"""
        starts = samples * self._stride
        if samples.size and int(samples.max()) >= self._whole:
            return _padded(self.tokens, starts, self.context)
        if self.context >= _LONG:
            shape, places = (samples.size, self.context), np.arange(samples.size) * self.context
            x, y, lengths = np.empty(shape, np.int64), np.empty(shape, np.int64), np.full(samples.size, self.context)
            self.tokens.copy(starts, lengths, x.reshape(-1), places)
            self.tokens.copy(starts + 1, lengths, y.reshape(-1), places)
            return x, y
        rows = self.tokens.rows(starts, self.context + 1)  # (B, T + 1)
        return rows[:, :-1].astype(np.int64, order="C"), rows[:, 1:].astype(np.int64, order="C")

    def segments(self, samples: Numbers) -> Segments:
        """各个位置属于行内的第几篇文档，填充处为 -1。"""
        x, y = self.take(samples)
        segments = np.zeros(x.shape, np.int32) if self._eot is None else segments_by_token(x, self._eot)
        segments[y == IGNORE_INDEX] = -1
        return segments


class TokenDataset(Shuffled):
    """随机次序的训练批次：内存里的一串 id 切成互不重叠的窗口，每轮打乱一次。

    Attributes:
        ids: 全部 token。
        windows: 窗口总数，即一个 epoch 的样本数；凑不满一个窗口的结尾不用。
    """

    def __init__(self, ids: Ids, *, vocab_size: int, context: int, batch_size: int, seed: int) -> None:
        """检查数据与参数。

        Args:
            ids: 一维整数数组（``np.memmap`` 亦可），每个都在 [0, vocab_size) 内。
            vocab_size: 词表大小。
            context: 窗口长度 T。
            batch_size: 所有进程合起来的批大小。
            seed: 打乱用的种子，在 [0, 2^64) 内。

        Raises:
            UserError: 参数越界，数据不足一个窗口，或 id 不在词表内。
        """
        windows = Windows(ids, context)
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= vocab_size:
            raise UserError(
                f"the data holds token id {low if low < 0 else high}, the vocabulary has {vocab_size}",
                fix="encode the data with the tokenizer of this model",
            )
        super().__init__(windows, batch_size=batch_size, seed=seed)
        self.ids, self.windows = ids, windows.size


def evaluation_batches(ids: Ids | Tokens, context: int, batch_size: int) -> Iterator[Batch]:
    """按原文次序给出评估批次，每个可预测的 token 恰好预测一次。

    Args:
        ids: 一维整数数组或 ``Tokens``，至少两个 id。
        context: 窗口长度 T。
        batch_size: 每批至多几行；最后一批可能更少。

    Returns:
        逐批的 x 与 y，形状 (行数, context)，int64；最后一行的空位 x 填 0，y 填 ``IGNORE_INDEX``。

    Raises:
        UserError: 参数越界，或数据不足两个 id。
    """
    tokens = ids if isinstance(ids, Tokens) else Tokens([_checked(ids)])
    if context < 1 or batch_size < 1:
        raise UserError(
            f"context and batch size must be at least 1, got {context} and {batch_size}", fix="use positive numbers"
        )
    if tokens.size < 2:
        raise UserError(f"{tokens.size} tokens leave nothing to predict", fix="use more text for validation")
    starts = np.arange(0, tokens.size - 1, context)
    return (_padded(tokens, starts[i : i + batch_size], context) for i in range(0, starts.size, batch_size))


def _padded(tokens: Tokens, starts: Numbers, context: int) -> Batch:
    """从各起点取窗口；越过末尾的位置 x 填 0、y 填 ``IGNORE_INDEX``。"""
    x = np.zeros((starts.size, context), np.int64)
    y = np.full((starts.size, context), IGNORE_INDEX, np.int64)
    for row, start in enumerate(starts.tolist()):
        ids = tokens.read(start, min(start + context + 1, tokens.size))
        x[row, : ids.size - 1], y[row, : ids.size - 1] = ids[:-1], ids[1:]
    return x, y


def _checked(ids: Ids) -> Ids:
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(f"token ids must be a 1-D integer array, got {ids.dtype} of shape {ids.shape}")
    return ids
