"""只换形状或位置的层：展平、还原、像素与通道的重排。

流入：超参数；流出：没有参数的 Module。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class Flatten(Module):
    """把若干相邻的轴并成一根。

    Args:
        start_dim: 从哪一根起；缺省留下批轴。
        end_dim: 到哪一根止。
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """``(N, d₁, d₂, …) → (N, d₁·d₂·…)``。"""
        return input.flatten(self.start_dim, self.end_dim)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """把一根轴拆成几根。

    Args:
        dim: 拆哪一根。
        unflattened_size: 拆成的形状。

    Raises:
        TypeError: 形状不是整数的元组或列表。
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)) or not all(isinstance(n, int) for n in unflattened_size):
            raise TypeError(f"unflattened_size must be tuple of ints, but found {unflattened_size!r}")
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """``dim`` 换成 ``unflattened_size``。"""
        return input.unflatten(self.dim, self.unflattened_size)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(Module):
    """通道换成像素。

    Args:
        upscale_factor: 高宽各放大几倍。
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """``(..., C·r², H, W) → (..., C, H·r, W·r)``。"""
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """打印倍数。"""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """像素换成通道。

    Args:
        downscale_factor: 高宽各缩小几倍。
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """``(..., C, H·r, W·r) → (..., C·r², H, W)``。"""
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """打印倍数。"""
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """把几组通道交错排列。

    Args:
        groups: 组数。
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        """打印组数。"""
        return f"groups={self.groups}"
