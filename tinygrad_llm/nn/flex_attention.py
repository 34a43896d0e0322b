"""``torch.nn.attention.flex_attention``：分数怎样改、哪里看得见，都由用户写的小函数决定。

流入：查询、键、值，与 ``score_mod``、``mask_mod``；流出：加权后的值。下标是互相广播的整数张量，所以小函数里逐元素的
运算与查表都照常；没有编译器，分数整个算出来。
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import zeros
from tinygrad_llm.joining import where
from tinygrad_llm.ranges import arange
from tinygrad_llm.tensor import Tensor

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention",
    "noop_mask", "or_masks",
]  # fmt: skip

MaskMod = Callable[[Any, Any, Any, Any], Any]
ScoreMod = Callable[[Any, Any, Any, Any, Any], Any]
Shape = tuple[int, int, int, int]


class AuxRequest(NamedTuple):
    """除了输出还要什么。

    Attributes:
        lse: 各行的 log-sum-exp。
        max_scores: 各行的最大值；torch 的 CPU 版也没有。
    """

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """要来的东西，没要的是 ``None``。"""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Any, head: Any, token_q: Any, token_kv: Any) -> Any:
    """处处看得见。"""
    return batch.new_ones((), dtype=dtypes.bool)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """都说看得见才看得见。"""
    return _joined(mask_mods, lambda a, b: a & b, True)


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """有一个说看得见就看得见。"""
    return _joined(mask_mods, lambda a, b: a | b, False)


def _joined(mods: tuple[MaskMod, ...], join: Callable[[Any, Any], Any], start: bool) -> MaskMod:
    if not all(map(callable, mods)):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mods}")

    def mask_mod(b: Any, h: Any, q: Any, kv: Any) -> Any:
        found = Tensor.wrap(np.asarray(start))
        for mod in mods:
            found = join(found, mod(b, h, q, kv))
        return found

    return mask_mod


def _indices(shape: Shape) -> list[Tensor]:
    """四根轴的下标，互相可广播。"""
    return [arange(n).view(*(n if i == axis else 1 for i in range(4))) for axis, n in enumerate(shape)]


def _shown(mask_mod: MaskMod, shape: Shape) -> Tensor:
    """看得见的位置，布尔 ``(B, H, Q, KV)``。"""
    return mask_mod(*_indices(shape)).to(dtypes.bool).expand(*shape)  # type: ignore[no-any-return]


def create_mask(mod_fn: Any, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None) -> Tensor:
    """整张掩码；``mod_fn`` 是 ``score_mod`` 时，改过之后不是 -inf 的位置看得见。

    Raises:
        AssertionError: ``mod_fn`` 的参数既不是 4 个也不是 5 个。
    """
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    count = len([p for p in inspect.signature(mod_fn).parameters.values() if p.default is p.empty])
    if count == 4:
        return _shown(mod_fn, shape)
    if count != 5:
        raise AssertionError(f"mod_fn must take 4 (mask_mod) or 5 (score_mod) arguments, got {count}")
    scores = mod_fn(zeros(*shape, device=device), *_indices(shape))
    return scores.expand(*shape).isneginf().logical_not()  # type: ignore[no-any-return]


class BlockMask:
    """按块记下的掩码。

    Attributes:
        mask_mod: 块内哪里看得见。
        seq_lengths: 查询与键的长度。
        BLOCK_SIZE: 一块有多少个查询、多少个键。
        kv_num_blocks: ``(B, H, 块数)``：各行有几块要再问 ``mask_mod``。
        kv_indices: 这些块的号，排在前面。
        full_kv_num_blocks: 整块看得见的有几块；没有分开记则为 ``None``。
        full_kv_indices: 这些块的号。
    """

    def __init__(
        self, seq_lengths: tuple[int, int], kv_num_blocks: Tensor, kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None, full_kv_indices: Tensor | None, BLOCK_SIZE: tuple[int, int],
        mask_mod: MaskMod,
    ) -> None:  # fmt: skip
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices

    @classmethod
    def from_kv_blocks(
        cls, kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None = None,
        full_kv_indices: Tensor | None = None, BLOCK_SIZE: Any = 128, mask_mod: MaskMod | None = None,
        seq_lengths: tuple[int, int] | None = None, **_: Any,
    ) -> BlockMask:  # fmt: skip
        """由各行的块号造。"""
        sizes = _pair(BLOCK_SIZE)
        lengths = seq_lengths or (kv_indices.shape[-2] * sizes[0], kv_indices.shape[-1] * sizes[1])
        return cls(
            lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, sizes, mask_mod or noop_mask
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, H, Q, KV)``。"""
        return (*self.kv_num_blocks.shape[:-1], *self.seq_lengths)

    def numel(self) -> int:
        """不分块时的元素数。"""
        return math.prod(self.shape)

    def to_dense(self) -> Tensor:
        """哪些块里有看得见的：``(B, H, 查询的块数, 键的块数)`` 的 0 与 1。"""
        found = _block_map(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None:
            found = found | _block_map(self.full_kv_num_blocks, self.full_kv_indices)
        return found.to(dtypes.int32)  # type: ignore[no-any-return]

    def sparsity(self) -> float:
        """不必算的占百分之几；末尾不满的块也按整块算，与 torch 一致。"""
        computed = self.to_dense().sum().item() * math.prod(self.BLOCK_SIZE)
        return float(100 * (1 - computed / self.numel()))

    def to(self, device: Any) -> BlockMask:
        """都在 CPU 上，返回自己。"""
        self.kv_num_blocks.to(device)
        return self

    def shown(self, shape: Shape) -> Tensor:
        """看得见的位置：部分块问 ``mask_mod``，整块的不问。"""
        asked = _spread(_block_map(self.kv_num_blocks, self.kv_indices), self.BLOCK_SIZE, shape)
        found: Tensor = asked & _shown(self.mask_mod, shape)
        if self.full_kv_num_blocks is None:
            return found
        whole = _block_map(self.full_kv_num_blocks, self.full_kv_indices)
        return found | _spread(whole, self.BLOCK_SIZE, shape)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _block_map(counts: Any, indices: Any) -> Tensor:
    """块号的列表换成布尔表。"""
    columns = indices.shape[-1]
    listed = np.arange(columns) < counts.array[..., None]
    found = np.zeros((*indices.shape[:-1], columns + 1), bool)
    np.put_along_axis(found, np.where(listed, indices.array, columns).astype(np.int64), True, -1)
    return Tensor.wrap(found[..., :columns])


def _spread(blocks: Tensor, sizes: tuple[int, int], shape: Shape) -> Tensor:
    """每块展开成它盖住的位置。"""
    wide = blocks.array.repeat(sizes[0], axis=-2).repeat(sizes[1], axis=-1)[..., : shape[-2], : shape[-1]]
    return Tensor.wrap(np.broadcast_to(wide, shape))


def create_block_mask(
    mask_mod: MaskMod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
    BLOCK_SIZE: Any = 128,
    _compile: bool = False,
    separate_full_blocks: bool = True,
) -> BlockMask:
    """问遍每个位置，按块记下。

    Args:
        mask_mod: ``(b, h, q, kv)`` → 看得见吗。
        B: 批次数；``None`` 表示各批相同。
        H: 头数；``None`` 表示各头相同。
        Q_LEN: 查询的长度。
        KV_LEN: 键的长度。
        device: 只能是 CPU。
        BLOCK_SIZE: 一块的边长，或两边各自的长。
        _compile: 与 torch 同名；没有编译器。
        separate_full_blocks: 整块看得见的另记。
    """
    sizes, shape = _pair(BLOCK_SIZE), (B or 1, H or 1, Q_LEN, KV_LEN)
    rows, columns = (-(-n // size) for n, size in zip(shape[2:], sizes, strict=True))
    padded = np.zeros((*shape[:2], rows * sizes[0], columns * sizes[1]), bool)
    padded[..., :Q_LEN, :KV_LEN] = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device).array
    blocks = padded.reshape(*shape[:2], rows, sizes[0], columns, sizes[1])
    full = blocks.all((-3, -1)) & separate_full_blocks
    counts, indices = _listed(blocks.any((-3, -1)) & ~full)
    whole, places = _listed(full) if separate_full_blocks else (None, None)
    return BlockMask((Q_LEN, KV_LEN), counts, indices, whole, places, sizes, mask_mod)


def _listed(blocks: Any) -> tuple[Tensor, Tensor]:
    """布尔表换成（块数，块号）；选中的排在前面。"""
    order = np.argsort(~blocks, axis=-1, kind="stable").astype(np.int32)
    return Tensor.wrap(blocks.sum(-1).astype(np.int32)), Tensor.wrap(order)


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """``softmax(score_mod(s · QKᵀ)) V``，看不见的位置不算；什么也看不见的行是 0。

    Args:
        query: ``(B, H, Q, D)``。
        key: ``(B, Hkv, KV, D)``。
        value: ``(B, Hkv, KV, V)``。
        score_mod: ``(score, b, h, q, kv)`` → 改过的分数。
        block_mask: 哪里看得见。
        scale: 缺省 ``1/√D``。
        enable_gqa: 允许 K、V 的头数是 Q 的约数。
        return_lse: 同时返回各行的 log-sum-exp（将由 ``return_aux`` 取代）。
        kernel_options: 与 torch 同名；没有可调的核。
        return_aux: 还要什么。

    Raises:
        NotImplementedError: 不是四维，或要各行的最大值。
        ValueError: 头数、宽度不合，或掩码的大小不同。
    """
    _check(query, key, block_mask, enable_gqa)
    groups = query.array.shape[1] // key.array.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    wide = dtypes.float64 if query.dtype is dtypes.float64 else dtypes.float32
    factor = 1 / math.sqrt(query.array.shape[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)).to(wide) * factor
    shape: Shape = scores.array.shape
    if score_mod is not None:
        scores = score_mod(scores, *_indices(shape)).to(wide)
    if block_mask is not None:
        scores = where(block_mask.shown(shape), scores, float("-inf"))
    blind = Tensor.wrap(np.isneginf(scores.array).all(-1, keepdims=True))
    weights = scores.softmax(-1).masked_fill(blind, 0.0)
    y = weights.to(query.dtype) @ value
    if return_aux is not None:
        if return_aux.max_scores:
            raise NotImplementedError("Returning max scores is not supported on CPU/MPS.")
        return y, AuxOutput(scores.logsumexp(-1) if return_aux.lse else None)
    return (y, scores.logsumexp(-1)) if return_lse else y


def _check(query: Tensor, key: Tensor, block_mask: BlockMask | None, enable_gqa: bool) -> None:
    q, k = query.array.shape, key.array.shape
    if len(q) != 4 or len(k) != 4:
        raise NotImplementedError(f"flex_attention: query, key, and value must be 4D tensors, got {q} and {k}")
    if q[-1] != k[-1]:
        raise ValueError(f"flex_attention: query and key must have the same embedding dimension, got {q} and {k}")
    if q[1] != k[1] and (not enable_gqa or q[1] % k[1]):
        raise ValueError(f"flex_attention: {q[1]} query heads and {k[1]} key heads; try enable_gqa=True")
    if block_mask is not None and block_mask.seq_lengths != (q[2], k[2]):
        raise ValueError(f"block_mask was created for {block_mask.shape} but got q_len={q[2]} and kv_len={k[2]}")
