"""Dropout 的层：训练时随机置 0，评估时原样返回。

流入：概率；流出：Module。
"""

from __future__ import annotations

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class _Dropout(Module):
    """各种 dropout 共有的参数。

    Args:
        p: 置 0 的概率。
        inplace: 是否就地。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def extra_repr(self) -> str:
        """打印概率与是否就地。"""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """逐元素置 0。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """整条通道一起置 0；``(N, C, L)`` 或 ``(C, L)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """整张特征图一起置 0；``(N, C, H, W)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """整个体素块一起置 0；``(N, C, D, H, W)`` 或 ``(C, D, H, W)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """与 SELU 搭配的 dropout：均值与方差都不变。与 torch 相同，从不就地。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """整条通道一起的 ``AlphaDropout``。与 torch 相同，从不就地。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.feature_alpha_dropout(input, self.p, self.training)
