"""距离与相似度的层。

流入：超参数；流出：没有参数的 Module。
"""

from __future__ import annotations

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class PairwiseDistance(Module):
    """逐行的 p-范数距离。

    Args:
        p: 范数的次数。
        eps: 加在差上的小数。
        keepdim: 是否保留最后一轴。
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``(N, D)``、``(N, D)`` → ``(N,)``。"""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """夹角余弦。

    Args:
        dim: 沿哪一轴。
        eps: 范数的下限。
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """沿 ``dim`` 归约。"""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
