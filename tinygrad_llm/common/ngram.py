"""基线：只看前两个字节的插值 3-gram 模型，给「模型学到了多少」一把尺子。

流入：训练文本的字节；流出：任意文本的 bits-per-byte。神经网络若赢不了它，就还没有学会拼写以外的东西。
下一个文件：``schedule.py``（训练时学习率怎样变化）。
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.errors import DataError, UserError

Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MAX_ORDER = 7  # 七个字节恰好装进一个非负的 int64
_BUCKETS = 64  # 上文出现次数的二进制位数，分桶用
_EM_STEPS = 100


@dataclass(frozen=True)
class _Level:
    """一阶的计数：k 个字节（上文加当前）与 k - 1 个字节（上文）各出现几次。

    Attributes:
        keys: 出现过的 k 字节片段，编成整数，升序。
        counts: 各片段的次数。
        context_keys: 出现过的上文，升序。
        context_counts: 各上文的次数。
    """

    keys: Keys
    counts: Keys
    context_keys: Keys
    context_counts: Keys

    def look_up(self, keys: Keys) -> tuple[Floats, Keys]:
        """各片段的极大似然概率与上文次数；上文没见过时两者都是 0。"""
        seen = _find(self.context_keys, self.context_counts, keys >> 8)
        return _find(self.keys, self.counts, keys) / np.maximum(seen, 1), seen


@dataclass(frozen=True)
class ByteNgram:
    """插值 n-gram：p_k = λ · ML_k + (1 - λ) · p_{k-1}，最底下是均匀分布 1/256（Jelinek–Mercer 平滑）。

    λ 随上文出现的次数而变：上文越常见，计数越可信。每个字节的概率都大于 0，对 256 个字节求和为 1。

    Attributes:
        levels: 第 k 项是 k + 1 阶的计数。
        weights: 形状 (阶数, 桶数)，各阶各桶的 λ；没见过的上文在第 0 桶，λ = 0。
    """

    levels: tuple[_Level, ...]
    weights: Floats

    def probabilities(self, context: bytes) -> Floats:
        """给定上文，下一个字节的分布，形状 (256,)；上文不足时前面补换行。"""
        key = _keys(context + b"\0", len(self.levels))[-1]  # 末字节占位为 0，换成 0–255 即得全部片段
        return self._probability(key + np.arange(256))

    def bits_per_byte(self, text: bytes) -> float:
        """平均每个字节要用多少比特，即以 2 为底的交叉熵。

        Raises:
            DataError: 文本为空。
        """
        if not text:
            raise DataError("an empty text has no bits per byte", fix="use a non-empty validation text")
        return float(-np.log2(self._probability(_keys(text, len(self.levels)))).mean())

    def _probability(self, keys: Keys) -> Floats:
        """各个最高阶片段里，最后一个字节在它的上文之后的概率。"""
        p = np.full(keys.shape, 1 / 256)
        for level, weights, mask in zip(self.levels, self.weights, _masks(len(self.levels)), strict=True):
            likelihood, seen = level.look_up(keys & mask)
            weight = weights[_bucket(seen)]
            p = weight * likelihood + (1 - weight) * p
        return p


def fit_byte_ngram(train: bytes, order: int = 3) -> ByteNgram:
    """拟合插值 n-gram；λ 由训练文本自己的末十分之一决定，从不看验证文本。

    先用前十分之九计数，在末十分之一上用 EM 求 λ，再用全部训练文本重新计数。

    Args:
        train: 训练文本，至少 10 个字节。
        order: 阶数，1 到 7；3 表示看前两个字节。

    Returns:
        拟合好的模型。

    Raises:
        UserError: 阶数越界。
        DataError: 文本太短。
    """
    if not 1 <= order <= _MAX_ORDER:
        raise UserError(f"order must lie between 1 and {_MAX_ORDER}, got {order}", fix="use 3")
    if len(train) < 10:
        raise DataError(f"{len(train)} bytes are too few to fit an n-gram model", fix="use a longer text")
    keys = _keys(train, order)
    held_out = keys[len(keys) - len(keys) // 10 :]
    weights = _fit_weights(_count(keys[: -len(held_out)], order), held_out)
    return ByteNgram(_count(keys, order), weights)


def _fit_weights(levels: tuple[_Level, ...], held_out: Keys) -> Floats:
    """自低阶到高阶，逐阶求各桶的 λ：两个成分的混合，EM 的每一步都使似然上升。

    每个桶预先加一次「信 ML」与一次「不信」，λ 因而永远不是 0 或 1，没有数据的桶取 1/2。
    """
    weights = np.zeros((len(levels), _BUCKETS))
    p = np.full(held_out.shape, 1 / 256)
    for k, (level, mask) in enumerate(zip(levels, _masks(len(levels)), strict=True)):
        likelihood, seen = level.look_up(held_out & mask)
        bucket = _bucket(seen)
        sizes = np.bincount(bucket, minlength=_BUCKETS)
        weights[k, 1:] = 0.5
        for _ in range(_EM_STEPS):
            believed = weights[k, bucket] * likelihood
            share = believed / (believed + (1 - weights[k, bucket]) * p)  # E 步：这个字节有多大可能出自 ML
            weights[k] = (np.bincount(bucket, share, minlength=_BUCKETS) + 1) / (sizes + 2)  # M 步
            weights[k, 0] = 0.0
        p = weights[k, bucket] * likelihood + (1 - weights[k, bucket]) * p
    return weights


def _count(keys: Keys, order: int) -> tuple[_Level, ...]:
    """由最高阶的片段数出各阶的次数；上文的次数是它后面各字节之和，所以 ML 概率之和恰为 1。"""
    levels = []
    for mask in _masks(order):
        unique, counts = np.unique(keys & mask, return_counts=True)
        context_keys, first = np.unique(unique >> 8, return_index=True)
        levels.append(_Level(unique, counts, context_keys, np.add.reduceat(counts, first)))
    return tuple(levels)


def _keys(text: bytes, order: int) -> Keys:
    """每个位置上以该字节结尾的 ``order`` 字节片段，编成整数，形状 (len(text),)。"""
    # 开头补换行，使首字节也有上文：一段文本好像总是从新的一行开始
    padded = np.frombuffer(b"\n" * (order - 1) + text, dtype=np.uint8).astype(np.int64)
    keys = np.zeros(len(text), dtype=np.int64)
    for offset in range(order):
        keys = keys * 256 + padded[offset : offset + len(text)]
    return keys


def _masks(order: int) -> list[int]:
    """第 k 项取出片段的末 k + 1 个字节。"""
    return [(1 << 8 * (k + 1)) - 1 for k in range(order)]


def _bucket(seen: Keys) -> Keys:
    """上文次数的二进制位数：0、1、2–3、4–7……各为一桶。"""
    return np.frexp(seen)[1].astype(np.int64)


def _find(sorted_keys: Keys, counts: Keys, keys: Keys) -> Keys:
    """在升序的表中查次数，查不到为 0。"""
    at = np.minimum(np.searchsorted(sorted_keys, keys), sorted_keys.size - 1)
    return np.where(sorted_keys[at] == keys, counts[at], 0)
