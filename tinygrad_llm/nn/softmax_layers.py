"""softmax 一族的层。

流入：轴号；流出：Module。不写 ``dim`` 是早期的写法，会警告。
"""

from __future__ import annotations

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class _AlongDim(Module):
    """沿一根轴归一化。

    Args:
        dim: 轴号。
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """打印轴号。"""
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """归一化成概率。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softmax(input, self.dim)


class Softmin(_AlongDim):
    """``softmax(-x)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softmin(input, self.dim)


class LogSoftmax(_AlongDim):
    """softmax 的对数。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.log_softmax(input, self.dim)


class Softmax2d(Module):
    """每个像素处沿通道归一化。"""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W)`` 或 ``(C, H, W)``，形状不变。

        Raises:
            ValueError: 不是三维或四维。
        """
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)
