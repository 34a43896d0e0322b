"""次序：第几步、第几个进程用哪些样本，由公式算出，不必记住任何状态。

流入：种子、步号、进程号；流出：样本的序号。每一轮（epoch）都是全部样本的一个排列，由 Feistel 网络逐个算出。
下一个文件：``stream.py``（序号怎样变成批次）。
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.errors import UserError

__all__ = ["Numbers", "drawn", "permute", "share"]

Numbers = npt.NDArray[np.int64]

_STREAM = 0x44415441  # Philox 密钥的后一半（"DATA"）：与采样、初始权重的随机数互不相干
_ROUNDS = 8
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)  # splitmix64 的常数
_BLOCK = 4096  # 排列按这么长的块算出并记住：网络作用在长数组上才快，而一批往往只有几十行


def share(step: int, rank: int, world: int, batch_size: int) -> tuple[int, int]:
    """第 ``step`` 步里第 ``rank`` 个进程分到的那一段。

    Args:
        step: 步号，从 0 起。
        rank: 进程号，在 [0, world) 内。
        world: 进程数，须整除批大小。
        batch_size: 所有进程合起来的批大小。

    Returns:
        第一个样本在整个训练中的序号，与样本数；各进程的段按 rank 首尾相接，就是 world = 1 时的那一段。

    Raises:
        UserError: 参数越界，或批大小不能平分。
    """
    if not (0 <= step < 2**63 and 0 <= rank < world):
        raise UserError(
            f"expected 0 <= step < 2**63 and 0 <= rank < world, got {step}, {rank} and {world}",
            fix="count steps and ranks from 0",
        )
    if batch_size % world:
        raise UserError(
            f"batch size {batch_size} cannot be divided evenly among {world} processes",
            fix=f"use a multiple of {world}",
        )
    rows = batch_size // world
    return step * batch_size + rank * rows, rows


def drawn(first: int, offsets: Numbers, size: int, seed: int | None, stream: int = 0) -> Numbers:
    """第 ``first + offsets`` 次抽取各得到哪个样本；抽完一轮接着下一轮，每轮每个样本恰好一次。

    Args:
        first: 起点，可以超出 64 位。
        offsets: 相对起点的非负偏移，形状 (n,)。
        size: 一轮的样本数。
        seed: 种子；``None`` 表示不打乱，每轮都按原来的次序。
        stream: 混合里的第几个来源；不同的来源各有各的排列。

    Returns:
        样本的序号，形状 (n,)，在 [0, size) 内。
    """
    epoch, slot = divmod(first, size)
    passed, slots = np.divmod(slot + offsets, size)
    if seed is None:
        return slots
    samples = np.empty_like(slots)
    blocks = slots // _BLOCK
    for later in range(int(passed.min(initial=0)), int(passed.max(initial=0)) + 1):
        in_epoch = passed == later
        for block in np.unique(blocks[in_epoch]).tolist():
            here = in_epoch & (blocks == block)
            samples[here] = _block(block, size, seed, epoch + later, stream)[slots[here] - block * _BLOCK]
    return samples


@lru_cache(maxsize=64)
def _block(block: int, count: int, seed: int, epoch: int, stream: int) -> Numbers:
    """排列在第 ``block`` 块各处的值；记住最近用过的几块（每块 32 KiB）。"""
    slots = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, count), dtype=np.uint64)
    values = permute(slots, count, seed, epoch, stream).astype(np.int64)
    values.flags.writeable = False
    return values


def permute(
    slots: npt.NDArray[np.uint64], count: int, seed: int, epoch: int, stream: int = 0
) -> npt.NDArray[np.uint64]:
    """[0, count) 上的一个伪随机排列在各个 ``slots`` 处的值，不必存下整个排列。

    Feistel 网络是 2^(2h) 个数上的双射，2^(2h) 取到不小于 count（且不到它的四倍，count 极小时除外）；
    落在 count 之外的值再走一遍网络，直到走回来（cycle walking），得到的仍是双射。

    Args:
        slots: 要求值的位置，每个都小于 ``count``。
        count: 排列的长度。
        seed: 种子。
        epoch: 轮次；每一轮是另一个排列。
        stream: 来源的编号；每个来源是另一个排列。

    Returns:
        与 ``slots`` 等长的数组。
    """
    half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
    key = np.array([seed, _STREAM], dtype=np.uint64)
    counter = np.array([0, epoch, stream, 0], dtype=np.uint64)
    round_keys = np.random.Philox(key=key, counter=counter).random_raw(_ROUNDS)
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
