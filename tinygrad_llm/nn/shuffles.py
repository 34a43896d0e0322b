"""通道与像素之间的重排：超分辨率用的 pixel shuffle，与分组卷积之间的 channel shuffle。

流入：``(..., C, H, W)``；流出：元素相同、位置不同的 Tensor。
"""

from __future__ import annotations

from tinygrad_llm.tensor import Tensor


def _need_image(name: str, input: Tensor, factor: int) -> tuple[int, ...]:
    if input.ndim < 3:
        raise RuntimeError(f"{name} expects input to have at least 3 dimensions, got shape {input.array.shape}")
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive factor, got {factor}")
    return input.array.shape


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """通道换成像素：``(..., C·r², H, W) → (..., C, H·r, W·r)``。

    Raises:
        RuntimeError: 不足三维，或通道数不是 ``r²`` 的倍数。
    """
    *lead, channels, high, wide = _need_image("pixel_shuffle", input, upscale_factor)
    r = upscale_factor
    if channels % (r * r):
        raise RuntimeError(f"pixel_shuffle: {channels} channels are not divisible by the square of {r}")
    n = len(lead)
    parts = input.reshape(*lead, channels // (r * r), r, r, high, wide)
    mixed = parts.permute(*range(n + 1), n + 3, n + 1, n + 4, n + 2)  # C, H, r, W, r
    return mixed.reshape(*lead, channels // (r * r), high * r, wide * r)  # type: ignore[no-any-return]


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """像素换成通道：``(..., C, H·r, W·r) → (..., C·r², H, W)``。

    Raises:
        RuntimeError: 不足三维，或高宽不是 ``r`` 的倍数。
    """
    *lead, channels, high, wide = _need_image("pixel_unshuffle", input, downscale_factor)
    r = downscale_factor
    if high % r or wide % r:
        raise RuntimeError(f"pixel_unshuffle: size {(high, wide)} is not divisible by {r}")
    n = len(lead)
    parts = input.reshape(*lead, channels, high // r, r, wide // r, r)
    mixed = parts.permute(*range(n + 1), n + 2, n + 4, n + 1, n + 3)  # C, r, r, H, W
    return mixed.reshape(*lead, channels * r * r, high // r, wide // r)  # type: ignore[no-any-return]


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """把 ``groups`` 组通道交错排列。

    Raises:
        RuntimeError: 不足三维，或通道数不是 ``groups`` 的倍数。
    """
    batch, channels, *rest = _need_image("channel_shuffle", input, groups)
    if channels % groups:
        raise RuntimeError(f"channel_shuffle: {channels} channels are not divisible by {groups} groups")
    parts = input.reshape(batch, groups, channels // groups, *rest)
    return parts.transpose(1, 2).reshape(input.array.shape)  # type: ignore[no-any-return]
