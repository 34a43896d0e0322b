"""批次：把一长串 id 切成窗口，按种子打乱，第几步取哪些窗口由公式算出。

流入：语料的 id；流出：(x, y) 两个 (B, T) 的整数数组，y 是 x 左移一位。
``batch`` 是 (seed, step, rank, world) 的纯函数：断点续训只需要一个整数，几个进程合起来等于一个进程。
下一个文件：``tinygrad_llm/gpt.py``（x 怎样变成 logits）。
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import Tokenizer

Ids = npt.NDArray[np.integer]
Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

IGNORE_INDEX = -100  # 与 torch.nn.functional.cross_entropy 的默认值相同
_STREAM = 0x44415441  # Philox 密钥的后一半（"DATA"）：与采样、初始权重的随机数互不相干
_ROUNDS = 8
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)  # splitmix64 的常数


def encode_corpus(text: str, tokenizer: Tokenizer) -> Ids:
    """全文 → 一维 id 数组，用装得下词表的最小无符号类型。"""
    return np.array(tokenizer.encode(text), dtype=np.min_scalar_type(tokenizer.vocab_size - 1))


class TokenDataset:
    """随机次序的训练批次。

    id 切成步幅为 ``context`` 的窗口，窗口之间不重复预测任何一个 token；每个 epoch 把全部窗口打乱一次，
    每个窗口恰好出现一次。凑不满一个窗口的结尾不用。

    Attributes:
        ids: 全部 token。
        windows: 窗口总数，即一个 epoch 的样本数。
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
        _check(ids, context, batch_size)
        if ids.size < context + 1:
            raise UserError(
                f"{ids.size} tokens are too few for one window of context {context}",
                fix=f"use context <= {ids.size - 1}, or more text" if ids.size > 1 else "use more text",
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= vocab_size:
            raise UserError(
                f"the data holds token id {low if low < 0 else high}, the vocabulary has {vocab_size}",
                fix="encode the data with the tokenizer of this model",
            )
        if not 0 <= seed < 2**64:
            raise UserError(f"seed must lie in [0, 2**64), got {seed}", fix="use a non-negative seed")
        self.ids, self._context, self._batch_size, self._seed = ids, context, batch_size, seed
        self.windows: int = (ids.size - 1) // context

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。

        Args:
            step: 步号，从 0 起；一个 epoch 用完自动进入下一个。
            rank: 进程号，在 [0, world) 内。
            world: 进程数，须整除批大小；各份按 rank 首尾相接，就是 world = 1 时的批次。

        Returns:
            x 与 y，形状都是 (batch_size // world, context)，int64。

        Raises:
            UserError: 参数越界，或批大小不能平分。
        """
        if not (0 <= step < 2**63 and 0 <= rank < world):
            raise UserError(
                f"expected 0 <= step < 2**63 and 0 <= rank < world, got {step}, {rank} and {world}",
                fix="count steps and ranks from 0",
            )
        if self._batch_size % world:
            raise UserError(
                f"batch size {self._batch_size} cannot be divided evenly among {world} processes",
                fix=f"use a multiple of {world}",
            )
        rows = self._batch_size // world
        first = step * self._batch_size + rank * rows  # 本批第一个样本在整个训练中的序号
        starts = self._windows(first, rows) * self._context
        rows_of_ids = self.ids[starts[:, None] + np.arange(self._context + 1)].astype(np.int64)  # (B, T + 1)
        return np.ascontiguousarray(rows_of_ids[:, :-1]), np.ascontiguousarray(rows_of_ids[:, 1:])

    def _windows(self, first: int, rows: int) -> npt.NDArray[np.int64]:
        """从第 ``first`` 个样本起，连续 ``rows`` 个样本各用哪个窗口；一批可以跨过几个 epoch。"""
        epoch, slot = divmod(first, self.windows)
        offsets = slot + np.arange(rows)
        windows = np.empty(rows, dtype=np.int64)
        for passed in range(int(offsets[-1]) // self.windows + 1):
            here = offsets // self.windows == passed
            slots = (offsets[here] % self.windows).astype(np.uint64)
            windows[here] = permute(slots, self.windows, self._seed, epoch + passed)
        return windows


def evaluation_batches(ids: Ids, context: int, batch_size: int) -> Iterator[Batch]:
    """按原文次序给出评估批次，每个可预测的 token 恰好预测一次。

    Args:
        ids: 一维整数数组，至少两个 id。
        context: 窗口长度 T。
        batch_size: 每批至多几行；最后一批可能更少。

    Returns:
        逐批的 x 与 y，形状 (行数, context)，int64；最后一行的空位 x 填 0，y 填 ``IGNORE_INDEX``。

    Raises:
        UserError: 参数越界，或数据不足两个 id。
    """
    _check(ids, context, batch_size)
    if ids.size < 2:
        raise UserError(f"{ids.size} tokens leave nothing to predict", fix="use more text for validation")
    starts = np.arange(0, ids.size - 1, context)
    return (_padded(ids, starts[i : i + batch_size], context) for i in range(0, starts.size, batch_size))


def _padded(ids: Ids, starts: npt.NDArray[np.integer], context: int) -> Batch:
    """从各起点取窗口；越过末尾的位置 x 填 0、y 填 ``IGNORE_INDEX``。"""
    targets = starts[:, None] + np.arange(1, context + 1)  # (B, T)，每个位置要预测的下标
    is_real = targets < ids.size
    targets = np.minimum(targets, ids.size - 1)
    x = np.where(is_real, ids[targets - 1].astype(np.int64), 0)
    return x, np.where(is_real, ids[targets].astype(np.int64), IGNORE_INDEX)


def permute(slots: npt.NDArray[np.uint64], count: int, seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """[0, count) 上的一个伪随机排列在各个 ``slots`` 处的值，不必存下整个排列。

    Feistel 网络是 2^(2h) 个数上的双射，2^(2h) 取到不小于 count（且不到它的四倍，count 极小时除外）；
    落在 count 之外的值再走一遍网络，直到走回来（cycle walking），得到的仍是双射。

    Args:
        slots: 要求值的位置，每个都小于 ``count``。
        count: 排列的长度。
        seed: 种子。
        epoch: 轮次；每一轮是另一个排列。

    Returns:
        与 ``slots`` 等长的数组。
    """
    half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
    key = np.array([seed, _STREAM], dtype=np.uint64)
    round_keys = np.random.Philox(key=key, counter=np.array([0, epoch, 0, 0], dtype=np.uint64)).random_raw(_ROUNDS)
    values = _feistel(slots, half_bits, round_keys)
    while (outside := values >= count).any():
        values[outside] = _feistel(values[outside], half_bits, round_keys)
    return values


def _feistel(
    values: npt.NDArray[np.uint64], half_bits: int, round_keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """每一轮 (L, R) → (R, L ⊕ F(R))：无论 F 是什么都可逆。"""
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for round_key in round_keys:
        mixed = (right ^ round_key) * _MIX[0]  # uint64 的溢出即模 2^64
        mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX[1]
        left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
    return (left << shift) | right


def _check(ids: Ids, context: int, batch_size: int) -> None:
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(f"token ids must be a 1-D integer array, got {ids.dtype} of shape {ids.shape}")
    if context < 1 or batch_size < 1:
        raise UserError(
            f"context and batch size must be at least 1, got {context} and {batch_size}", fix="use positive numbers"
        )
