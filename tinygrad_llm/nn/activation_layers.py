"""激活函数的层：每个类只记住参数，计算在 ``activations.py``。

流入：超参数；流出：Module。
"""

from __future__ import annotations

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class GELU(Module):
    """GELU 激活。

    Args:
        approximate: ``"none"`` 或 ``"tanh"``。
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.gelu(input, self.approximate)


class SiLU(Module):
    """SiLU 激活。"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.silu(input, self.inplace)


class ReLU(Module):
    """ReLU 激活。"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.relu(input, self.inplace)


class Tanh(Module):
    """双曲正切。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.tanh(input)


class Sigmoid(Module):
    """``1/(1 + e⁻ˣ)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.sigmoid(input)


class Softmax(Module):
    """沿 ``dim`` 归一化成概率。"""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softmax(input, self.dim)
